"""Memory beside a page that nobody may touch: whoever reads or writes before or behind it dies."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

from tinyseq.backends import cpu
from tinyseq.kernels.instructions import ALIGNMENT
from tinyseq.plan import draft, lookup, packing

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

BEFORE, AFTER = "before", "after"
"""Where the page is."""


class Guarded:
    """The allocator of plans, with pages around what it gives, while it is entered.

    Behind the last byte there are at most ``ALIGNMENT`` - 1 others before the page.
    """

    def __init__(self, side: str) -> None:
        self._side = side
        self._former = packing.aligned

    def __enter__(self) -> None:
        self._put(self._aligned)

    def __exit__(self, *raised: object) -> None:
        self._put(self._former)

    def _put(self, aligned) -> None:
        for module in (packing, draft, lookup, cpu):
            module.aligned = aligned

    def _aligned(self, size: int) -> np.ndarray:
        if size > 2**40:
            raise MemoryError(f"{size} bytes")
        pages = -(-max(size, 1) // mmap.PAGESIZE)
        try:
            memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
        except OSError as error:
            raise MemoryError(str(error)) from error
        raw = np.frombuffer(memory, np.uint8)
        page = 0 if self._side == BEFORE else pages * mmap.PAGESIZE
        if _LIBC.mprotect(
            raw.ctypes.data + page, mmap.PAGESIZE, mmap.PROT_NONE if hasattr(mmap, "PROT_NONE") else 0
        ):
            raise OSError(ctypes.get_errno(), "mprotect")
        start = mmap.PAGESIZE if self._side == BEFORE else (page - size) // ALIGNMENT * ALIGNMENT
        return raw[start : start + size]
