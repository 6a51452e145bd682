"""Copies of feeds to where a device reads them, by several threads where one takes longer than the device."""

from __future__ import annotations

from collections.abc import Callable
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


def stage(target: np.ndarray, source: np.ndarray, then: Callable[[slice], None] | None = None) -> None:
    """Copies an array to a dense one of its shape, whose dtype it may be cast to.

    ``then`` is called with each part along the first axis that is there, in order, while others are copied.
    """
    parts = _parts(target) if target.nbytes >= 2 * LEAST else 1
    bounds = [len(target) * part // parts for part in range(parts + 1)] if parts > 1 else [0, None]
    slices = [slice(start, stop) for start, stop in pairwise(bounds)]
    others: list[Future] = []
    try:
        with suppress(RuntimeError):  # Python is about to end, when no thread may begin.
            for own in slices[1:]:
                others.append(_threads().submit(_copied, target, source, own))
        for number, own in enumerate(slices):
            if 0 < number <= len(others):
                others[number - 1].result()
            else:
                _copied(target, source, own)
            if then is not None:
                then(own)
    finally:
        for other in others:
            other.exception()


def _parts(target: np.ndarray) -> int:
    return min(MOST_THREADS, target.nbytes // LEAST, most_threads(), len(target))


def _copied(target: np.ndarray, source: np.ndarray, own: slice) -> None:
    if own.stop is None:
        target[...] = source
    else:
        target[own] = source[own]


@cache
def _threads() -> ThreadPoolExecutor:
    # Imported here: few feeds are as large.
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(MOST_THREADS - 1, "tinyseq staging")
