"""Kernels that choose one token a row: the most likely one, or a random one among what is left.

Random numbers are made from a key and the position by splitmix64's finalizer, so that they depend on
nothing else.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.compute.math import ZERO, exp, log
from tinyseq.kernels.instructions import CUT, ENDED, HEAD, NODE, POSITION, ROWS
from tinyseq.kernels.llvm.intrinsics import compiled, doubles, floats, integers
from tinyseq.kernels.llvm.vectors import first_place, greatest
from tinyseq.kernels.search.beam import advance, among, write_head, write_node, write_row
from tinyseq.kernels.search.scores import BANNED


@compiled()
def _mix(x):
    """splitmix64 of x: the finalizer of Steele, Lea and Flood (2014), on two's complement."""
    x = x + np.int64(-7046029254386353131)
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * np.int64(-4658895280553007687)
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * np.int64(-7723592293110705685)
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


@compiled()
def _uniform(key, position):
    """A number from 0 on and below 1, of 53 random bits."""
    return np.float64((_mix(key ^ _mix(position)) >> 11) & 0x1FFFFFFFFFFFFF) * 2.0**-53


@compiled()
def _before(keys, a, b):
    """Whether index a comes before index b: larger keys first, then larger indices."""
    return keys[a] > keys[b] or (keys[a] == keys[b] and a > b)


@compiled()
def _sink(order, keys, place, size):
    index = order[place]
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and _before(keys, order[child + 1], order[child]):
            child += 1
        if not _before(keys, order[child], index):
            break
        order[place] = order[child]
        place = child
    order[place] = index


@compiled()
def _heap(order, keys, size):
    for i in range(size):
        order[i] = i
    for place in range(size // 2 - 1, -1, -1):
        _sink(order, keys, place, size)


@compiled()
def _pop(order, keys, size):
    """The first index of a heap; the heap is one shorter."""
    first = order[0]
    order[0] = order[size - 1]
    _sink(order, keys, 0, size - 1)
    return first


@compiled()
def _total(scores, count, top):
    """Sum of exp(score - top)."""
    total = 0.0
    for i in range(count):
        total += np.float64(exp(scores[i] - top))
    return total


@compiled()
def _keep_largest(y, order, keys, count, kept):
    """Bans what is below the ``kept`` largest."""
    scores = floats(y)
    for i in range(count):
        keys[i] = scores[i]
    _heap(order, keys, count)
    bound = BANNED
    for popped in range(kept):
        bound = keys[_pop(order, keys, count - popped)]
    for i in range(count):
        scores[i] = BANNED if scores[i] < bound else scores[i]


@compiled()
def _keep_share(y, order, keys, count, share, equals):
    """Bans all but the tokens of largest keys, as many as it takes for them to have ``share`` of all, and,
    if ``equals``, those whose keys are equal to the last one's."""
    scores = floats(y)
    top, _ = greatest(y, count)
    total = _total(scores, count, top)
    _heap(order, keys, count)
    above = 0.0
    left = count
    bound = keys[order[0]]
    while left > 0 and (above < share * total or (equals and keys[order[0]] == bound)):
        index = _pop(order, keys, left)
        left -= 1
        bound = keys[index]
        above += np.float64(exp(scores[index] - top))
    for i in range(left):
        scores[order[i]] = BANNED


@compiled()
def _keep_near_best(y, count, share):
    """Bans what is less likely than ``share`` of the likeliest."""
    scores = floats(y)
    top, _ = greatest(y, count)
    for i in range(count):
        if np.float64(exp(scores[i] - top)) < share:
            scores[i] = BANNED


@compiled()
def _typicality(y, keys, count):
    """keys[i] = -|entropy + log p(i)|."""
    scores = floats(y)
    top, _ = greatest(y, count)
    total = _total(scores, count, top)
    shift = np.float64(log(np.float32(total)))
    entropy = 0.0
    for i in range(count):
        if scores[i] > BANNED:
            distance = np.float64(scores[i] - top) - shift
            entropy -= np.float64(exp(scores[i] - top)) / total * distance
    for i in range(count):
        distance = np.float64(scores[i] - top) - shift
        keys[i] = -abs(np.float32(entropy + distance)) if scores[i] > BANNED else BANNED


@compiled()
def warp(y, order, keys, rows, count, options):
    """y[rows, count], log-probabilities, as sampling wants them; what falls out becomes -infinity.

    ``options``: temperature, top_k (0: none), top_p, min_p and typical_p, in the order of their
    application; integers are words, the others float64. ``order``: count words, ``keys``: count floats.
    """
    words, numbers = integers(options), doubles(options)
    ranks, values = integers(order), floats(keys)
    temperature, top_k, top_p, min_p, typical_p = numbers[0], words[1], numbers[2], numbers[3], numbers[4]
    for row in range(integers(rows)[0]):
        at = y + row * count * 4
        scores = floats(at)
        for i in range(count):
            scores[i] = scores[i] / np.float32(temperature) if scores[i] == scores[i] else BANNED
        top, _ = greatest(at, count)
        if top == BANNED:
            continue
        if 0 < top_k < count:
            _keep_largest(at, ranks, values, count, top_k)
        if top_p < 1.0:
            for i in range(count):
                values[i] = scores[i]
            _keep_share(at, ranks, values, count, top_p, False)
        if min_p > 0.0:
            _keep_near_best(at, count, min_p)
        if typical_p < 1.0:
            _typicality(at, values, count)
            _keep_share(at, ranks, values, count, typical_p, True)


@compiled()
def _likeliest(row, count):
    top, _ = greatest(row, count)
    return first_place(row, count, top) if top > BANNED else -1


@compiled()
def _drawn(scores, count, share):
    """The token at which the sum of probabilities first exceeds ``share`` of all; -1 if all are 0."""
    total = _total(scores, count, ZERO)
    below = 0.0
    last = -1
    for i in range(count):
        if scores[i] > BANNED:
            last = i
            below += np.float64(exp(scores[i]))
            if below > share * total:
                return i
    return last


@compiled()
def pick(y, trace, heads, live, keys, feeds, status, count, slots, options):
    """Chooses a token for each row of log-probabilities and writes it into the trace.

    y[rows, count], trace[positions, slots, NODE], heads[slots, HEAD], keys[slots]. The first words of
    ``live`` are the slots of the rows; they, ``status`` (see ``advance``) and feeds[4, slots] become those of
    the next step. ``options``: whether to draw, the length of the prompt, the most tokens, the slots of an
    input, the number of end tokens, then they.
    """
    words, table = integers(options), doubles(heads)
    draws, prompt, most, share = words[0], words[1], words[2], words[3]
    places, position = integers(live), integers(status)[POSITION]
    last = position - prompt + 1 == most
    layer = trace + position * slots * NODE * 8
    left = 0
    for row in range(integers(status)[ROWS]):
        slot = places[row]
        scores = floats(y + row * count * 4)
        if draws:
            token = _drawn(scores, count, _uniform(integers(keys)[slot], position - prompt))
        else:
            token = _likeliest(y + row * count * 4, count)
        ended = token >= 0 and among(token, options + 5 * 8, words[4])
        length = position - prompt
        if token >= 0:
            score = np.float64(scores[token])
            write_node(layer + slot * NODE * 8, token, row, score, slot)
            table[slot * HEAD] += score
            length += 1
        if last or ended or token < 0:
            total = table[slot * HEAD]
            write_head(heads, slot, total, total, length, ENDED if ended else CUT)
        else:
            places[left] = slot
            write_row(feeds, slots, left, token, slot, slot, slot // share * share)
            left += 1
    advance(status, left, left)
