"""Chains: neighbouring instructions of little work, run by one block that reads the program itself.

A launch takes longer than most of them. A block goes through their rows as the machine on the CPU does, its
threads waiting for each other after each, so that it does not matter what depends on what. What an element
becomes, and in which order a sum takes its terms, is as in a launch of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from numba import types
from numpy import float32, int32, int64

from tinyseq.kernels.compute.elementwise import POINTERS
from tinyseq.kernels.compute.math import HALF, ONE, ZERO
from tinyseq.kernels.compute.scalars import SCALARS
from tinyseq.kernels.cuda.elementwise import HEAVY, LONG, LONGER, A, B, C, Y, _applied
from tinyseq.kernels.cuda.intrinsics import WARP, barrier, shared, shuffle_xor, thread, threads
from tinyseq.kernels.cuda.launch import EXACT, Kernel, Launch
from tinyseq.kernels.formats import FLOAT32
from tinyseq.kernels.instructions import (
    BYTES,
    FUNCTION_CODES,
    FUNCTIONS,
    GROUP,
    OPCODES,
    OPERANDS,
    PANEL,
    SEGMENT_SHIFT,
)
from tinyseq.kernels.llvm.intrinsics import floats, fma, integers, integers32

MOST = 4096
"""Elements that an instruction of a chain computes or folds at the most."""

MOST_TERMS = 256
"""Terms that a thread adds up for one product at the most."""

MOST_FACTORS = 2**14
"""Numbers that a product reads at the most."""

FARTHEST = 2**31
"""How many bytes an operand's elements lie apart at the most."""

WORDS = 3072
"""Words of the program that a chain takes at the most; they are held in shared memory."""

SEGMENTS = 512
"""Segments whose addresses are held there too."""

THREADS = 512
"""Threads of the block that runs a chain; a multiple of a warp's."""

FILL, ELEMENTWISE, LINEAR, DEPTHWISE = (
    OPCODES[name] for name in ("fill", "elementwise", "linear", "depthwise")
)

DIMS, POSITIONS = 8, 9
"""Where in a row of ``elementwise`` and of ``depthwise`` the dimensions begin."""

FORMAT = OPERANDS["linear"].index("format") + 2
"""Where in a row of ``linear`` the format of its weights is."""

FOLDS = tuple(FUNCTION_CODES[name, "ff"] for name in ("add", "multiply", "maximum", "minimum"))
"""Functions that chains fold with."""

FIRST, LAST = FOLDS[0], FOLDS[-1]

BINARY = FIRST
"""Functions from here on may have operands beyond the first."""

GROUPED = GROUP * PANEL

OFFSET = (1 << SEGMENT_SHIFT) - 1

WARP_BITS, BLOCK_BITS = 5, 8
"""Of how many threads share out a fold the binary logarithm: of a long one, and of a longer one."""

_word_cells, _segment_cells = shared(types.int64, WORDS), shared(types.int64, SEGMENTS)
_fold_cells = shared(types.float32, THREADS)


def is_short(row: Sequence[int], precision: str = EXACT) -> bool:
    """Whether an instruction is one that chains consist of; they multiply exactly."""
    if row[0] == FILL:
        return row[3] <= MOST
    if row[0] == LINEAR:
        rows, k, n = row[3] * row[5], row[7], row[9]
        exact = precision == EXACT and row[FORMAT] == FLOAT32.code
        return exact and (rows + n) * k <= MOST_FACTORS and _is_small_sum(rows * n, k)
    if row[0] == DEPTHWISE:
        rank = row[8]
        near = all(abs(word) < FARTHEST for word in row[POSITIONS + rank :])
        return near and _is_small_sum(math.prod(row[POSITIONS : POSITIONS + rank]) * row[6], row[7])
    return row[0] == ELEMENTWISE and _is_small_mapping(row)


