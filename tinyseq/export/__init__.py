"""Models as C libraries: ``c_library`` and ``tinyseq build``."""

from __future__ import annotations

from tinyseq.export.c_library import CLibrary, c_library
from tinyseq.export.targets import TARGETS

__all__ = ["TARGETS", "CLibrary", "c_library"]
