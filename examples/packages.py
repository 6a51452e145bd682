"""The packages that only demonstrations need."""

from __future__ import annotations

from types import ModuleType

from tinyseq.common import packages


def package(name: str) -> ModuleType:
    """The module of that name, imported.

    Raises:
        MissingPackageError: it, or a library that it needs, is not installed.
    """
    return packages.package(name, "the demonstration", "demo")
