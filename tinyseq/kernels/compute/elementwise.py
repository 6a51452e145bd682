"""One kernel for every element by element operation on strided arrays: copies, functions, sums."""

from __future__ import annotations

import numpy as np
from numba import types

from tinyseq.kernels.compute.scalars import SCALARS
from tinyseq.kernels.instructions import FUNCTIONS, MAX_RANK, Function
from tinyseq.kernels.llvm.intrinsics import compiled, floats, integers, integers32, octets, stack
from tinyseq.kernels.llvm.switch import switch

_counters = stack(types.int64, MAX_RANK)

MOVED = 32
"""Numbers that are moved at once; no more than any processor's registers hold."""

_held = stack(types.float32, MOVED)

SIZES = {"f": 4, "i": 8, "b": 1, "w": 4}
POINTERS = {"f": floats, "i": integers, "b": octets, "w": integers32}


def _unary_run(function, operand: str, result: str):
    """One row of a unary function; steps are in elements."""
    pointer, target_pointer = POINTERS[operand], POINTERS[result]
    a_size, y_size = SIZES[operand], SIZES[result]

    @compiled()
    def run(a, b, c, y, count, a_step, b_step, c_step, y_step):
        source = pointer(a)
        target = target_pointer(y)
        if a_step == a_size and y_step == y_size:
            for i in range(count):
                target[i] = function(source[i])
        else:
            for i in range(count):
                target_pointer(y + i * y_step)[0] = function(pointer(a + i * a_step)[0])

    return run


def _binary_run(function, operands: str, result: str):
    """One row of a binary function. Where a and y stay put, b's elements are folded into one."""
    left_pointer, right_pointer, target_pointer = (*(POINTERS[kind] for kind in operands), POINTERS[result])
    a_size, b_size, y_size = (*(SIZES[kind] for kind in operands), SIZES[result])
    folds = operands == result + result

    @compiled()
    def run(a, b, c, y, count, a_step, b_step, c_step, y_step):
        left = left_pointer(a)
        right = right_pointer(b)
        target = target_pointer(y)
        if folds and y_step == 0 and a_step == 0:
            total = left[0]
            for i in range(count):
                total = function(total, right_pointer(b + i * b_step)[0])
            target[0] = total
        elif y_step == y_size and a_step == a_size and b_step == b_size:
            for i in range(count):
                target[i] = function(left[i], right[i])
        elif y_step == y_size and a_step == a_size and b_step == 0:
            fixed = right[0]
            for i in range(count):
                target[i] = function(left[i], fixed)
        else:
            for i in range(count):
                value = function(left_pointer(a + i * a_step)[0], right_pointer(b + i * b_step)[0])
                target_pointer(y + i * y_step)[0] = value

    return run


def _ternary_run(function, operands: str, result: str):
    """One row of a function of three operands."""
    a_pointer, b_pointer, c_pointer = (POINTERS[kind] for kind in operands)
    target_pointer = POINTERS[result]
    a_size, y_size = SIZES[operands[0]], SIZES[result]

    @compiled()
    def run(a, b, c, y, count, a_step, b_step, c_step, y_step):
        if a_step == a_size and y_step == y_size and b_step == 0 and c_step == 0:
            source, target = a_pointer(a), target_pointer(y)
            second, third = b_pointer(b)[0], c_pointer(c)[0]
            for i in range(count):
                target[i] = function(source[i], second, third)
        else:
            for i in range(count):
                value = function(
                    a_pointer(a + i * a_step)[0], b_pointer(b + i * b_step)[0], c_pointer(c + i * c_step)[0]
                )
                target_pointer(y + i * y_step)[0] = value

    return run


def _run_of(row: Function):
    make = (_unary_run, _binary_run, _ternary_run)[len(row.operands) - 1]
    return make(SCALARS[row.name, row.operands], row.operands, row.result)


_run = switch(
    "run",
    [_run_of(row) for row in FUNCTIONS],
    ("a", "b", "c", "y", "count", "a_step", "b_step", "c_step", "y_step"),
)


@compiled()
def elementwise(function, a, b, c, y, rank, dims):
    """y = function(a, b, c) over ``rank`` >= 1 dimensions; operands the function lacks are ignored.

    ``dims`` points to the sizes, then the strides of a, b, c and y in bytes. Strides of 0 in a and y
    alike, along the last dimension, fold the elements of b into one, in order.
    """
    shape = integers(dims)
    counters = integers(_counters())
    for axis in range(rank):
        counters[axis] = 0
        if shape[axis] == 0:
            return
    last = rank - 1
    a_step = shape[rank + last]
    b_step = shape[2 * rank + last]
    c_step = shape[3 * rank + last]
    y_step = shape[4 * rank + last]
    while True:
        _run(function, a, b, c, y, shape[last], a_step, b_step, c_step, y_step)
        axis = last - 1
        while axis >= 0:
            counters[axis] += 1
            a += shape[rank + axis]
            b += shape[2 * rank + axis]
            c += shape[3 * rank + axis]
            y += shape[4 * rank + axis]
            if counters[axis] < shape[axis]:
                break
            counters[axis] = 0
            a -= shape[axis] * shape[rank + axis]
            b -= shape[axis] * shape[2 * rank + axis]
            c -= shape[axis] * shape[3 * rank + axis]
            y -= shape[axis] * shape[4 * rank + axis]
            axis -= 1
        if axis < 0:
            return


@compiled()
def fill(y, count, bits):
    """y[0:count] = the 32 bit pattern ``bits``."""
    target = integers32(y)
    value = np.int32(bits)
    for i in range(count):
        target[i] = value


@compiled()
def shift(y, count, by):
    """y[i] = y[i + by] for ``count`` float32 from the first on; ``by`` is above 0.

    By so many at a time that are read before any of them is written.
    """
    held = floats(_held())
    whole = count // MOVED * MOVED
    for start in range(0, whole, MOVED):
        source = floats(y + 4 * (start + by))
        target = floats(y + 4 * start)
        for i in range(MOVED):
            held[i] = source[i]
        for i in range(MOVED):
            target[i] = held[i]
    for i in range(whole, count):
        floats(y)[i] = floats(y)[i + by]
