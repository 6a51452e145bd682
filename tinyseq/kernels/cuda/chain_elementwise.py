"""What the threads of a chain, see ``chains.py``, do of ``elementwise``: functions, and folds.

``words[at]`` is where its row begins, ``held`` are the addresses of the first segments, ``segments`` is where
those of all lie, ``me`` is the thread's number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numba import types
from numpy import float32, int32, int64

from tinyseq.kernels.compute.elementwise import POINTERS
from tinyseq.kernels.compute.math import HALF, ONE, ZERO
from tinyseq.kernels.compute.scalars import SCALARS
from tinyseq.kernels.cuda.elementwise import LONG, LONGER, A, B, C, Y, _applied
from tinyseq.kernels.cuda.intrinsics import WARP, barrier, shared, shuffle_xor, threads
from tinyseq.kernels.instructions import FUNCTION_CODES, FUNCTIONS, SEGMENT_SHIFT
from tinyseq.kernels.llvm.intrinsics import floats, integers

SEGMENTS = 512
"""Segments whose addresses are held there too."""

THREADS = 512
"""Threads of the block that runs a chain; a multiple of a warp's."""

DIMS = 8
"""Where in a row of ``elementwise`` the dimensions begin."""

FOLDS = tuple(FUNCTION_CODES[name, "ff"] for name in ("add", "multiply", "maximum", "minimum"))
"""Functions that chains fold with."""

FIRST, LAST = FOLDS[0], FOLDS[-1]

BINARY = FIRST
"""Functions from here on may have operands beyond the first."""

OFFSET = (1 << SEGMENT_SHIFT) - 1

WARP_BITS, BLOCK_BITS = 5, 8
"""Of how many threads share out a fold the binary logarithm: of a long one, and of a longer one."""

_fold_cells = shared(types.float32, THREADS)


def kept_of(words, at):
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


def how_often(number, inverse):
    """How often a number below 2**20 holds a divisor, by the divisor's ``inverse`` in float32."""
    return int32((float32(int32(number)) + HALF) * inverse)


def inverse(divisor):
    return ONE / float32(divisor)


def placed(words, place, held, segments):
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


def mapping(codes: Sequence[int]):
    """What a thread does of a function of every element; there are three dimensions at the most."""
    choose = _choice([(code, _leaf(code)) for code in codes])

    def every(words, at, held, segments, me):
        function, rank = words[at + 2], words[at + 7]
        j, i, h = rank - 1, rank - 2, rank - 3
        n, m = _size(words, at, 0, j), _size(words, at, 0, i)
        index, count = int32(me), int32(n * m * _size(words, at, 0, h))
        if index >= count:
            return
        a, y = placed(words, at + 3, held, segments), placed(words, at + 6, held, segments)
        by_n, by_m = ZERO, ZERO
        if rank > 1:
            by_n, by_m = inverse(n), inverse(m)
        a0, a1 = _stride(words, at, A, 0, h), _stride(words, at, A, 0, i)
        y0, y1 = _stride(words, at, Y, 0, h), _stride(words, at, Y, 0, i)
        a2, y2 = _stride(words, at, A, 0, j), _stride(words, at, Y, 0, j)
        b, b0, b1, b2 = a, int32(0), int32(0), int32(0)
        c, c0, c1, c2 = a, int32(0), int32(0), int32(0)
        if function >= BINARY:
            b, c = placed(words, at + 4, held, segments), placed(words, at + 5, held, segments)
            b0, b1 = _stride(words, at, B, 0, h), _stride(words, at, B, 0, i)
            c0, c1 = _stride(words, at, C, 0, h), _stride(words, at, C, 0, i)
            b2, c2 = _stride(words, at, B, 0, j), _stride(words, at, C, 0, j)
        while index < count:
            above = how_often(index, by_n)
            z = how_often(above, by_m)
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


def folding(codes: Sequence[int]):
    """What a thread does of a fold: few elements of b it folds into one of y, in order; what is long, a warp
    or more share out."""
    join = _choice([(code, _joint(code)) for code in codes])
    pair = _choice([(code, _pair(code)) for code in codes])

    def fold(words, at, held, segments, me, kept):
        function, rank, cells = words[at + 2], words[at + 7], _fold_cells()
        a, y = placed(words, at + 3, held, segments), placed(words, at + 6, held, segments)
        b = placed(words, at + 4, held, segments)
        n, m = _size(words, at, 0, kept - 1), _size(words, at, kept, rank - 1)
        count, run = int32(n * _size(words, at, 0, kept - 2)), int32(m * _size(words, at, kept, rank - 2))
        by_n, by_m = inverse(n), inverse(m)
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
                above = how_often(index, by_n)
                p = int32(index - above * n)
                source = b + int64(int32(above * b0 + p * b1))
                target = y + int64(int32(above * y0 + p * y1))
                if lane == 0:
                    start = floats(a + int64(int32(above * a0 + p * a1)))[0]
                total, k = start, lane
                if bits > 0:
                    over = how_often(k, by_m)
                    total = floats(source + int64(int32(over * along0 + (k - over * m) * along1)))[0]
                    k = int32(k + step)
                while k + 3 * step < run:
                    over0, over1 = how_often(k, by_m), how_often(k + step, by_m)
                    over2, over3 = how_often(k + 2 * step, by_m), how_often(k + 3 * step, by_m)
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
                    over = how_often(k, by_m)
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
