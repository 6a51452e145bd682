"""Chains: neighbouring instructions over few elements, run by one block that reads the program itself.

A launch takes longer than most of them. A block goes through their rows as the machine on the CPU does, its
threads waiting for each other after each, so that it does not matter what depends on what. What an element
becomes, and in which order a fold takes its elements, is as in a launch of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from numba import types
from numpy import int32, int64, uint32

from tinyseq.kernels.cuda.elementwise import HEAVY, LONG, LONGER, A, B, C, Y, _applied
from tinyseq.kernels.cuda.intrinsics import barrier, shared, thread, threads
from tinyseq.kernels.cuda.launch import Kernel, Launch
from tinyseq.kernels.elementwise import POINTERS
from tinyseq.kernels.instructions import FUNCTION_CODES, FUNCTIONS, MAX_RANK, OPCODES, SEGMENT_SHIFT
from tinyseq.kernels.intrinsics import floats, integers, integers32
from tinyseq.kernels.math import ZERO
from tinyseq.kernels.scalars import SCALARS

MOST = 4096
"""Elements that an instruction of a chain computes or folds at the most."""

THREADS = 512
"""Threads of the block that runs a chain."""

ROW = 8 + 5 * MAX_RANK
"""Words of the longest row."""

DIMS = 8
"""Where in a row of ``elementwise`` its dimensions begin."""

FILL, ELEMENTWISE = OPCODES["fill"], OPCODES["elementwise"]

FOLDS = tuple(FUNCTION_CODES[name, "ff"] for name in ("add", "multiply", "maximum", "minimum"))
"""Functions that chains fold with."""

FIRST, LAST = int64(FOLDS[0]), int64(FOLDS[-1])

BINARY = FIRST
"""Functions from here on may have operands beyond the first."""

OFFSET = int64((1 << SEGMENT_SHIFT) - 1)

_even_cells, _odd_cells = shared(types.int64, ROW), shared(types.int64, ROW)
_fold_cells = shared(types.float32, THREADS)


def is_short(row: Sequence[int]) -> bool:
    """Whether an instruction is one that chains consist of."""
    if row[0] == FILL:
        return row[3] <= MOST
    if row[0] != ELEMENTWISE:
        return False
    function, sizes = FUNCTIONS[row[2]], row[DIMS : DIMS + row[7]]
    if function.name in HEAVY or math.prod(sizes) > MOST:
        return False
    if not _folds(row):
        return True
    return row[2] in FOLDS and math.prod(sizes[_kept(row) :]) < LONGER


def _folds(row: Sequence[int]) -> bool:
    function = FUNCTIONS[row[2]]
    return function.operands == function.result * 2 and _kept(row) < row[7]


def _kept(row):
    """How many dimensions an elementwise instruction does not fold, if its function is one that can."""
    kept, rank = row[7], row[7]
    while kept > 0:
        at = DIMS + kept - 1
        if row[at] <= 1 or row[at + A * rank] != 0 or row[at + Y * rank] != 0:
            break
        kept -= 1
    return kept


def _product(row, first, last):
    """The product of sizes."""
    count = int64(1)
    for axis in range(first, last):
        count *= row[DIMS + axis]
    return count


def _places(row, index, first, last, binary):
    """Where an element lies, counted over dimensions first to last, in each operand and in y: how many bytes
    from where the operand begins. Only a ``binary`` function has operands beyond the first."""
    a, b, c, y, rest, rank = int64(0), int64(0), int64(0), int64(0), uint32(index), row[7]
    for axis in range(last - 1, first - 1, -1):
        at = DIMS + axis
        above = rest // uint32(row[at])
        place = int64(rest - above * uint32(row[at]))
        a += place * row[at + A * rank]
        y += place * row[at + Y * rank]
        if binary:
            b += place * row[at + B * rank]
            c += place * row[at + C * rank]
        rest = above
    return a, b, c, y


def _choice(leaves: Sequence[tuple[int, Callable]]):
    """``choose(function, *three)``: what the leaf of a function's code gives; leaves are in order."""
    if len(leaves) == 1:
        return leaves[0][1]
    half = len(leaves) // 2
    middle, below, above = int64(leaves[half][0]), _choice(leaves[:half]), _choice(leaves[half:])

    def choose(function, one, two, three, four):
        if function < middle:
            return below(function, one, two, three, four)
        return above(function, one, two, three, four)

    return choose


