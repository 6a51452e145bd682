"""One kernel for every element by element operation on strided arrays: copies, functions, sums."""

from __future__ import annotations

import numpy as np
from numba import types

from tinyseq.kernels.compute.scalars import SCALARS
from tinyseq.kernels.instructions import ELEMENT_BYTES, FUNCTION_CODES, FUNCTIONS, MAX_RANK, Function
from tinyseq.kernels.llvm.intrinsics import compiled, floats, integers, integers32, octets, stack
from tinyseq.kernels.llvm.switch import switch

_counters = stack(types.int64, MAX_RANK)

MOVED = 32
"""Numbers that are moved at once; no more than any processor's registers hold."""

_held = stack(types.float32, MOVED)

FOLDED = ("add", "multiply", "maximum", "minimum")
"""Functions by which many rows are folded at once."""

COPY = FUNCTION_CODES["copy", "f"]

BESIDE = 1024
"""Rows that are folded at once where they lie side by side: what they come to stays in the nearest cache."""

SHORT = 8
"""Rows of fewer elements are walked across, if that takes fewer turns."""

POINTERS = {"f": floats, "i": integers, "b": octets, "w": integers32}


def _unary_run(function, operand: str, result: str):
    """One row of a unary function; steps are in elements."""
    pointer, target_pointer = POINTERS[operand], POINTERS[result]
    a_size, y_size = ELEMENT_BYTES[operand], ELEMENT_BYTES[result]

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
    a_size, b_size, y_size = (*(ELEMENT_BYTES[kind] for kind in operands), ELEMENT_BYTES[result])
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
        elif y_step == y_size and a_step == 0 and b_step == b_size:
            first = left[0]
            for i in range(count):
                target[i] = function(first, right[i])
        else:
            for i in range(count):
                value = function(left_pointer(a + i * a_step)[0], right_pointer(b + i * b_step)[0])
                target_pointer(y + i * y_step)[0] = value

    return run


def _ternary_run(function, operands: str, result: str):
    """One row of a function of three operands."""
    a_pointer, b_pointer, c_pointer = (POINTERS[kind] for kind in operands)
    target_pointer = POINTERS[result]
    a_size, b_size, c_size, y_size = (*(ELEMENT_BYTES[kind] for kind in operands), ELEMENT_BYTES[result])

    @compiled()
    def run(a, b, c, y, count, a_step, b_step, c_step, y_step):
        source, second, third, target = a_pointer(a), b_pointer(b), c_pointer(c), target_pointer(y)
        in_line = a_step == a_size and y_step == y_size
        if in_line and b_step == 0 and c_step == 0:
            b_fixed, c_fixed = second[0], third[0]
            for i in range(count):
                target[i] = function(source[i], b_fixed, c_fixed)
        elif in_line and b_step == b_size and c_step == c_size:
            for i in range(count):
                target[i] = function(source[i], second[i], third[i])
        elif in_line and b_step == b_size and c_step == 0:
            c_fixed = third[0]
            for i in range(count):
                target[i] = function(source[i], second[i], c_fixed)
        elif in_line and b_step == 0 and c_step == c_size:
            b_fixed = second[0]
            for i in range(count):
                target[i] = function(source[i], b_fixed, third[i])
        else:
            for i in range(count):
                value = function(
                    a_pointer(a + i * a_step)[0], b_pointer(b + i * b_step)[0], c_pointer(c + i * c_step)[0]
                )
                target_pointer(y + i * y_step)[0] = value

    return run


SHAPED = ("elu", "selu")
"""Functions of a number, whose others are the same for all of a tensor."""


def _shaped_run(function, operands: str, result: str):
    """One row of a function of a float32 and two that, as a rule, stay the same."""

    @compiled()
    def run(a, b, c, y, count, a_step, b_step, c_step, y_step):
        source, second, third, target = floats(a), floats(b), floats(c), floats(y)
        if a_step == 4 and y_step == 4 and b_step == 0 and c_step == 0:
            b_fixed, c_fixed = second[0], third[0]
            for i in range(count):
                target[i] = function(source[i], b_fixed, c_fixed)
        else:
            for i in range(count):
                value = function(
                    floats(a + i * a_step)[0], floats(b + i * b_step)[0], floats(c + i * c_step)[0]
                )
                floats(y + i * y_step)[0] = value

    return run


