"""Element by element operations on strided arrays; the twins of ``tinyseq.kernels.compute.elementwise``."""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import NamedTuple

from numba import types
from numpy import int32, int64, uint32

from tinyseq.kernels.compute.elementwise import POINTERS
from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.compute.scalars import SCALARS
from tinyseq.kernels.cuda.intrinsics import (
    WARP,
    barrier,
    block,
    blocks,
    read4,
    registers,
    thread,
    threads,
    write4,
)
from tinyseq.kernels.cuda.launch import MOST_BLOCKS, THREADS, Kernel, Launch, Tail
from tinyseq.kernels.cuda.reduction import across_block
from tinyseq.kernels.instructions import FUNCTIONS, Function
from tinyseq.kernels.llvm.intrinsics import floats, integers, integers32

A, B, C, Y = range(1, 5)
"""Which run of ``dims`` holds an operand's strides."""

FLOAT = 4
"""Bytes of a float32."""

AT_ONCE = 4
"""Elements that a thread reads before it writes one."""

MANY = 2**18
"""Elements from which on a thread has several."""

HEAVY = ("power", "modulo", "remainder", "sine", "cosine")
"""Functions so long that they are computed one at a time."""

ASSOCIATIVE = ("add", "multiply", "maximum", "minimum", "and", "or", "xor")
LONG, LONGER = 64, 256
"""Elements from which on a warp, and a block, folds them; by a tree that depends on nothing else."""

TYPES = {"f": types.float32, "i": types.int64, "w": types.int32, "b": types.uint8}


def _operand(kind: str):
    """How elements of a kind are read at a byte address."""
    pointer = POINTERS[kind]

    def read(address):
        return pointer(address)[0]

    return read


def _unused(address):
    return 0


def _applied(row: Function):
    """``apply(a, b, c)``: the function of the elements at three addresses, those it lacks ignored."""
    function = SCALARS[row.name, row.operands]
    read_a, read_b, read_c = [_operand(kind) for kind in row.operands] + [_unused] * (3 - len(row.operands))

    def unary(a, b, c):
        return function(read_a(a))

    def binary(a, b, c):
        return function(read_a(a), read_b(b))

    def ternary(a, b, c):
        return function(read_a(a), read_b(b), read_c(c))

    return (unary, binary, ternary)[len(row.operands) - 1]


def _scalars(row: Function):
    """``apply(a, b, c)``: the function of three numbers, those it lacks ignored."""
    function = SCALARS[row.name, row.operands]

    def unary(a, b, c):
        return function(a)

    def binary(a, b, c):
        return function(a, b)

    def ternary(a, b, c):
        return function(a, b, c)

    return (unary, binary, ternary)[len(row.operands) - 1]


def _four(address, step, place):
    """Four float32 from element ``place`` on, or of a ``step`` of 0 the same one four times."""
    if step:
        return read4(address + place * FLOAT)
    value = floats(address)[0]
    return value, value, value, value


def _one(address, step, place):
    return floats(address + place * step)[0]


def _no_four(address, step, place):
    """``_four`` of an operand that a function lacks."""
    return ZERO, ZERO, ZERO, ZERO


def _no_one(address, step, place):
    return ZERO


@cache
def _line_of(function: int) -> Kernel:
    """The kernel of a function over one dimension."""
    row = FUNCTIONS[function]
    apply, target = _applied(row), POINTERS[row.result]

    def line(a, b, c, y, count, a_step, b_step, c_step, y_step):
        i = block() * threads() + thread()
        while i < count:
            target(y + i * y_step)[0] = apply(a + i * a_step, b + i * b_step, c + i * c_step)
            i += blocks() * threads()

    return Kernel(line)


@cache
def _fours_of(function: int) -> Kernel:
    """The kernel of a function of float32 over one dimension, four elements at a time, steps 4 or 0."""
    row = FUNCTIONS[function]
    apply, count_of = _scalars(row), len(row.operands)
    four_b, four_c = (_four if count_of > place else _no_four for place in (1, 2))
    one_b, one_c = (_one if count_of > place else _no_one for place in (1, 2))

    def fours(a, b, c, y, count, a_step, b_step, c_step):
        first = block() * threads() + thread()
        i = 4 * first
        while i + 4 <= count:
            a0, a1, a2, a3 = _four(a, a_step, i)
            b0, b1, b2, b3 = four_b(b, b_step, i)
            c0, c1, c2, c3 = four_c(c, c_step, i)
            write4(y + i * FLOAT, apply(a0, b0, c0), apply(a1, b1, c1), apply(a2, b2, c2), apply(a3, b3, c3))
            i += 4 * blocks() * threads()
        i = count // 4 * 4 + first
        if i < count:
            floats(y)[i] = apply(_one(a, a_step, i), one_b(b, b_step, i), one_c(c, c_step, i))

    return Kernel(fours)


