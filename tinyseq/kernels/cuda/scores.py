"""Scores made ready for a search; the twins of ``tinyseq.kernels.search.scores``.

How many rows there are is a word in the device's memory: blocks take rows by turns. A sum of float64 that is
rounded to float32 is that of the CPU, whose order is another, but for one row among very many.
"""

from __future__ import annotations

from numba import types
from numpy import float32, float64

from tinyseq.kernels.compute.math import ZERO, exp, log
from tinyseq.kernels.cuda.intrinsics import block, blocks, thread, threads
from tinyseq.kernels.cuda.launch import THREADS, Facts, Kernel, Launch, Tail
from tinyseq.kernels.cuda.reduction import across_block
from tinyseq.kernels.instructions import LOGITS, PROBABILITIES
from tinyseq.kernels.llvm.intrinsics import doubles, floats, integers
from tinyseq.kernels.search.scores import BANNED, _distance

MOST_ROWS = 4
"""Blocks for each multiprocessor; where there are more rows than blocks, a block takes several."""


def _greater(a, b):
    return a if a > b else b


def _sum(a, b):
    return a + b


greatest_across = across_block(_greater, types.float32)
total_across = across_block(_sum, types.float64)


def greatest_of(scores, count):
    """The greatest score of a row, found by all threads of a block; not-a-number is never it."""
    top = BANNED
    for i in range(thread(), count, threads()):
        top = _greater(scores[i], top)
    return greatest_across(top)


def _softmax(y, rows, count):
    row = block()
    while row < integers(rows)[0]:
        scores = floats(y + row * count * 4)
        top = greatest_of(scores, count)
        powers = float64(ZERO)
        for i in range(thread(), count, threads()):
            powers += float64(exp(_distance(scores[i], top)))
        shift = log(float32(total_across(powers)))
        for i in range(thread(), count, threads()):
            scores[i] = _distance(scores[i], top) - shift if top > BANNED else BANNED
        row += blocks()


def _logarithms(y, rows, count):
    scores = floats(y)
    for i in range(block() * threads() + thread(), integers(rows)[0] * count, blocks() * threads()):
        value = log(scores[i])
        scores[i] = value if value == value else BANNED


def _numbers(y, rows, count):
    scores = floats(y)
    for i in range(block() * threads() + thread(), integers(rows)[0] * count, blocks() * threads()):
        scores[i] = scores[i] if scores[i] == scores[i] else BANNED


_KINDS = {LOGITS: Kernel(_softmax), PROBABILITIES: Kernel(_logarithms)}
_numbering = Kernel(_numbers)


def in_turn(kernel: Kernel, facts: Facts, *arguments: int) -> list[Launch]:
    """A launch whose blocks take rows by turns."""
    return [Launch(kernel, MOST_ROWS * facts.multiprocessors, THREADS, arguments)]


def log_softmax(y: int, scratch: int, rows: int, count: int, kind: int, facts: Facts) -> list[Launch]:
    return in_turn(_KINDS.get(kind, _numbering), facts, y, rows, count)


def _ban(y, rows, count, tokens):
    listed, row = integers(tokens), block()
    while row < integers(rows)[0]:
        scores = floats(y + row * count * 4)
        for i in range(thread(), listed[0], threads()):
            if 0 <= listed[1 + i] < count:
                scores[listed[1 + i]] = BANNED
        row += blocks()


_banning = Kernel(_ban)


def ban_tokens(y: int, rows: int, count: int, tokens: Tail, facts: Facts) -> list[Launch]:
    return in_turn(_banning, facts, y, rows, count, tokens.address)


def _force(y, rows, count, token):
    row = block()
    while row < integers(rows)[0]:
        scores = floats(y + row * count * 4)
        for i in range(thread(), count, threads()):
            scores[i] = ZERO if i == token else BANNED
        row += blocks()


_forcing = Kernel(_force)


def force_token(y: int, rows: int, count: int, token: int, facts: Facts) -> list[Launch]:
    return in_turn(_forcing, facts, y, rows, count, token)


def _is_first(tokens, place):
    """Whether a token of a history is there for the first time."""
    first = 0
    while tokens[first] != tokens[place]:
        first += 1
    return first == place


def _penalize(y, history, rows, count, position, record, penalty):
    factor, length, row = float32(doubles(penalty)[0]), integers(position)[0], block()
    while row < integers(rows)[0]:
        scores, tokens = floats(y + row * count * 4), integers(history + row * record * 8)
        for i in range(thread(), length, threads()):
            if tokens[i] < count and _is_first(tokens, i):
                value = scores[tokens[i]]
                scores[tokens[i]] = value * factor if value < ZERO else value / factor
        row += blocks()


_penalizing = Kernel(_penalize)


def penalize_repetition(
    y: int, history: int, scratch: int, rows: int, count: int, position: int, record: int, penalty: Tail,
    facts: Facts,
) -> list[Launch]:  # fmt: skip
    return in_turn(_penalizing, facts, y, history, rows, count, position, record, penalty.address)


def _ban_repeats(y, history, rows, count, position, record, size):
    length, row = integers(position)[0], block()
    while row < integers(rows)[0]:
        scores, tokens = floats(y + row * count * 4), integers(history + row * record * 8)
        for start in range(thread(), length - size + 1, threads()):
            same = 0
            while same < size - 1 and tokens[start + same] == tokens[length - size + 1 + same]:
                same += 1
            if same == size - 1 and tokens[start + size - 1] < count:
                scores[tokens[start + size - 1]] = BANNED
        row += blocks()


_ban_repeating = Kernel(_ban_repeats)


def ban_ngrams(
    y: int, history: int, rows: int, count: int, position: int, record: int, size: int, facts: Facts
) -> list[Launch]:
    return in_turn(_ban_repeating, facts, y, history, rows, count, position, record, size)