def _run_of(row: Function):
    """Rows of a function, one after the other."""
    make = (_unary_run, _binary_run, _ternary_run)[len(row.operands) - 1]
    make = _shaped_run if row.name in SHAPED else make
    run = make(SCALARS[row.name, row.operands], row.operands, row.result)

    @compiled()
    def rows_run(a, b, c, y, rows, a_row, b_row, c_row, y_row, count, a_step, b_step, c_step, y_step):
        for _ in range(rows):
            run(a, b, c, y, count, a_step, b_step, c_step, y_step)
            a += a_row
            b += b_row
            c += c_row
            y += y_row

    return rows_run


_run = switch(
    "run",
    [_run_of(row) for row in FUNCTIONS],
    (
        *("a", "b", "c", "y", "rows", "a_row", "b_row", "c_row", "y_row"),
        *("count", "a_step", "b_step", "c_step", "y_step"),
    ),
)


@compiled()
def _not_at_once(a, b, y, rows, count, b_step, a_row, b_row, y_row):
    return False


def _rows_folded(row: Function):
    """Many rows of b, each folded into an element of its own in the order of its elements, in step: they do
    not wait for each other. Gives whether the function is one for which that is done."""
    kind = row.result
    if row.name not in FOLDED or row.operands != kind * 2 or kind not in "fi":
        return _not_at_once
    function, pointer, size = SCALARS[row.name, row.operands], POINTERS[kind], ELEMENT_BYTES[kind]

    @compiled()
    def beside(a, b, y, rows, count, b_step):
        """Rows of which equal elements lie in line."""
        for start in range(0, rows, BESIDE):
            skip, held = start * size, min(rows - start, BESIDE)
            first, target = pointer(a + skip), pointer(y + skip)
            for row in range(held):
                target[row] = first[row]
            for i in range(count):
                elements = pointer(b + skip + i * b_step)
                for row in range(held):
                    target[row] = function(target[row], elements[row])

    @compiled()
    def eight(a, b, y, count, b_step, a_row, b_row, y_row):
        s0, s1 = pointer(a)[0], pointer(a + a_row)[0]
        s2, s3 = pointer(a + 2 * a_row)[0], pointer(a + 3 * a_row)[0]
        s4, s5 = pointer(a + 4 * a_row)[0], pointer(a + 5 * a_row)[0]
        s6, s7 = pointer(a + 6 * a_row)[0], pointer(a + 7 * a_row)[0]
        for i in range(count):
            at = b + i * b_step
            s0, s1 = function(s0, pointer(at)[0]), function(s1, pointer(at + b_row)[0])
            s2, s3 = function(s2, pointer(at + 2 * b_row)[0]), function(s3, pointer(at + 3 * b_row)[0])
            s4, s5 = function(s4, pointer(at + 4 * b_row)[0]), function(s5, pointer(at + 5 * b_row)[0])
            s6, s7 = function(s6, pointer(at + 6 * b_row)[0]), function(s7, pointer(at + 7 * b_row)[0])
        pointer(y)[0], pointer(y + y_row)[0] = s0, s1
        pointer(y + 2 * y_row)[0], pointer(y + 3 * y_row)[0] = s2, s3
        pointer(y + 4 * y_row)[0], pointer(y + 5 * y_row)[0] = s4, s5
        pointer(y + 6 * y_row)[0], pointer(y + 7 * y_row)[0] = s6, s7

    @compiled()
    def rows_folded(a, b, y, rows, count, b_step, a_row, b_row, y_row):
        if a_row == size and b_row == size and y_row == size:
            beside(a, b, y, rows, count, b_step)
            return True
        whole = rows // 8 * 8
        for row in range(0, whole, 8):
            eight(a + row * a_row, b + row * b_row, y + row * y_row, count, b_step, a_row, b_row, y_row)
        for row in range(whole, rows):
            total = pointer(a + row * a_row)[0]
            for i in range(count):
                total = function(total, pointer(b + row * b_row + i * b_step)[0])
            pointer(y + row * y_row)[0] = total
        return True

    return rows_folded


_rows = switch(
    "rows",
    [_rows_folded(row) for row in FUNCTIONS],
    ("a", "b", "y", "rows", "count", "b_step", "a_row", "b_row", "y_row"),
)


