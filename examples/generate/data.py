"""The King James Bible as text: a verse a line, split by whole books."""

from __future__ import annotations

import json
from pathlib import Path

from ..fetch import fetch, manifest

ASSETS = manifest(Path(__file__).with_name("manifest.toml"))
VALIDATION = ("Esther", "Malachi", "Colossians")
TEST = ("Ruth", "Ecclesiastes", "Jonah", "Philippians", "James")


def texts() -> tuple[str, str, str]:
    """The text to train on, that to choose by and that to measure with; no book is in two of them."""
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    with fetch(ASSETS["bible"]).open(encoding="utf-8") as lines:
        for verse in map(json.loads, lines):
            part = (
                "validation" if verse["book"] in VALIDATION else "test" if verse["book"] in TEST else "train"
            )
            parts[part].append(verse["text"] + "\n")
    train, validation, test = ("".join(part) for part in parts.values())
    return train, validation, test