def _is_small_sum(outputs: int, terms: int) -> bool:
    return outputs <= MOST and -(-outputs // THREADS) * terms <= MOST_TERMS


def _is_small_mapping(row: Sequence[int]) -> bool:
    function, rank = FUNCTIONS[row[2]], row[7]
    sizes, *steps = (row[DIMS + place * rank : DIMS + (place + 1) * rank] for place in range(5))
    reach = max(sum(size * abs(step) for size, step in zip(sizes, operand)) for operand in steps)
    if rank > 3 or math.prod(sizes) > MOST or reach >= FARTHEST or function.name in HEAVY:
        return False
    kept = _kept(row, 0)
    if kept == rank or function.operands != function.result * 2:
        return True
    return row[2] in FOLDS and rank - kept < 3


def _kept(words, at):
    """How many dimensions of a row of ``elementwise`` are not folded, if its function folds."""
    kept, rank = words[at + 7], words[at + 7]
    while kept > 0:
        last = at + DIMS + kept - 1
        if words[last] <= 1 or words[last + A * rank] != 0 or words[last + Y * rank] != 0:
            break
        kept -= 1
    return kept


def _size(words, at, first, axis):
    """The size of a dimension; one before the first is of size 1."""
    return int32(words[at + DIMS + axis]) if axis >= first else int32(1)


def _stride(words, at, operand, first, axis):
    """The stride of a dimension in bytes; that of one before the first does not matter."""
    return int32(words[at + DIMS + operand * words[at + 7] + axis]) if axis >= first else int32(0)


def _quotient(number, inverse):
    """How often a number below 2**20 holds a divisor, by the divisor's ``inverse`` in float32."""
    return int32((float32(int32(number)) + HALF) * inverse)


def _inverse(divisor):
    return ONE / float32(divisor)


def _address(words, place, held, segments):
    """Where on the device an operand lies."""
    word = words[place]
    segment = word >> SEGMENT_SHIFT
    base = held[segment] if segment < SEGMENTS else integers(segments)[segment]
    return base + (word & OFFSET)


def _choice(leaves: Sequence[tuple[int, Callable]]):
    """``choose(function, *five)``: what the leaf of a function's code gives; leaves are in order."""
    if len(leaves) == 1:
        return leaves[0][1]
    half = len(leaves) // 2
    middle, below, above = leaves[half][0], _choice(leaves[:half]), _choice(leaves[half:])

    def choose(function, one, two, three, four, five):
        if function < middle:
            return below(function, one, two, three, four, five)
        return above(function, one, two, three, four, five)

    return choose


def _leaf(code: int):
    """A function of the elements at three addresses, put at a fourth."""
    row = FUNCTIONS[code]
    apply, target = _applied(row), POINTERS[row.result]

    def leaf(function, a, b, c, y, _):
        target(y)[0] = apply(a, b, c)

    return leaf


def _joint(code: int):
    """A function of two numbers, its result and a third, and so on."""
    combined = SCALARS[FUNCTIONS[code].name, "ff"]

    def joint(function, total, one, two, three, four):
        return combined(combined(combined(combined(total, one), two), three), four)

    return joint


def _pair(code: int):
    combined = SCALARS[FUNCTIONS[code].name, "ff"]

    def pair(function, one, two, _, __, ___):
        return combined(one, two)

    return pair


def _mapping(codes: Sequence[int]):
    """What a thread does of a function of every element; there are three dimensions at the most."""
    choose = _choice([(code, _leaf(code)) for code in codes])

    def every(words, at, held, segments, me):
        function, rank = words[at + 2], words[at + 7]
        a, y = _address(words, at + 3, held, segments), _address(words, at + 6, held, segments)
        j, i, h = rank - 1, rank - 2, rank - 3
        n, m = _size(words, at, 0, j), _size(words, at, 0, i)
        count = int32(n * m * _size(words, at, 0, h))
        by_n, by_m = ZERO, ZERO
        if rank > 1:
            by_n, by_m = _inverse(n), _inverse(m)
        a0, a1 = _stride(words, at, A, 0, h), _stride(words, at, A, 0, i)
        y0, y1 = _stride(words, at, Y, 0, h), _stride(words, at, Y, 0, i)
        a2, y2 = _stride(words, at, A, 0, j), _stride(words, at, Y, 0, j)
        b, b0, b1, b2 = a, int32(0), int32(0), int32(0)
        c, c0, c1, c2 = a, int32(0), int32(0), int32(0)
        if function >= BINARY:
            b, c = _address(words, at + 4, held, segments), _address(words, at + 5, held, segments)
            b0, b1 = _stride(words, at, B, 0, h), _stride(words, at, B, 0, i)
            c0, c1 = _stride(words, at, C, 0, h), _stride(words, at, C, 0, i)
            b2, c2 = _stride(words, at, B, 0, j), _stride(words, at, C, 0, j)
        index = int32(me)
        while index < count:
            above = _quotient(index, by_n)
            z = _quotient(above, by_m)
            p, q = int32(above - z * m), int32(index - above * n)
            choose(
                function,
                a + int64(int32(z * a0 + p * a1 + q * a2)),
                b + int64(int32(z * b0 + p * b1 + q * b2)),
                c + int64(int32(z * c0 + p * c1 + q * c2)),
                y + int64(int32(z * y0 + p * y1 + q * y2)),
                0,
            )
            index = int32(index + threads())

    return every


def _folding(codes: Sequence[int]):
    """What a thread does of a fold: few elements of b it folds into one of y, in order; what is long, a warp
    or more share out."""
    join = _choice([(code, _joint(code)) for code in codes])
    pair = _choice([(code, _pair(code)) for code in codes])

    def fold(words, at, held, segments, me, kept):
        function, rank, cells = words[at + 2], words[at + 7], _fold_cells()
        a, y = _address(words, at + 3, held, segments), _address(words, at + 6, held, segments)
        b = _address(words, at + 4, held, segments)
        n, m = _size(words, at, 0, kept - 1), _size(words, at, kept, rank - 1)
        count, run = int32(n * _size(words, at, 0, kept - 2)), int32(m * _size(words, at, kept, rank - 2))
        by_n, by_m = _inverse(n), _inverse(m)
        a0, a1 = _stride(words, at, A, 0, kept - 2), _stride(words, at, A, 0, kept - 1)
        b0, b1 = _stride(words, at, B, 0, kept - 2), _stride(words, at, B, 0, kept - 1)
        y0, y1 = _stride(words, at, Y, 0, kept - 2), _stride(words, at, Y, 0, kept - 1)
        along0, along1 = _stride(words, at, B, kept, rank - 2), _stride(words, at, B, kept, rank - 1)
        bits = int32(0)
        if run >= LONG:
            bits = int32(WARP_BITS) if run < LONGER else int32(BLOCK_BITS)
        step = int32(1 << bits)
        lane, groups = int32(me) & int32(step - 1), int32(threads()) >> bits
        group = int32(me) >> bits
        first = int32(0)
        while first < count:
            index, start, total, target = int32(first + group), ZERO, ZERO, y
            mine = group < groups and index < count
            if mine:
                above = _quotient(index, by_n)
                p = int32(index - above * n)
                source = b + int64(int32(above * b0 + p * b1))
                target = y + int64(int32(above * y0 + p * y1))
                start = floats(a + int64(int32(above * a0 + p * a1)))[0]
                total, k = start, lane
                if bits > 0:
                    over = _quotient(k, by_m)
                    total = floats(source + int64(int32(over * along0 + (k - over * m) * along1)))[0]
                    k = int32(k + step)
                while k + 3 * step < run:
                    over0, over1 = _quotient(k, by_m), _quotient(k + step, by_m)
                    over2, over3 = _quotient(k + 2 * step, by_m), _quotient(k + 3 * step, by_m)
                    v0 = floats(source + int64(int32(over0 * along0 + (k - over0 * m) * along1)))[0]
                    k = int32(k + step)
                    v1 = floats(source + int64(int32(over1 * along0 + (k - over1 * m) * along1)))[0]
                    k = int32(k + step)
                    v2 = floats(source + int64(int32(over2 * along0 + (k - over2 * m) * along1)))[0]
                    k = int32(k + step)
                    v3 = floats(source + int64(int32(over3 * along0 + (k - over3 * m) * along1)))[0]
                    k = int32(k + step)
                    total = join(function, total, v0, v1, v2, v3)
                while k < run:
                    over = _quotient(k, by_m)
                    value = floats(source + int64(int32(over * along0 + (k - over * m) * along1)))[0]
                    total = pair(function, total, value, 0, 0, 0)
                    k = int32(k + step)
            if bits > WARP_BITS:
                cells[me] = total
                half = int32(step // 2)
                while half >= WARP:
                    barrier()
                    if mine and lane < half:
                        cells[me] = pair(function, cells[me], cells[me + half], 0, 0, 0)
                    half //= 2
                total = cells[me]
            if bits > 0:
                half = int32(WARP // 2)
                while half > 0:
                    total = pair(function, total, shuffle_xor(total, half), 0, 0, 0)
                    half //= 2
                total = pair(function, start, total, 0, 0, 0)
            if mine and lane == 0:
                floats(target)[0] = total
            barrier()
            first = int32(first + groups)

    return fold


def _fill(words, at, held, segments, me):
    target, bits = integers32(_address(words, at + 2, held, segments)), int32(words[at + 4])
    i, count = me, words[at + 3]
    while i < count:
        target[i] = bits
        i += threads()


def _product(words, at, held, segments, me):
    """What a thread does of ``linear``: an output at a time."""
    x, w = _address(words, at + 2, held, segments), _address(words, at + 8, held, segments)
    bias, y = _address(words, at + 10, held, segments), _address(words, at + 11, held, segments)
    inner, k, n = int32(words[at + 5]), int32(words[at + 7]), int32(words[at + 9])
    outer_stride, inner_stride, y_stride = words[at + 4], words[at + 6], words[at + 12]
    by_inner, by_n = _inverse(inner), _inverse(n)
    index, count = int32(me), int32(int32(words[at + 3]) * inner * n)
    while index < count:
        row = _quotient(index, by_n)
        above, column = _quotient(row, by_inner), int32(index - row * n)
        place = int64(above) * outer_stride + int64(row - above * inner) * inner_stride
        factors = floats(x + place * BYTES)
        first = int32(column // GROUPED * GROUPED)
        width = int32((min(n - first, GROUPED) + PANEL - 1) // PANEL * PANEL)
        weights = floats(w + int64(int32(first * k + column - first)) * BYTES)
        total, term = floats(bias)[column], int32(0)
        # Loads of eight terms are under way at once.
        while term + 8 <= k:
            at_w = int32(term * width)
            x0, x1, x2, x3 = factors[term], factors[term + 1], factors[term + 2], factors[term + 3]
            x4, x5, x6, x7 = factors[term + 4], factors[term + 5], factors[term + 6], factors[term + 7]
            w0, w1, w2 = weights[at_w], weights[at_w + width], weights[at_w + 2 * width]
            w3, w4, w5 = weights[at_w + 3 * width], weights[at_w + 4 * width], weights[at_w + 5 * width]
            w6, w7 = weights[at_w + 6 * width], weights[at_w + 7 * width]
            total = fma(x3, w3, fma(x2, w2, fma(x1, w1, fma(x0, w0, total))))
            total = fma(x7, w7, fma(x6, w6, fma(x5, w5, fma(x4, w4, total))))
            term = int32(term + 8)
        while term < k:
            total = fma(factors[term], weights[int32(term * width)], total)
            term = int32(term + 1)
        floats(y)[int64(row) * y_stride + column] = total
        index = int32(index + threads())


def _taps(words, at, held, segments, me):
    """What a thread does of ``depthwise``: an output at a time."""
    x, w = _address(words, at + 2, held, segments), floats(_address(words, at + 3, held, segments))
    bias, y = floats(_address(words, at + 4, held, segments)), _address(words, at + 5, held, segments)
    channels, taps, rank = int32(words[at + 6]), int32(words[at + 7]), words[at + 8]
    sizes = at + POSITIONS
    offsets, count = sizes + 2 * rank, channels
    for axis in range(rank):
        count = int32(count * int32(words[sizes + axis]))
    by_channels = _inverse(channels)
    index = int32(me)
    while index < count:
        rest = _quotient(index, by_channels)
        channel = int32(index - rest * channels)
        source, place = x + int64(channel) * BYTES, rest
        for axis in range(rank - 1, -1, -1):
            size = int32(words[sizes + axis])
            above = _quotient(place, _inverse(size))
            source += int64(int32((place - above * size) * int32(words[sizes + rank + axis])))
            place = above
        total = bias[channel]
        for tap in range(taps):
            total = fma(floats(source + words[offsets + tap])[0], w[int32(tap * channels + channel)], total)
        floats(y)[index] = total
        index = int32(index + threads())


@cache
def _chain_of(codes: tuple[int, ...]) -> Kernel:
    """The kernel of chains: of these functions, fills and products."""
    every = _mapping(codes)
    fold = _folding([code for code in codes if code in FOLDS])

    def chain(program, size, segments, count):
        words, held, me = _word_cells(), _segment_cells(), thread()
        place = me
        while place < size:
            words[place] = integers(program)[place]
            place += threads()
        place, count = me, min(count, SEGMENTS)
        while place < count:
            held[place] = integers(segments)[place]
            place += threads()
        barrier()
        at = int64(0)
        while at < size:
            opcode = words[at]
            if opcode == ELEMENTWISE:
                kept, function = words[at + 7], words[at + 2]
                if function >= FIRST and function <= LAST:
                    kept = _kept(words, at)
                if kept < words[at + 7]:
                    fold(words, at, held, segments, me, kept)
                else:
                    every(words, at, held, segments, me)
            elif opcode == LINEAR:
                _product(words, at, held, segments, me)
            elif opcode == DEPTHWISE:
                _taps(words, at, held, segments, me)
            else:
                _fill(words, at, held, segments, me)
            at += words[at + 1]
            barrier()

    return Kernel(chain, THREADS)


def codes_of(rows: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The functions of all rows that chains may consist of; copies and sums are always among them."""
    used = {row[2] for row in rows if row[0] == ELEMENTWISE and is_short(row)}
    return tuple(sorted(used | {FUNCTION_CODES["copy", "f"], FIRST}))


def chain(codes: tuple[int, ...], program: int, size: int, segments: int, count: int) -> Launch:
    """A launch that runs the ``size`` words of a program at an address; the ``count`` addresses of its
    segments lie at ``segments``."""
    return Launch(_chain_of(codes), 1, THREADS, (program, size, segments, count))
