"""Chains: neighbouring instructions of little work, run by one block that reads the program itself.

A launch takes longer than most of them. A block goes through their rows as the machine on the CPU does, its
threads waiting for each other after each, so that it does not matter what depends on what. Those that have
nothing to compute in a row do not read the rest of it. What an element becomes, and in which order a sum
takes its terms, is as in a launch of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache

from numba import types
from numpy import int32, int64

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.cuda.chain_elementwise import (
    DIMS,
    FIRST,
    FOLDS,
    LAST,
    OFFSET,
    SEGMENTS,
    THREADS,
    folding,
    how_often,
    inverse,
    kept_of,
    mapping,
    placed,
)
from tinyseq.kernels.cuda.elementwise import HEAVY
from tinyseq.kernels.cuda.indexing import OUTSIDE, is_ordered, located
from tinyseq.kernels.cuda.intrinsics import barrier, registers, shared, thread, threads
from tinyseq.kernels.cuda.launch import EXACT, RUNNING, Kernel, Launch
from tinyseq.kernels.cuda.weighted import FORMAT_PLACES
from tinyseq.kernels.formats import FLOAT32
from tinyseq.kernels.instructions import (
    BYTES,
    FUNCTION_CODES,
    FUNCTIONS,
    GATHER,
    GROUP,
    OPCODES,
    PANEL,
)
from tinyseq.kernels.llvm.intrinsics import floats, fma, integers, integers32

MOST = 4096
"""Elements that an instruction of a chain computes or folds at the most."""

MOST_TERMS = 256
"""Terms that a thread adds up for one product at the most."""

AT_ONCE = 32
"""Terms of a product that a thread has on their way at once."""

MOST_FACTORS = 2**14
"""Numbers that a product reads at the most."""

FARTHEST = 2**31
"""How many bytes an operand's elements lie apart at the most."""

WORDS = 3072
"""Words of the program that a chain takes at the most; they are held in shared memory."""

FILL, ELEMENTWISE, LINEAR, DEPTHWISE, MOVE, FINITE = (
    OPCODES[name] for name in ("fill", "elementwise", "linear", "depthwise", "gather", "finite")
)

WORD = 4
"""Bytes that a chain moves at once."""

SIZES = 11
"""Where in a row of ``gather`` the dimensions begin."""

POSITIONS = 9
"""Where in a row of ``depthwise`` the dimensions begin."""

GROUPED = GROUP * PANEL

_word_cells, _segment_cells = shared(types.int64, WORDS), shared(types.int64, SEGMENTS)
_failure_cells = shared(types.int64, 2)
"""Instructions take turns with them: some threads go on to the next one before others have looked."""

_next_x, _next_w = registers(types.float32, AT_ONCE), registers(types.float32, AT_ONCE)


def is_short(row: Sequence[int], precision: str = EXACT) -> bool:
    """Whether an instruction is one that chains consist of; they multiply exactly."""
    if row[0] in (FILL, FINITE):
        return row[3] <= MOST
    if row[0] == LINEAR:
        rows, k, n = row[3] * row[5], row[7], row[9]
        exact = precision == EXACT and row[FORMAT_PLACES["linear"]] == FLOAT32.code
        return exact and (rows + n) * k <= MOST_FACTORS and _is_small_sum(rows * n, k)
    if row[0] == DEPTHWISE:
        rank = row[8]
        near = all(abs(word) < FARTHEST for word in row[POSITIONS + rank :])
        return near and _is_small_sum(math.prod(row[POSITIONS : POSITIONS + rank]) * row[6], row[7])
    if row[0] == MOVE:
        return _is_small_move(row)
    return row[0] == ELEMENTWISE and _is_small_mapping(row)


