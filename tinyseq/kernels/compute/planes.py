"""Products with weights of 8 or 16 bits, of rows that are rounded to 16: exact sums of bytes.

A row x of k numbers is a scale times whole numbers from -32767 to 32767, each 256 times a signed byte plus
an unsigned one, both of which are stored unsigned: the high bytes of a row, then its low ones. Weights are
packed in planes of signed bytes side by side, ``width`` columns each, the plane of the high bytes first if
there are two; behind the panels, each padded to whole panels, lie zeros for every plane, int32 totals[n] (a
column's sum) and float32 scales[n]. See ``formats.py``.

The sum over k of both factors' whole numbers is put together of the sums of bytes in float64, which holds
it exactly, and is scaled and rounded once. So its bits depend on the row and the column alone.
"""

from __future__ import annotations

import numpy as np
from numba import types

from tinyseq.kernels.compute.math import ROUNDER
from tinyseq.kernels.compute.product import WEIGHTED
from tinyseq.kernels.compute.shared import shared_product_of
from tinyseq.kernels.formats import BLOCK_ROWS, MOST_SUMMED, WeightFormat
from tinyseq.kernels.instructions import BYTES, PANEL
from tinyseq.kernels.llvm.intrinsics import (
    compiled,
    doubles,
    float_bits,
    floats,
    integers32,
    octets,
    stack,
    taken_off_bytes,
)

STEPS = np.float32(2**15 - 1)
LEAST = np.float32(1e-30)
"""Rows of smaller numbers are rounded as if this were among them, so that no scale is denormal."""

MAGNITUDE = np.int32(0x7FFFFFFF)
ENDLESS = np.int32(0x7F800000)
"""The bits of infinity; those of not-a-number are above them."""

ROUNDER_BITS = np.int32(ROUNDER.view(np.int32))

_slot = stack(types.float32, 1)


@compiled()
def _largest(x, count):
    """The bits of the largest magnitude of a row."""
    bits, top = integers32(x), np.int32(0)
    for i in range(count):
        magnitude = np.int32(bits[i] & MAGNITUDE)
        top = magnitude if magnitude > top else top
    return top


@compiled()
def _split(x, count, inverse, high, low):
    """The high and the low bytes of x[count] times ``inverse``, to the nearest whole number, halves to
    even."""
    values, above, below = floats(x), octets(high), octets(low)
    for i in range(count):
        whole = np.int32(float_bits(values[i] * inverse + ROUNDER) - ROUNDER_BITS)
        above[i] = np.uint8((whole >> np.int32(8)) + np.int32(128))
        below[i] = np.uint8(whole)


@compiled()
def _rounded_row(x, k, depth, y):
    """x[k] as ``depth`` high and ``depth`` low bytes; gives its scale, not-a-number if one of x is not
    finite."""
    top, slot = _largest(x, k), _slot()
    integers32(slot)[0] = top
    largest = floats(slot)[0]
    largest = LEAST if largest < LEAST else largest
    _split(x, k, STEPS / largest, y, y + depth)
    return np.nan if top >= ENDLESS else np.float64(largest) / np.float64(STEPS)


@compiled()
def _added(parts, start, y, n):
    """y[n] = start[n] + parts[n]."""
    part, first, target = floats(parts), floats(start), floats(y)
    # Two places might overlap, so LLVM asks before it takes vectors; one place would always be refused them.
    if start == y:
        for j in range(n):
            target[j] += part[j]
    else:
        for j in range(n):
            target[j] = first[j] + part[j]