@cache
def _box_of(function: int) -> Kernel:
    """The kernel of a function over three dimensions, the last two of sizes m and n.

    A thread has read all of its next ``AT_ONCE`` elements before it writes one.
    """
    row = FUNCTIONS[function]
    apply, target = _applied(row), POINTERS[row.result]
    at_once = 1 if row.name in HEAVY else AT_ONCE
    results, places = registers(TYPES[row.result], at_once), registers(types.int64, at_once)

    def box(a, b, c, y, count, m, n, a0, a1, a2, b0, b1, b2, c0, c1, c2, y0, y1, y2):
        index, apart, values, at = block() * threads() + thread(), blocks() * threads(), results(), places()
        while index < count:
            for k in range(at_once):
                own = index + k * apart
                if own < count:
                    rest = uint32(own) // uint32(n)
                    above = rest // uint32(m)
                    h, i = int64(above), int64(rest - above * uint32(m))
                    j = int64(uint32(own) - rest * uint32(n))
                    at[k] = y + h * y0 + i * y1 + j * y2
                    values[k] = apply(
                        a + h * a0 + i * a1 + j * a2,
                        b + h * b0 + i * b1 + j * b2,
                        c + h * c0 + i * c1 + j * c2,
                    )
            for k in range(at_once):
                if index + k * apart < count:
                    target(at[k])[0] = values[k]
            index += at_once * apart

    return Kernel(box)


@cache
def _space_of(function: int) -> Kernel:
    """The kernel of a function over any number of dimensions."""
    row = FUNCTIONS[function]
    apply, target = _applied(row), POINTERS[row.result]

    def space(a, b, c, y, count, rank, dims):
        sizes, index = integers(dims), block() * threads() + thread()
        while index < count:
            a_at, b_at, c_at, y_at, rest = a, b, c, y, uint32(index)
            for axis in range(rank - 1, -1, -1):
                above = rest // uint32(sizes[axis])
                place = int64(rest - above * uint32(sizes[axis]))
                a_at += place * sizes[A * rank + axis]
                b_at += place * sizes[B * rank + axis]
                c_at += place * sizes[C * rank + axis]
                y_at += place * sizes[Y * rank + axis]
                rest = above
            target(y_at)[0] = apply(a_at, b_at, c_at)
            index += blocks() * threads()

    return Kernel(space)


