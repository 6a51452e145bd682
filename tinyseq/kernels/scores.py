"""Kernels that make scores ready for a search: log-softmax, bans, penalties.

Scores are log-probabilities or logits, float32 [rows, count]. Not-a-number counts as -infinity. A row's
history is the tokens before, ``position`` words at ``history``, a row ``record`` words after the other. A
token of it that has no score, as a start token may, is left alone.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.instructions import LOGITS, PROBABILITIES
from tinyseq.kernels.intrinsics import compiled, doubles, floats, integers
from tinyseq.kernels.math import ZERO, exp, log

BANNED = np.float32(-np.inf)


@compiled()
def _larger(a, b):
    """b if it is above a; so not-a-number never is."""
    return b if b > a else a


@compiled()
def largest(x, count):
    """The largest of the floats, not-a-number left out; -infinity where none is left."""
    values = floats(x)
    a, b, c, d = BANNED, BANNED, BANNED, BANNED
    whole = count // 4 * 4
    for i in range(0, whole, 4):
        a = _larger(a, values[i])
        b = _larger(b, values[i + 1])
        c = _larger(c, values[i + 2])
        d = _larger(d, values[i + 3])
    for i in range(whole, count):
        a = _larger(a, values[i])
    return _larger(_larger(a, b), _larger(c, d))


@compiled()
def _log_softmax_row(x, y, scratch, count):
    source, target, powers = floats(x), floats(y), floats(scratch)
    top = largest(x, count)
    if top == BANNED:
        for i in range(count):
            target[i] = BANNED
        return
    for i in range(count):
        value = source[i]
        distance = ZERO if value == top else value - top
        distance = distance if distance <= ZERO else BANNED
        target[i] = distance
        powers[i] = exp(distance)
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    whole = count // 4 * 4
    for i in range(0, whole, 4):
        a += np.float64(powers[i])
        b += np.float64(powers[i + 1])
        c += np.float64(powers[i + 2])
        d += np.float64(powers[i + 3])
    for i in range(whole, count):
        a += np.float64(powers[i])
    shift = log(np.float32((a + b) + (c + d)))
    for i in range(count):
        target[i] = target[i] - shift


@compiled()
def log_softmax(x, y, scratch, rows, count, kind):
    """x[rows, count] -> y[rows, count]: log-probabilities; y may be x. ``scratch``: count floats.

    ``kind`` tells what x holds: logits, log-probabilities, taken as they are, or probabilities.
    """
    for row in range(rows):
        skip = row * count * 4
        if kind == LOGITS:
            _log_softmax_row(x + skip, y + skip, scratch, count)
        else:
            source, target = floats(x + skip), floats(y + skip)
            for i in range(count):
                value = log(source[i]) if kind == PROBABILITIES else source[i]
                target[i] = value if value == value else BANNED


@compiled()
def ban_tokens(y, rows, count, tokens):
    """y[rows, token] = -infinity for each of ``tokens``: their number, then they."""
    listed = integers(tokens)
    for row in range(rows):
        scores = floats(y + row * count * 4)
        for i in range(listed[0]):
            if 0 <= listed[1 + i] < count:
                scores[listed[1 + i]] = BANNED


@compiled()
def force_token(y, rows, count, token):
    """y[rows, count] = 0 for ``token``, -infinity for all others."""
    for row in range(rows):
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
    for row in range(rows):
        scores = floats(y + row * count * 4)
        tokens = integers(history + row * record * 8)
        for i in range(position):
            if tokens[i] < count:
                before[tokens[i]] = scores[tokens[i]]
        for i in range(position):
            if tokens[i] < count:
                value = before[tokens[i]]
                scores[tokens[i]] = value * factor if value < ZERO else value / factor


@compiled()
def ban_ngrams(y, history, rows, count, position, record, size):
    """y = -infinity for each token that would repeat ``size`` tokens of the row's history."""
    for row in range(rows):
        scores = floats(y + row * count * 4)
        tokens = integers(history + row * record * 8)
        for start in range(position - size + 1):
            same = 0
            while same < size - 1 and tokens[start + same] == tokens[position - size + 1 + same]:
                same += 1
            if same == size - 1 and tokens[start + size - 1] < count:
                scores[tokens[start + size - 1]] = BANNED


@compiled()
def temper(y, rows, count, blank, options):
    """y[rows, count]: a penalty is taken off the blank's score, then all are divided by a temperature.

    ``options`` points to the two float64.
    """
    penalty, temperature = np.float32(doubles(options)[0]), np.float32(doubles(options)[1])
    for row in range(rows):
        scores = floats(y + row * count * 4)
        scores[blank] -= penalty
        for i in range(count):
            scores[i] = scores[i] / temperature
