"""Copies of feeds to where a device reads them, by several threads where one takes longer than the device."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.backends import most_threads

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

MOST_THREADS = 4
"""Threads that keep the memory of most machines busy."""

LEAST = 2**20
"""Bytes of a thread's part: less is copied sooner than another thread begins."""


def stage(target: np.ndarray, source: np.ndarray) -> None:
    """Copies an array to a dense one of its shape, whose dtype it may be cast to."""
    parts = 1 if target.nbytes < 2 * LEAST else _parts(target)
    if parts < 2:
        target[...] = source
        return
    bounds = [len(target) * part // parts for part in range(parts + 1)]
    slices = [slice(start, stop) for start, stop in pairwise(bounds)]
    others: list[Future] = []
    try:
        with suppress(RuntimeError):  # Python is about to end, when no thread may begin.
            for own in slices[1:]:
                others.append(_threads().submit(_copied, target[own], source[own]))
        for own in (slices[0], *slices[1 + len(others) :]):
            _copied(target[own], source[own])
    finally:
        for other in others:
            other.exception()
    for other in others:
        other.result()


def _parts(target: np.ndarray) -> int:
    return min(MOST_THREADS, target.nbytes // LEAST, most_threads(), len(target))


def _copied(target: np.ndarray, source: np.ndarray) -> None:
    target[...] = source


@cache
def _threads() -> ThreadPoolExecutor:
    # Imported here: few feeds are as large.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(MOST_THREADS - 1, "tinyseq staging")