@compiled()
def _moved(a, y, count):
    """Copies ``count`` float32, 8 to 16: the first and the last 8; of a loop LLVM would make a call."""
    rest = count - 8
    source, end, target, last = floats(a), floats(a + rest * 4), floats(y), floats(y + rest * 4)
    s0, s1, s2, s3, s4, s5, s6, s7 = (
        source[0], source[1], source[2], source[3], source[4], source[5], source[6], source[7],
    )  # fmt: skip
    e0, e1, e2, e3, e4, e5, e6, e7 = end[0], end[1], end[2], end[3], end[4], end[5], end[6], end[7]
    target[0], target[1], target[2], target[3] = s0, s1, s2, s3
    target[4], target[5], target[6], target[7] = s4, s5, s6, s7
    last[0], last[1], last[2], last[3] = e0, e1, e2, e3
    last[4], last[5], last[6], last[7] = e4, e5, e6, e7


@compiled()
def _plane(function, a, b, c, y, rank, dims):
    """``elementwise`` over the last two dimensions."""
    shape, outer, inner = integers(dims), rank - 2, rank - 1
    folds = shape[rank + inner] == 0 and shape[4 * rank + inner] == 0
    if folds and shape[4 * rank + outer] != 0:
        b_step, a_row = shape[2 * rank + inner], shape[rank + outer]
        b_row, y_row = shape[2 * rank + outer], shape[4 * rank + outer]
        if _rows(function, a, b, y, shape[outer], shape[inner], b_step, a_row, b_row, y_row):
            return
    if not folds and shape[4 * rank + outer] != 0 and shape[inner] < SHORT and shape[inner] < shape[outer]:
        outer, inner = inner, outer
    a_row, b_row = shape[rank + outer], shape[2 * rank + outer]
    c_row, y_row = shape[3 * rank + outer], shape[4 * rank + outer]
    a_step, b_step = shape[rank + inner], shape[2 * rank + inner]
    c_step, y_step = shape[3 * rank + inner], shape[4 * rank + inner]
    if function == COPY and a_step == 4 and y_step == 4 and 8 <= shape[inner] <= 16:
        for row in range(shape[outer]):
            _moved(a + row * a_row, y + row * y_row, shape[inner])
        return
    _run(
        function, a, b, c, y, shape[outer], a_row, b_row, c_row, y_row,
        shape[inner], a_step, b_step, c_step, y_step,
    )  # fmt: skip


@compiled()
def elementwise(function, a, b, c, y, rank, dims):
    """y = function(a, b, c) over ``rank`` >= 1 dimensions; operands the function lacks are ignored.

    ``dims`` points to the sizes, then the strides of a, b, c and y in bytes. Strides of 0 in a and y
    alike, along the last dimension, fold the elements of b into one, in order.
    """
    shape = integers(dims)
    if rank == 1:
        # One row, behind which none lies.
        count, beyond = shape[0], shape[1]
        if function == COPY and beyond == 4 and shape[4] == 4 and 8 <= count <= 16:
            _moved(a, y, count)
            return
        _run(
            function, a, b, c, y, rank, beyond, beyond, beyond, beyond,
            count, shape[1], shape[2], shape[3], shape[4],
        )  # fmt: skip
        return
    counters = integers(_counters())
    for axis in range(rank):
        counters[axis] = 0
        if shape[axis] == 0:
            return
    while True:
        _plane(function, a, b, c, y, rank, dims)
        axis = rank - 3
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
def shift(y, rows, stride, count, by):
    """y[r, i] = y[r, i + by] for ``count`` float32 of each of the rows, ``stride`` apart, which do not meet;
    ``by`` is above 0.

    By so many at a time that are read before any of them is written.
    """
    held = floats(_held())
    whole = count // MOVED * MOVED
    for _ in range(rows):
        for start in range(0, whole, MOVED):
            source = floats(y + 4 * (start + by))
            target = floats(y + 4 * start)
            for i in range(MOVED):
                held[i] = source[i]
            for i in range(MOVED):
                target[i] = held[i]
        for i in range(whole, count):
            floats(y)[i] = floats(y)[i + by]
        y += 4 * stride
