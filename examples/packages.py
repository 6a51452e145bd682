"""The packages that only demonstrations need."""

from __future__ import annotations

from types import ModuleType

from tinyseq.common import packages


def package(name: str, extra: str | None = "demo") -> ModuleType:
    """The module of that name, imported.

    Args:
        extra: the extra of tinyseq that installs it, if one does.

    Raises:
        MissingPackageError: it, or a library that it needs, is not installed.
    """
    return packages.package(name, "the demonstration", extra)
