"""Sentences of film reviews, rated by twenty people each; split by their text, seeded."""

from __future__ import annotations

import random
import tarfile
from pathlib import Path
from typing import NamedTuple

from ..fetch import fetch, manifest

ASSETS = manifest(Path(__file__).with_name("manifest.toml"))
FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
HELD_OUT, SEED = 1000, 1


class Review(NamedTuple):
    """A sentence, and its mean rating from -4 to 4."""

    text: str
    rating: float

    @property
    def favourable(self) -> bool:
        return self.rating > 0


class Split(NamedTuple):
    """The sentences by use."""

    train: list[Review]
    validation: list[Review]
    test: list[Review]


def split() -> Split:
    """All sentences but those rated 0, each text once."""
    with tarfile.open(fetch(ASSETS["film-reviews"])) as archive:
        lines = archive.extractfile(FILE).read().decode("cp1252").splitlines()
    rows = [line.split("\t") for line in lines if line]
    found = {text: float(rating) for _, rating, text in rows}
    reviews = [Review(text, rating) for text, rating in sorted(found.items()) if rating]
    random.Random(SEED).shuffle(reviews)
    return Split(reviews[2 * HELD_OUT :], reviews[:HELD_OUT], reviews[HELD_OUT : 2 * HELD_OUT])
