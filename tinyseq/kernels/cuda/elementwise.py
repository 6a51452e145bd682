"""Element by element operations on strided arrays; the twins of ``tinyseq.kernels.elementwise``."""

from __future__ import annotations

import math
from functools import cache

from numpy import int32, int64, uint32

from tinyseq.kernels.cuda.intrinsics import block, blocks, thread, threads
from tinyseq.kernels.cuda.launch import Kernel, Launch, Tail
from tinyseq.kernels.elementwise import POINTERS
from tinyseq.kernels.instructions import FUNCTIONS, Function
from tinyseq.kernels.intrinsics import integers, integers32
from tinyseq.kernels.scalars import SCALARS

A, B, C, Y = range(1, 5)
"""Which run of ``dims`` holds an operand's strides."""


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


def _place(index, sizes, first, end, strides):
    """How many bytes in an element lies, by its number in the dimensions ``first`` up to ``end``."""
    moved = 0
    for axis in range(end - 1, first, -1):
        size = uint32(sizes[axis])
        moved += int64(index % size) * sizes[strides + axis]
        index //= size
    return moved + int64(index) * sizes[strides + first]


def _mapping(row: Function) -> Kernel:
    """The kernel of a function in which each thread computes elements of y."""
    apply, target = _applied(row), POINTERS[row.result]

    def elementwise(a, b, c, y, count, rank, dims):
        sizes = integers(dims)
        for index in range(block() * threads() + thread(), count, blocks() * threads()):
            a_at, b_at, c_at, y_at, rest = a, b, c, y, uint32(index)
            for axis in range(rank - 1, 0, -1):
                size = uint32(sizes[axis])
                place = int64(rest % size)
                rest //= size
                a_at += place * sizes[A * rank + axis]
                b_at += place * sizes[B * rank + axis]
                c_at += place * sizes[C * rank + axis]
                y_at += place * sizes[Y * rank + axis]
            place = int64(rest)
            a_at += place * sizes[A * rank]
            b_at += place * sizes[B * rank]
            c_at += place * sizes[C * rank]
            target(y_at + place * sizes[Y * rank])[0] = apply(a_at, b_at, c_at)

    return Kernel(elementwise)


def _folding(row: Function) -> Kernel:
    """The kernel of a function in which each thread folds elements of b into elements of y, in order.

    The dimensions from ``kept`` on are folded.
    """
    function, pointer = SCALARS[row.name, row.operands], POINTERS[row.result]

    def fold(a, b, y, count, run, kept, rank, dims):
        sizes = integers(dims)
        for index in range(block() * threads() + thread(), count, blocks() * threads()):
            a_at, b_at, y_at = a, b, y
            if kept > 0:
                a_at += _place(uint32(index), sizes, 0, kept, A * rank)
                b_at += _place(uint32(index), sizes, 0, kept, B * rank)
                y_at += _place(uint32(index), sizes, 0, kept, Y * rank)
            total = pointer(a_at)[0]
            for i in range(run):
                total = function(total, pointer(b_at + _place(uint32(i), sizes, kept, rank, B * rank))[0])
            pointer(y_at)[0] = total

    return Kernel(fold)


@cache
def _mapping_of(function: int) -> Kernel:
    return _mapping(FUNCTIONS[function])


@cache
def _folding_of(function: int) -> Kernel:
    return _folding(FUNCTIONS[function])


def elementwise(function: int, a: int, b: int, c: int, y: int, rank: int, dims: Tail) -> list[Launch]:
    sizes, a_steps, y_steps = (dims.values[operand * rank : (operand + 1) * rank] for operand in (0, A, Y))
    kept = rank
    while kept and sizes[kept - 1] > 1 and a_steps[kept - 1] == y_steps[kept - 1] == 0:
        kept -= 1
    row = FUNCTIONS[function]
    if kept == rank or row.operands != row.result * 2:
        count = math.prod(sizes)
        return _mapping_of(function).over(count, a, b, c, y, count, rank, dims.address)
    count, run = math.prod(sizes[:kept]), math.prod(sizes[kept:])
    return _folding_of(function).over(count, a, b, y, count, run, kept, rank, dims.address)


def _fill(y, count, bits):
    target = integers32(y)
    for i in range(block() * threads() + thread(), count, blocks() * threads()):
        target[i] = int32(bits)


_filling = Kernel(_fill)


def fill(y: int, count: int, bits: int) -> list[Launch]:
    return _filling.over(count, y, count, bits)
