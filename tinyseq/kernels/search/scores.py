"""Kernels that make scores ready for a search: log-softmax, bans, penalties.

Scores are log-probabilities or logits, float32 [rows, count]; how many rows there are is a word in memory.
Not-a-number counts as -infinity. A row's history is the tokens before, as many words at ``history`` as the
word ``position`` says, a row ``record`` words after the other. A token of it that has no score, as a start
token may, is left alone.
"""

from __future__ import annotations

import numpy as np
from numba import types

from tinyseq.kernels.compute.math import ZERO, exp, log
from tinyseq.kernels.instructions import LOGITS, PROBABILITIES, SCRATCH
from tinyseq.kernels.llvm.intrinsics import compiled, doubles, floats, integers, stack
from tinyseq.kernels.llvm.vectors import LANES, greatest, total

BANNED = np.float32(-np.inf)

ROWS_AT_ONCE = 16
"""Rows that are worked on side by side."""

_tops, _shifts = stack(types.float32, ROWS_AT_ONCE), stack(types.float32, ROWS_AT_ONCE)


@compiled()
def _distance(value, top):
    """How far a score is below the largest; not-a-number is infinitely far."""
    distance = ZERO if value == top else value - top
    return distance if distance <= ZERO else BANNED


@compiled()
def _powers(y, scratch, top):
    """scratch = exp of the distances of ``LANES`` scores, whose loop becomes one of vectors."""
    scores, powers = floats(y), floats(scratch)
    for i in range(LANES):
        powers[i] = exp(_distance(scores[i], top))


@compiled()
def _row_powers(y, scratch, count, top):
    """scratch = exp of the distances of a row's scores."""
    if count < LANES:
        scores, powers = floats(y), floats(scratch)
        for i in range(count):
            powers[i] = exp(_distance(scores[i], top))
        return
    for start in range(0, count - LANES + 1, LANES):
        _powers(y + start * 4, scratch + start * 4, top)
    # The last ones, some of them once more.
    _powers(y + (count - LANES) * 4, scratch + (count - LANES) * 4, top)


@compiled()
def _log_softmax_rows(y, scratch, rows, count):
    """Turns y[rows, count], at most ``ROWS_AT_ONCE`` rows, from logits into log-probabilities.

    Stage by stage for all rows, because each stage waits long for its own last result.
    """
    first, second = _tops(), _shifts()
    tops, shifts = floats(first), floats(second)
    for row in range(rows):
        top, _ = greatest(y + row * count * 4, count)
        tops[row] = top
    for row in range(rows):
        _row_powers(y + row * count * 4, scratch + row * count * 4, count, tops[row])
    for row in range(rows):
        shifts[row] = np.float32(total(scratch + row * count * 4, count))
    for row in range(rows):
        # Of a row without any score nothing is left, whatever is taken off.
        shifts[row] = log(shifts[row]) if tops[row] > BANNED else ZERO
    for row in range(rows):
        scores, top, shift = floats(y + row * count * 4), tops[row], shifts[row]
        for i in range(count):
            scores[i] = _distance(scores[i], top) - shift if top > BANNED else BANNED


@compiled()
def log_softmax(y, scratch, rows, count, kind):
    """Turns y[rows, count] into log-probabilities. ``scratch``: ``SCRATCH`` floats, or count if more.

    ``kind`` tells what y holds: logits, log-probabilities, taken as they are, or probabilities.
    """
    left, address = integers(rows)[0], y
    if kind == LOGITS:
        at_once = max(1, min(ROWS_AT_ONCE, SCRATCH // max(count, 1)))
        while left > 0:
            taken = min(left, at_once)
            _log_softmax_rows(address, scratch, taken, count)
            address += taken * count * 4
            left -= taken
        return
    for row in range(left):
        scores = floats(y + row * count * 4)
        if kind == PROBABILITIES:
            for i in range(count):
                value = log(scores[i])
                scores[i] = value if value == value else BANNED
        else:
            for i in range(count):
                scores[i] = scores[i] if scores[i] == scores[i] else BANNED


@compiled()
def ban_tokens(y, rows, count, tokens):
    """y[rows, token] = -infinity for each of ``tokens``: their number, then they."""
    listed = integers(tokens)
    for row in range(integers(rows)[0]):
        scores = floats(y + row * count * 4)
        for i in range(listed[0]):
            if 0 <= listed[1 + i] < count:
                scores[listed[1 + i]] = BANNED


@compiled()
def force_token(y, rows, count, token):
    """y[rows, count] = 0 for ``token``, -infinity for all others."""
    for row in range(integers(rows)[0]):
        scores = floats(y + row * count * 4)
        for i in range(count):
            scores[i] = BANNED
        scores[token] = ZERO


@compiled()
def penalize_repetition(y, history, scratch, rows, count, position, record, penalty):
    """Divides positive scores of the tokens in each row's history by a penalty, multiplies negative ones.

    ``penalty`` points to a float64, ``scratch`` to count floats.
    """
    factor = np.float32(doubles(penalty)[0])
    before = floats(scratch)
    length = integers(position)[0]
    for row in range(integers(rows)[0]):
        scores = floats(y + row * count * 4)
        tokens = integers(history + row * record * 8)
        for i in range(length):
            if tokens[i] < count:
                before[tokens[i]] = scores[tokens[i]]
        for i in range(length):
            if tokens[i] < count:
                value = before[tokens[i]]
                scores[tokens[i]] = value * factor if value < ZERO else value / factor


@compiled()
def ban_ngrams(y, history, rows, count, position, record, size):
    """y = -infinity for each token that would repeat ``size`` tokens of the row's history."""
    length = integers(position)[0]
    for row in range(integers(rows)[0]):
        scores = floats(y + row * count * 4)
        tokens = integers(history + row * record * 8)
        for start in range(length - size + 1):
            same = 0
            while same < size - 1 and tokens[start + same] == tokens[length - size + 1 + same]:
                same += 1
            if same == size - 1 and tokens[start + size - 1] < count:
                scores[tokens[start + size - 1]] = BANNED


@compiled()
def apply_temperature(y, rows, count, blank, options):
    """y[rows, count]: a penalty is taken off the blank's score, then all are divided by a temperature.

    ``options`` points to the two float64.
    """
    penalty, temperature = np.float32(doubles(options)[0]), np.float32(doubles(options)[1])
    for row in range(integers(rows)[0]):
        scores = floats(y + row * count * 4)
        scores[blank] -= penalty
        for i in range(count):
            scores[i] = scores[i] / temperature