def _mapped(function: int, a: int, b: int, c: int, y: int, rank: int, dims: Tail) -> list[Launch]:
    """A function of every element, by the least general kernel that can."""
    row, operands = FUNCTIONS[function], (a, b, c, y)
    sizes, *steps = (dims.values[place * rank : (place + 1) * rank] for place in range(5))
    count = math.prod(sizes)
    if rank > 3:
        return _space_of(function).over(count, *operands, count, rank, dims.address)
    if rank > 1:
        sizes, *steps = (
            [fill] * (3 - rank) + values for fill, values in zip((1, 0, 0, 0, 0), (sizes, *steps))
        )
        # Of few elements, each thread has one.
        threads = count if count < MANY or row.name in HEAVY else -(-count // AT_ONCE)
        return _box_of(function).over(threads, *operands, count, *sizes[1:], *itertools.chain(*steps))
    steps = [step for (step,) in steps]
    used = [*range(len(row.operands)), len(operands) - 1]
    aligned = all(operands[i] % (4 * FLOAT) == 0 if steps[i] else i < Y - 1 for i in used)
    dense = all(steps[i] in (0, FLOAT) for i in used)
    if aligned and dense and {*row.operands, row.result} == {"f"} and row.name not in HEAVY:
        # Of what the function lacks no more than one element is read.
        steps = [step if place in used else 0 for place, step in enumerate(steps)]
        return _fours_of(function).over(max(count // 4, min(count, 3)), *operands, count, *steps[:3])
    return _line_of(function).over(count, *operands, count, *steps)


class Walking(NamedTuple):
    """How folds find elements: ``begin(index, a, b, y, *way)`` gives where in a, b and y the fold of element
    ``index`` begins, ``along(i, *way)`` how many bytes further its element i of b lies.
    """

    begin: object
    along: object


def _begin_flat(index, a, b, y, a_step, b_step, y_step, along_step):
    return a + index * a_step, b + index * b_step, y + index * y_step


def _along_flat(i, a_step, b_step, y_step, along_step):
    return i * along_step


def _begin(index, a, b, y, kept, rank, dims, _):
    sizes, rest = integers(dims), uint32(index)
    for axis in range(kept - 1, -1, -1):
        above = rest // uint32(sizes[axis])
        place = int64(rest - above * uint32(sizes[axis]))
        a += place * sizes[A * rank + axis]
        b += place * sizes[B * rank + axis]
        y += place * sizes[Y * rank + axis]
        rest = above
    return a, b, y


def _along(i, kept, rank, dims, _):
    sizes, moved, rest = integers(dims), int64(0), uint32(i)
    for axis in range(rank - 1, kept - 1, -1):
        above = rest // uint32(sizes[axis])
        moved += int64(rest - above * uint32(sizes[axis])) * sizes[B * rank + axis]
        rest = above
    return moved


FLAT = Walking(_begin_flat, _along_flat)
"""One dimension is folded, one at most is kept."""

ANY = Walking(_begin, _along)
"""Dimensions from ``kept`` on are folded."""


@cache
def _short_fold_of(function: int, walk: Walking) -> Kernel:
    """The kernel of a function in which each thread folds elements of b into elements of y, in order."""
    row, (begin, along) = FUNCTIONS[function], walk
    combined, pointer = SCALARS[row.name, row.operands], POINTERS[row.result]

    def short_fold(a, b, y, count, run, w0, w1, w2, w3):
        index = block() * threads() + thread()
        while index < count:
            start, source, target = begin(index, a, b, y, w0, w1, w2, w3)
            total = pointer(start)[0]
            for i in range(run):
                total = combined(total, pointer(source + along(i, w0, w1, w2, w3))[0])
            pointer(target)[0] = total
            index += blocks() * threads()

    return Kernel(short_fold)


@cache
def _long_fold_of(function: int, walk: Walking) -> Kernel:
    """``_short_fold_of`` in which the threads of a block share out what goes into one element of y.

    There are no more threads than such elements.
    """
    row, (begin, along) = FUNCTIONS[function], walk
    combined, pointer = SCALARS[row.name, row.operands], POINTERS[row.result]
    together = across_block(combined, TYPES[row.result])

    def long_fold(a, b, y, count, run, w0, w1, w2, w3):
        index, me = block(), thread()
        while index < count:
            start, source, target = begin(index, a, b, y, w0, w1, w2, w3)
            total, i = pointer(source + along(me, w0, w1, w2, w3))[0], me + threads()
            while i < run:
                total = combined(total, pointer(source + along(i, w0, w1, w2, w3))[0])
                i += threads()
            total = together(total)
            if me == 0:
                pointer(target)[0] = combined(pointer(start)[0], total)
            index += blocks()

    return Kernel(long_fold)


def _folded(function: int, a: int, b: int, y: int, rank: int, dims: Tail, kept: int) -> list[Launch]:
    """Each element of the dimensions before ``kept`` together with all of the others."""
    name = FUNCTIONS[function].name
    sizes, *steps = (dims.values[place * rank : (place + 1) * rank] for place in range(5))
    count, run = math.prod(sizes[:kept]), math.prod(sizes[kept:])
    walk, way = ANY, (kept, rank, dims.address, 0)
    if kept == rank - 1 <= 1:
        firsts = [steps[place - 1][0] * kept for place in (A, B, Y)]
        walk, way = FLAT, (*firsts, steps[B - 1][kept])
    arguments = (a, b, y, count, run, *way)
    if run < LONG or name not in ASSOCIATIVE:
        return _short_fold_of(function, walk).over(count, *arguments)
    many = WARP if run < LONGER else THREADS
    return [Launch(_long_fold_of(function, walk), min(count, MOST_BLOCKS), many, arguments)] if count else []


def elementwise(function: int, a: int, b: int, c: int, y: int, rank: int, dims: Tail) -> list[Launch]:
    row = FUNCTIONS[function]
    sizes, a_steps, y_steps = (dims.values[operand * rank : (operand + 1) * rank] for operand in (0, A, Y))
    kept = rank
    while kept and sizes[kept - 1] > 1 and a_steps[kept - 1] == y_steps[kept - 1] == 0:
        kept -= 1
    if kept == rank or row.operands != row.result * 2:
        return _mapped(function, a, b, c, y, rank, dims)
    return _folded(function, a, b, y, rank, dims, kept)


def _fill(y, count, bits):
    target = integers32(y)
    i = block() * threads() + thread()
    while i < count:
        target[i] = int32(bits)
        i += blocks() * threads()


_filling = Kernel(_fill)


def fill(y: int, count: int, bits: int) -> list[Launch]:
    return _filling.over(count, y, count, bits)


def _shift(y, stride, count, by):
    """One block a row: of the elements that lie side by side, all are read before one is written."""
    target = floats(y + block() * stride * 4)
    start = int64(0)
    while start < count:
        i = start + thread()
        value = target[i + by] if i < count else ZERO
        barrier()
        if i < count:
            target[i] = value
        start += threads()


_shifting = Kernel(_shift)


def shift(y: int, rows: int, stride: int, count: int, by: int) -> list[Launch]:
    return [Launch(_shifting, rows, THREADS, (y, stride, count, by))] if rows * count > 0 else []