def _leaf(code: int):
    """A function of the elements at three addresses, put at a fourth."""
    row = FUNCTIONS[code]
    apply, target = _applied(row), POINTERS[row.result]

    def leaf(function, a, b, c, y):
        target(y)[0] = apply(a, b, c)

    return leaf


def _joint(code: int):
    """A function of two numbers."""
    combined = SCALARS[FUNCTIONS[code].name, "ff"]

    def joint(function, one, two, _, __):
        return combined(one, two)

    return joint


def _mapping(codes: Sequence[int]):
    """What a thread does of a function of every element."""
    choose = _choice([(code, _leaf(code)) for code in codes])

    def every(row, me):
        function, rank = row[2], row[7]
        for index in range(me, _product(row, 0, rank), threads()):
            a, b, c, y = _places(row, index, 0, rank, function >= BINARY)
            choose(function, row[3] + a, row[4] + b, row[5] + c, row[6] + y)

    return every


def _folding(codes: Sequence[int]):
    """What a thread does of a fold: few elements of b it folds into one of y, in order; many a warp shares
    out."""
    join = _choice([(code, _joint(code)) for code in codes])

    def fold(row, me, kept):
        function, rank, cells = row[2], row[7], _fold_cells()
        count, run = _product(row, 0, kept), _product(row, kept, rank)
        bits = int64(5) if run >= LONG else int64(0)
        together = 1 << bits
        lane = me & (together - 1)
        for first in range(0, count, threads() >> bits):
            index, start, total, y = first + (me >> bits), ZERO, ZERO, int64(0)
            if index < count:
                a, b, _, y = _places(row, index, 0, kept, True)
                start = floats(row[3] + a)[0]
                total, i = start, lane
                while i < run:
                    _, further, _, _ = _places(row, i, kept, rank, True)
                    value = floats(row[4] + b + further)[0]
                    total = value if i < together and bits > 0 else join(function, total, value, 0, 0)
                    i += together
                cells[me] = total
            half = together // 2
            while half > 0:
                barrier()
                if lane < half and index < count:
                    cells[me] = join(function, cells[me], cells[me + half], 0, 0)
                half //= 2
            if lane == 0 and index < count:
                total = join(function, start, cells[me], 0, 0) if bits > 0 else total
                floats(row[6] + y)[0] = total
            barrier()

    return fold


def _fill(row, me):
    target, bits = integers32(row[2]), int32(row[4])
    for i in range(me, row[3], threads()):
        target[i] = bits


def _fetch(cells, row, end, segments, me):
    """Each thread reads a word of a row; of an address, where it is on the device."""
    if me < ROW and row + me * 8 < end:
        word, opcode = integers(row)[me], integers(row)[0]
        if (opcode == FILL and me == 2) or (opcode == ELEMENTWISE and 3 <= me <= 6):
            word = integers(segments)[word >> SEGMENT_SHIFT] + (word & OFFSET)
        cells[me] = word


@cache
def _chain_of(codes: tuple[int, ...]) -> Kernel:
    """The kernel of chains of these functions, and of ``fill``."""
    every = _mapping(codes)
    fold = _folding([code for code in codes if code in FOLDS])

    def chain(row, end, segments):
        here, following, me = _even_cells(), _odd_cells(), thread()
        _fetch(here, row, end, segments, me)
        barrier()
        while row < end:
            row += here[1] * 8
            _fetch(following, row, end, segments, me)
            if here[0] == FILL:
                _fill(here, me)
            else:
                kept = here[7]
                if FIRST <= here[2] <= LAST:
                    kept = _kept(here)
                if kept < here[7]:
                    fold(here, me, kept)
                else:
                    every(here, me)
            barrier()
            here, following = following, here

    return Kernel(chain, THREADS)


def codes_of(rows: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """The functions of all rows that chains may consist of; copies and sums are always among them."""
    used = {row[2] for row in rows if row[0] == ELEMENTWISE and is_short(row)}
    return tuple(sorted(used | {FUNCTION_CODES["copy", "f"], FOLDS[0]}))


def chain(codes: tuple[int, ...], start: int, end: int, segments: int) -> Launch:
    """A launch that runs the rows from address ``start`` to ``end``; the addresses of a program's segments
    lie at ``segments``."""
    return Launch(_chain_of(codes), 1, THREADS, (start, end, segments))
