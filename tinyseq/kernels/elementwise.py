"""One kernel for every element by element operation on strided arrays: copies, functions, sums."""

from __future__ import annotations

import numpy as np
from numba import types

from tinyseq.kernels import math
from tinyseq.kernels.instructions import BINARY, MAX_RANK, UNARY
from tinyseq.kernels.intrinsics import compiled, floats, integers, integers32, square_root, stack
from tinyseq.kernels.switch import switch

BYTES = 4

_counters = stack(types.int64, MAX_RANK)


@compiled()
def _copy(a):
    return a


@compiled()
def _negate(a):
    return -a


@compiled()
def _absolute(a):
    return abs(a)


@compiled()
def _square(a):
    return a * a


@compiled()
def _sqrt(a):
    return square_root(a)


@compiled()
def _reciprocal(a):
    return math.ONE / a


@compiled()
def _add(a, b):
    return a + b


@compiled()
def _subtract(a, b):
    return a - b


@compiled()
def _multiply(a, b):
    return a * b


@compiled()
def _divide(a, b):
    return a / b


@compiled()
def _maximum(a, b):
    """The larger; not-a-number if either is."""
    return a if a > b or a != a else b


@compiled()
def _minimum(a, b):
    """The smaller; not-a-number if either is."""
    return a if a < b or a != a else b


SCALARS = {
    "copy": _copy,
    "negate": _negate,
    "absolute": _absolute,
    "relu": math.relu,
    "sigmoid": math.sigmoid,
    "tanh": math.tanh,
    "exp": math.exp,
    "sqrt": _sqrt,
    "square": _square,
    "reciprocal": _reciprocal,
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "maximum": _maximum,
    "minimum": _minimum,
}


def _unary_run(function):
    @compiled()
    def run(a, b, y, count, step_a, step_b, step_y):
        source = floats(a)
        target = floats(y)
        if step_a == 1 and step_y == 1:
            for i in range(count):
                target[i] = function(source[i])
        else:
            for i in range(count):
                target[i * step_y] = function(source[i * step_a])

    return run


def _binary_run(function):
    @compiled()
    def run(a, b, y, count, step_a, step_b, step_y):
        left = floats(a)
        right = floats(b)
        target = floats(y)
        if step_y == 0 and step_a == 0:
            total = left[0]
            for i in range(count):
                total = function(total, right[i * step_b])
            target[0] = total
        elif step_y == 1 and step_a == 1 and step_b == 1:
            for i in range(count):
                target[i] = function(left[i], right[i])
        elif step_y == 1 and step_a == 1 and step_b == 0:
            fixed = right[0]
            for i in range(count):
                target[i] = function(left[i], fixed)
        else:
            for i in range(count):
                target[i * step_y] = function(left[i * step_a], right[i * step_b])

    return run


_run = switch(
    "run",
    [_unary_run(SCALARS[name]) for name in UNARY] + [_binary_run(SCALARS[name]) for name in BINARY],
    ("a", "b", "y", "count", "step_a", "step_b", "step_y"),
)


@compiled()
def elementwise(function, a, b, y, rank, dims):
    """y = function(a, b) over ``rank`` >= 1 dimensions; a unary function ignores b.

    ``dims`` points to the sizes, then the strides of a, of b and of y, in elements. A stride of 0
    in a and y alike, along the last dimension, folds the elements of b into one in order.
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
    y_step = shape[3 * rank + last]
    while True:
        _run(function, a, b, y, shape[last], a_step, b_step, y_step)
        axis = last - 1
        while axis >= 0:
            counters[axis] += 1
            a += shape[rank + axis] * BYTES
            b += shape[2 * rank + axis] * BYTES
            y += shape[3 * rank + axis] * BYTES
            if counters[axis] < shape[axis]:
                break
            counters[axis] = 0
            a -= shape[axis] * shape[rank + axis] * BYTES
            b -= shape[axis] * shape[2 * rank + axis] * BYTES
            y -= shape[axis] * shape[3 * rank + axis] * BYTES
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