def _is_small_move(row: Sequence[int]) -> bool:
    """Whether it is of whole words, of which none meets another."""
    outer, x_outer, count, depth, inner, store, *dims = row[5:]
    places = (*(word & OFFSET for word in row[2:5:2]), x_outer, inner, *dims[depth : 2 * depth])
    whole = inner > 0 and not any(place % WORD for place in places)
    return whole and not is_ordered(store, count) and outer * count * (inner // WORD) <= MOST


def _is_small_sum(outputs: int, terms: int) -> bool:
    return outputs <= MOST and -(-outputs // THREADS) * terms <= MOST_TERMS


def _is_small_mapping(row: Sequence[int]) -> bool:
    function, rank = FUNCTIONS[row[2]], row[7]
    sizes, *steps = (row[DIMS + place * rank : DIMS + (place + 1) * rank] for place in range(5))
    reach = max(sum(size * abs(step) for size, step in zip(sizes, operand)) for operand in steps)
    if rank > 3 or math.prod(sizes) > MOST or reach >= FARTHEST or function.name in HEAVY:
        return False
    kept = kept_of(row, 0)
    if kept == rank or function.operands != function.result * 2:
        return True
    return row[2] in FOLDS and rank - kept < 3


def _fill(words, at, held, segments, me):
    target, bits = integers32(placed(words, at + 2, held, segments)), int32(words[at + 4])
    i, count = me, words[at + 3]
    while i < count:
        target[i] = bits
        i += threads()


def _finite(words, at, held, segments, me, failed, turn):
    """Leaves in ``failed``, at ``turn``, which row has met a number that is not finite, one more than where
    it begins."""
    x, count, i = floats(placed(words, at + 2, held, segments)), words[at + 3], me
    while i < count:
        if x[i] - x[i] != ZERO:
            failed[turn] = at + 1
        i += threads()


def _moved(words, at, held, segments, me, failed, turn):
    """What a thread does of ``gather``: a word at a time. Leaves in ``failed`` what ``_finite`` does where an
    index is none."""
    outer, count, depth, units = (
        words[at + 5],
        int32(words[at + 7]),
        words[at + 8],
        int32(words[at + 9] // WORD),
    )
    index, total = int32(me), int32(int32(outer) * count * units)
    if index >= total:
        return
    x, y = placed(words, at + 2, held, segments), placed(words, at + 4, held, segments)
    table, sizes = integers(placed(words, at + 3, held, segments)), at + SIZES
    by_units, by_count = inverse(units), inverse(count)
    while index < total:
        run = how_often(index, by_units)
        o, unit = how_often(run, by_count), int32(index - run * units)
        first = int64(o) * words[sizes + 2 * depth] + int64(run - o * count) * depth
        offset = located(table, first, words, sizes, depth)
        if offset == OUTSIDE:
            failed[turn] = at + 1
        else:
            there = integers32(x + int64(o) * words[at + 6] + offset)
            here = integers32(y + int64(int32(run * units)) * WORD)
            if words[at + 10] == GATHER:
                here[unit] = there[unit]
            else:
                there[unit] = here[unit]
        index = int32(index + threads())


def _product(words, at, held, segments, me):
    """What a thread does of ``linear``: an output at a time."""
    inner, k, n = int32(words[at + 5]), int32(words[at + 7]), int32(words[at + 9])
    index, count = int32(me), int32(int32(words[at + 3]) * inner * n)
    if index >= count:
        return
    x, w = placed(words, at + 2, held, segments), placed(words, at + 8, held, segments)
    bias, y = placed(words, at + 10, held, segments), placed(words, at + 11, held, segments)
    outer_stride, inner_stride, y_stride = words[at + 4], words[at + 6], words[at + 12]
    by_inner, by_n, x_next, w_next = inverse(inner), inverse(n), _next_x(), _next_w()
    while index < count:
        row = how_often(index, by_n)
        above, column = how_often(row, by_inner), int32(index - row * n)
        place = int64(above) * outer_stride + int64(row - above * inner) * inner_stride
        factors = floats(x + place * BYTES)
        first = int32(column // GROUPED * GROUPED)
        width = int32((min(n - first, GROUPED) + PANEL - 1) // PANEL * PANEL)
        weights = floats(w + int64(int32(first * k + column - first)) * BYTES)
        total, term = floats(bias)[column], int32(0)
        while term + AT_ONCE <= k:
            for i in range(AT_ONCE):
                x_next[i], w_next[i] = factors[term + i], weights[int32((term + i) * width)]
            for i in range(AT_ONCE):
                total = fma(x_next[i], w_next[i], total)
            term = int32(term + AT_ONCE)
        while term < k:
            total = fma(factors[term], weights[int32(term * width)], total)
            term = int32(term + 1)
        floats(y)[int64(row) * y_stride + column] = total
        index = int32(index + threads())


def _taps(words, at, held, segments, me):
    """What a thread does of ``depthwise``: an output at a time."""
    channels, taps, rank = int32(words[at + 6]), int32(words[at + 7]), words[at + 8]
    sizes = at + POSITIONS
    offsets, count = sizes + 2 * rank, channels
    for axis in range(rank):
        count = int32(count * int32(words[sizes + axis]))
    index = int32(me)
    if index >= count:
        return
    x, w = placed(words, at + 2, held, segments), floats(placed(words, at + 3, held, segments))
    bias, y = floats(placed(words, at + 4, held, segments)), placed(words, at + 5, held, segments)
    by_channels = inverse(channels)
    while index < count:
        rest = how_often(index, by_channels)
        channel = int32(index - rest * channels)
        source, place = x + int64(channel) * BYTES, rest
        for axis in range(rank - 1, -1, -1):
            size = int32(words[sizes + axis])
            above = how_often(place, inverse(size))
            source += int64(int32((place - above * size) * int32(words[sizes + rank + axis])))
            place = above
        total = bias[channel]
        for tap in range(taps):
            total = fma(floats(source + words[offsets + tap])[0], w[int32(tap * channels + channel)], total)
        floats(y)[index] = total
        index = int32(index + threads())


@cache
def _chain_of(codes: tuple[int, ...]) -> Kernel:
    """The kernel of chains: of these functions, fills, checks, products and moves.

    ``first`` is where in the program the chain begins.
    """
    every = mapping(codes)
    fold = folding([code for code in codes if code in FOLDS])

    def chain(status, program, size, segments, count, first):
        words, held, failed, me = _word_cells(), _segment_cells(), _failure_cells(), thread()
        going, place = integers(status)[0] == RUNNING, me
        while place < size:
            words[place] = integers(program)[place]
            place += threads()
        place, count = me, min(count, SEGMENTS)
        while place < count:
            held[place] = integers(segments)[place]
            place += threads()
        if me == 0:
            failed[0] = failed[1] = 0
        barrier()
        at, turn = int64(0) if going else size, int64(0)
        while at < size:
            opcode = words[at]
            if opcode == ELEMENTWISE:
                kept, function = words[at + 7], words[at + 2]
                if function >= FIRST and function <= LAST:
                    kept = kept_of(words, at)
                if kept < words[at + 7]:
                    fold(words, at, held, segments, me, kept)
                else:
                    every(words, at, held, segments, me)
            elif opcode == LINEAR:
                _product(words, at, held, segments, me)
            elif opcode == DEPTHWISE:
                _taps(words, at, held, segments, me)
            elif opcode == FINITE:
                _finite(words, at, held, segments, me, failed, turn)
            elif opcode == MOVE:
                _moved(words, at, held, segments, me, failed, turn)
            else:
                _fill(words, at, held, segments, me)
            barrier()
            if failed[turn] == at + 1:
                integers(status)[0] = first + at
                at = size
            else:
                at, turn = at + words[at + 1], 1 - turn

    return Kernel(chain, THREADS, asks=True)


def codes_of(rows: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The functions of all rows that chains may consist of; copies and sums are always among them."""
    used = {row[2] for row in rows if row[0] == ELEMENTWISE and is_short(row)}
    return tuple(sorted(used | {FUNCTION_CODES["copy", "f"], FIRST}))


def chain(codes: tuple[int, ...], program: int, first: int, size: int, segments: int, count: int) -> Launch:
    """A launch that runs ``size`` words of the program at an address, from the ``first`` on; the ``count``
    addresses of its segments lie at ``segments``."""
    return Launch(_chain_of(codes), 1, THREADS, (program + 8 * first, size, segments, count, first))
