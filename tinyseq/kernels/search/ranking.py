"""Scores that searches rank by: sums of probabilities kept as logarithms, and the best of many.

A ranking is two arrays, float64 scores and int64 keys: of two entries the better one has the higher score or,
with equal scores, the smaller key. While it is filled it is a heap with its worst entry on top.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.compute.math import exp64, log64
from tinyseq.kernels.instructions import FAILED
from tinyseq.kernels.llvm.intrinsics import compiled, floats, integers
from tinyseq.kernels.llvm.vectors import LEAST_OF_ALL, first_place, greatest

DONE = 0

LOG_ZERO = -np.inf
"""The logarithm of probability zero."""

NEGLIGIBLE = -40.0
"""exp of this is below half a unit in the last place of 1."""

BLOCK = 32
"""Numbers of a row that are looked at together."""


@compiled()
def add_logs(a, b):
    """ln(exp a + exp b)."""
    high, low = (a, b) if a > b else (b, a)
    if low == LOG_ZERO or low - high < NEGLIGIBLE:
        return high
    return high + log64(1.0 + exp64(low - high))


@compiled()
def row_peak(row, count):
    """Whether a row holds a finite number, and neither NaN nor infinity; and the greatest's first place."""
    top, wrong = greatest(row, count)
    if wrong or not top > LEAST_OF_ALL:
        return False, 0
    return True, first_place(row, count, top)


@compiled()
def usable_rows(x, rows, count, place):
    """Fails, with the first such row in ``place``, if one of x[rows, count] is not usable; ``rows`` is a word
    in memory."""
    for row in range(integers(rows)[0]):
        top, wrong = greatest(x + row * count * 4, count)
        if wrong or not top > LEAST_OF_ALL:
            integers(place)[0] = row
            return FAILED
    return DONE


@compiled()
def _worse(scores, keys, i, j):
    return scores[i] < scores[j] or (scores[i] == scores[j] and keys[i] > keys[j])


@compiled()
def _swap(scores, keys, i, j):
    scores[i], scores[j] = scores[j], scores[i]
    keys[i], keys[j] = keys[j], keys[i]


@compiled()
def _sink(scores, keys, count, i):
    """Restores the heap below entry i."""
    while 2 * i + 1 < count:
        child = 2 * i + 1
        if child + 1 < count and _worse(scores, keys, child + 1, child):
            child += 1
        if not _worse(scores, keys, child, i):
            break
        _swap(scores, keys, child, i)
        i = child


@compiled()
def keep_best(scores, keys, count, most, score, key):
    """Enters a candidate where fewer than ``most`` are kept or one is worse; the new count."""
    if count < most:
        scores[count] = score
        keys[count] = key
        i = count
        while i > 0 and _worse(scores, keys, i, (i - 1) // 2):
            _swap(scores, keys, i, (i - 1) // 2)
            i = (i - 1) // 2
        return count + 1
    if score > scores[0] or (score == scores[0] and key < keys[0]):
        scores[0] = score
        keys[0] = key
        _sink(scores, keys, count, 0)
    return count


@compiled()
def entry_bound(scores, count, most, least):
    """The score below which a candidate is not worth a look: ``least``, or that of the worst of ``most``."""
    return max(scores[0] if count == most else LOG_ZERO, least)


@compiled()
def best_first(scores, keys, count):
    """Sorts a filled ranking, the best entry first; it is no heap any more."""
    for last in range(count - 1, 0, -1):
        _swap(scores, keys, 0, last)
        _sink(scores, keys, last, 0)


@compiled()
def strongest(row, count, least, most, scores, keys):
    """Ranks the ``most`` greatest numbers of a row that are not below ``least``, by place; their count."""
    x = floats(row)
    kept = 0
    start = 0
    while start < count:
        end = min(start + BLOCK, count)
        bound = max(least, np.float32(scores[0])) if kept == most else least
        found = 0
        if end - start == BLOCK:
            for i in range(BLOCK):
                found |= x[start + i] >= bound
        else:
            found = 1
        if found:
            for i in range(start, end):
                if x[i] >= bound:
                    kept = keep_best(scores, keys, kept, most, np.float64(x[i]), i)
        start = end
    best_first(scores, keys, kept)
    return kept
