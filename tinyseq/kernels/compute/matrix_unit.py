"""The product of bytes where a processor has a matrix unit: squares by it, and tiles for what is left."""

from __future__ import annotations

from numba import types

from tinyseq.kernels.compute.product import PRODUCT, product_of
from tinyseq.kernels.formats import BYTE_ELEMENT, Element
from tinyseq.kernels.instructions import BYTES, GROUP, PANEL
from tinyseq.kernels.llvm.intrinsics import (
    compiled,
    integers32,
    octets,
    square,
    stack,
    unit_begin,
    unit_end,
    unit_on,
)
from tinyseq.kernels.llvm.matrix_unit import DEPTH, ROWS

_product = product_of(BYTE_ELEMENT)
_one, _across, _down, _four = square(1, 1), square(1, 2), square(2, 1), square(2, 2)


@compiled(types.void(*[types.int64] * 11))
def _group(x, x_stride, rows, k, w, panels, start, start_stride, y, y_stride, width):
    """Whole squares of a group of panels: ``rows`` and k are multiples of a square's. Strides count bytes."""
    for panel in range(0, panels, 2):
        wide, right = panels - panel > 1, panel * PANEL * BYTES
        for row in range(0, rows, 2 * ROWS):
            own, first, target = x + row * x_stride, start + row * start_stride, y + row * y_stride
            first, target, factor = first + right, target + right, w + right
            if rows - row > ROWS and wide:
                _four(own, x_stride, k, factor, width, first, start_stride, target, y_stride)
            elif rows - row > ROWS:
                _down(own, x_stride, k, factor, width, first, start_stride, target, y_stride)
            elif wide:
                _across(own, x_stride, k, factor, width, first, start_stride, target, y_stride)
            else:
                _one(own, x_stride, k, factor, width, first, start_stride, target, y_stride)


@compiled(PRODUCT)
def _in_squares(x, strides, k, w, n, start, start_stride, y, y_stride, turn):
    """``product`` of rows that lie one after another, of a square and more."""
    _, _, count, x_stride = strides
    rows, depth = count // ROWS * ROWS, k // DEPTH * DEPTH
    unit_begin()
    for column in range(0, n, GROUP * PANEL):
        columns = min(n - column, GROUP * PANEL)
        panels, width = columns // PANEL, (columns + PANEL - 1) // PANEL * PANEL * BYTES
        if panels * PANEL == columns:
            own, skip = w + column * k * BYTES, column * BYTES
            _group(
                x, x_stride, rows, depth, own, panels, start + skip, start_stride * BYTES, y + skip,
                y_stride * BYTES, width,
            )  # fmt: skip
    unit_end()
    for column in range(0, n, GROUP * PANEL):
        columns = min(n - column, GROUP * PANEL)
        own, skip = w + column * k * BYTES, column * BYTES
        s, t, taken = start + skip, y + skip, (1, 0, rows, x_stride)
        if columns % PANEL != 0:
            _product(x, taken, k, own, columns, s, start_stride, t, y_stride, turn)
        elif depth < k:
            # A group is [k][columns], so that its last rows are a group too.
            rest = own + depth * columns * BYTES
            _product(x + depth * 4, taken, k - depth, rest, columns, t, y_stride, t, y_stride, turn)
    if rows < count:
        below = 1, 0, count - rows, x_stride
        first, target = start + rows * start_stride * BYTES, y + rows * y_stride * BYTES
        _product(x + rows * x_stride, below, k, w, n, first, start_stride, target, y_stride, turn)


@compiled(PRODUCT)
def _either(x, strides, k, w, n, start, start_stride, y, y_stride, turn):
    """``product`` with weights of bytes."""
    outer, _, inner, _ = strides
    whole_panels = n >= GROUP * PANEL or n % PANEL == 0
    if outer == 1 and inner >= ROWS and k >= DEPTH and whole_panels and unit_on():
        _in_squares(x, strides, k, w, n, start, start_stride, y, y_stride, turn)
    else:
        _product(x, strides, k, w, n, start, start_stride, y, y_stride, turn)


def fastest_product_of(of: Element):
    """``product_of``, or what gives the same bits sooner on some processors."""
    return _either if of is BYTE_ELEMENT else product_of(of)


_CHECKED_ROWS, _CHECKED_K, _CHECKED_N = 3 * ROWS + 3, 2 * DEPTH + 3, 5 * PANEL
_x = stack(types.uint8, _CHECKED_ROWS * 4 * _CHECKED_K)
_w = stack(types.int32, _CHECKED_K * _CHECKED_N)
_y = stack(types.int32, _CHECKED_ROWS * _CHECKED_N)


@compiled()
def _drawn(at, count, seed):
    values, state = octets(at), seed
    for i in range(count):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        values[i] = state >> 16
    return state


def unit_agrees():
    """Whether squares and tiles give the same, on numbers of every kind; 0 or 1."""
    x, w, y, z = _x(), _w(), _y(), _y()
    seed = _drawn(x, _CHECKED_ROWS * 4 * _CHECKED_K, 1)
    seed = _drawn(w, _CHECKED_K * _CHECKED_N * 4, seed)
    seed = _drawn(y, _CHECKED_ROWS * _CHECKED_N * 4, seed)
    for i in range(_CHECKED_ROWS * _CHECKED_N):
        integers32(z)[i] = integers32(y)[i]
    strides = 1, 0, _CHECKED_ROWS, 4 * _CHECKED_K
    _in_squares(x, strides, _CHECKED_K, w, _CHECKED_N, y, _CHECKED_N, y, _CHECKED_N, 0)
    _product(x, strides, _CHECKED_K, w, _CHECKED_N, z, _CHECKED_N, z, _CHECKED_N, 0)
    for i in range(_CHECKED_ROWS * _CHECKED_N):
        if integers32(y)[i] != integers32(z)[i]:
            return 0
    return 1
