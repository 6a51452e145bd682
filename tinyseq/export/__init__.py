"""Models as C libraries: ``c_library`` and ``tinyseq build``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyseq.export.libraries import CLibrary, c_library
    from tinyseq.export.targets import TARGETS

__all__ = ["TARGETS", "CLibrary", "c_library"]

_HOMES = {"TARGETS": "targets", "CLibrary": "libraries", "c_library": "libraries"}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