def _sums_of(planes: int):
    """What puts the sums of bytes of ``planes`` planes together, of one row."""

    @compiled()
    def exact(high, low, j, width, total, correction):
        if planes == 2:
            upper = np.float64(high[j]) * 256.0 + np.float64(low[j])
            lower = np.float64(high[j + width]) * 256.0 + np.float64(low[j + width])
            return upper * 256.0 + lower + np.float64(total[j]) * correction
        return np.float64(high[j]) * 256.0 + np.float64(low[j]) + np.float64(total[j]) * correction

    @compiled()
    def scaled(sums, width, totals, step, correction, n):
        """The sums of a row, scaled, as float32 in the place of the first."""
        high, low = integers32(sums), integers32(sums + planes * width * BYTES)
        total, scales = integers32(totals), floats(totals + width * BYTES)
        target = floats(sums)
        for j in range(n):
            value = exact(high, low, j, width, total, correction)
            target[j] = np.float32(value * (step * np.float64(scales[j])))

    @compiled()
    def gathered(sums, width, totals, correction, wholes, first, n):
        """Adds the sums of a row to ``wholes``, or begins with them."""
        high, low = integers32(sums), integers32(sums + planes * width * BYTES)
        total, target = integers32(totals), doubles(wholes)
        for j in range(n):
            before = 0.0 if first else target[j]
            target[j] = before + exact(high, low, j, width, total, correction)

    return scaled, gathered


@compiled()
def _finished(wholes, scale, step, sums, n):
    """Exact sums of a row, scaled, as float32."""
    whole, scales, target = doubles(wholes), floats(scale), floats(sums)
    for j in range(n):
        target[j] = np.float32(whole[j] * (step * np.float64(scales[j])))


def planes_product_of(of: WeightFormat):
    """The product with weights of a format, each row of its other factor being rounded as it runs."""
    product, planes = shared_product_of(of.element), of.planes
    scaled, gathered = _sums_of(planes)

    @compiled()
    def pieces(octet, rows, k, depth, w, width, sums, steps, wholes, n, team):
        """``scaled`` sums of some rows."""
        correction = np.float64(257 * taken_off_bytes() - 32768)
        stride = 2 * planes * width * BYTES
        for done in range(0, k, MOST_SUMMED):
            own = (min(k - done, MOST_SUMMED) + 3) // 4
            zeros = w + own * planes * width * BYTES
            totals = zeros + planes * width * BYTES
            place = 1, 0, 2 * rows, depth
            product(octet + done, place, own, w, planes * width, zeros, 0, sums, planes * width, team)
            for row in range(rows):
                if k <= MOST_SUMMED:
                    scaled(sums + row * stride, width, totals, doubles(steps)[row], correction, n)
                else:
                    whole = wholes + row * n * 8
                    gathered(sums + row * stride, width, totals, correction, whole, done == 0, n)
            w = totals + 2 * width * BYTES
        if k > MOST_SUMMED:
            for row in range(rows):
                scale = w - width * BYTES
                _finished(wholes + row * n * 8, scale, doubles(steps)[row], sums + row * stride, n)

    @compiled(WEIGHTED)
    def planes_product(
        x, strides, k, w, n, start, start_stride, y, y_stride, rounded, lengths, t, flags, team
    ):  # fmt: skip
        """y[m, :] = start[m, :] + x[m, :] @ w. ``rounded`` takes what ``formats.py`` says."""
        outer, outer_stride, inner, inner_stride = strides
        count = outer * inner
        depth, width = (k + 3) // 4 * 4, (n + PANEL - 1) // PANEL * PANEL
        most = min(count, BLOCK_ROWS)
        wholes = rounded + most * 8
        sums = wholes + (most * n * 8 if k > MOST_SUMMED else 0)
        octet = sums + most * 2 * planes * width * BYTES
        for begin in range(0, count, BLOCK_ROWS):
            rows = min(count - begin, BLOCK_ROWS)
            for row in range(rows):
                o, i = 0, begin + row
                if i >= inner:
                    o, i = i // inner, i % inner
                source = x + (o * outer_stride + i * inner_stride) * BYTES
                doubles(rounded)[row] = _rounded_row(source, k, depth, octet + 2 * row * depth)
            pieces(octet, rows, k, depth, w, width, sums, rounded, wholes, n, team)
            for row in range(rows):
                first = start + (begin + row) * start_stride * BYTES
                target = y + (begin + row) * y_stride * BYTES
                _added(sums + row * 2 * planes * width * BYTES, first, target, n)

    return planes_product
