"""Scores that searches rank by: sums of probabilities kept as logarithms, and the best of many.

A ranking is two arrays, float64 scores and int64 keys: of two entries the better one has the higher score or,
with equal scores, the smaller key. While it is filled it is a heap with its worst entry on top.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.compute.math import exp64, log64
from tinyseq.kernels.instructions import FAILED
from tinyseq.kernels.llvm.intrinsics import compiled, floats, integers
from tinyseq.kernels.llvm.vectors import LANES, LEAST_OF_ALL, at_least, first_bit, first_place, greatest

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
def _is_worse(score, key, than_score, than_key):
    return score < than_score or (score == than_score and key > than_key)


@compiled()
def _sink(scores, keys, count, score, key):
    """Puts an entry in the place of the top of a heap, and down to where it belongs."""
    i, child = 0, 1
    while child < count:
        if child + 1 < count and _is_worse(scores[child + 1], keys[child + 1], scores[child], keys[child]):
            child += 1
        if not _is_worse(scores[child], keys[child], score, key):
            break
        scores[i], keys[i] = scores[child], keys[child]
        i, child = child, 2 * child + 1
    scores[i], keys[i] = score, key


@compiled()
def keep_best(scores, keys, count, most, score, key):
    """Enters a candidate where fewer than ``most`` are kept or one is worse; the new count."""
    if count < most:
        i = count
        while i > 0 and _is_worse(score, key, scores[(i - 1) // 2], keys[(i - 1) // 2]):
            scores[i], keys[i] = scores[(i - 1) // 2], keys[(i - 1) // 2]
            i = (i - 1) // 2
        scores[i], keys[i] = score, key
        return count + 1
    if _is_worse(scores[0], keys[0], score, key):
        _sink(scores, keys, count, score, key)
    return count


@compiled()
def entry_bound(scores, count, most, least):
    """The score below which a candidate is not worth a look: ``least``, or that of the worst of ``most``."""
    return max(scores[0] if count == most else LOG_ZERO, least)


@compiled()
def best_first(scores, keys, count):
    """Sorts a filled ranking, the best entry first; it is no heap any more."""
    for last in range(count - 1, 0, -1):
        score, key = scores[last], keys[last]
        scores[last], keys[last] = scores[0], keys[0]
        _sink(scores, keys, last, score, key)


@compiled()
def strongest(row, count, least, most, scores, keys):
    """Ranks the ``most`` greatest numbers of a row that are not below ``least``, by place; their count."""
    x = floats(row)
    kept, bound = 0, least
    for start in range(0, count, LANES):
        bits = at_least(row, start, count, bound)
        while bits:
            i = start + first_bit(bits)
            bits &= bits - 1
            kept = keep_best(scores, keys, kept, most, np.float64(x[i]), i)
            if kept == most:
                bound = max(least, np.float32(scores[0]))
    best_first(scores, keys, kept)
    return kept
