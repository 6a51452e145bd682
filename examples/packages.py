"""The packages that only demonstrations need."""

from __future__ import annotations

from types import ModuleType

from tinyseq.common import packages


def package(name: str, extra: str = "demo") -> ModuleType:
    """The module of that name, imported.

    Args:
        extra: the extra of tinyseq that installs it.

    Raises:
        MissingPackageError: it, or a library that it needs, is not installed.
    """
    return packages.package(name, "the demonstration", extra)
