"""Products with weights of 8 or 16 bits, of rows that are rounded to 16 or 23: exact sums of bytes.

A row x of k numbers is a scale times whole numbers, of magnitudes up to 32767, each 256 times a signed byte
plus an unsigned one. Where weights have 16 bits, so that rounding x as much would lose as much as rounding
them did, its numbers have 256 times as many steps, up to 4194303: whole numbers again, of magnitudes up to
16384, and a rest of 1/256 from -128 to 127 each. All bytes are stored unsigned: the high ones of all rows,
then the low ones, then the rests.

Weights are packed in planes of signed bytes one behind the other, the plane of the high bytes first if
there are two; behind the panels, each padded to whole panels, lie zeros[n], int32 totals[n] (a column's sum),
int32 uppers[n] (that of its high bytes) and float32 scales[n]. See ``formats.py``.

The product is the sum over k of both factors' whole numbers, and of the rests times the high bytes. It is put
together of the sums of bytes in float64, which holds it exactly, and is scaled and rounded once. So its bits
depend on the row and the column alone.
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

STEPS, FINE_STEPS = np.float32(2**15 - 1), np.float32(2**22 - 1)
"""Up to which whole number rows are rounded for weights of one byte and of two. Of floats, ``ROUNDER`` rounds
no larger ones."""

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
def _split_finely(x, count, inverse, high, low, rest):
    """``_split`` of x[count] times ``inverse`` / 256, and the bytes of the rests."""
    values, above, below, fine = floats(x), octets(high), octets(low), octets(rest)
    for i in range(count):
        whole = np.int32(float_bits(values[i] * inverse + ROUNDER) - ROUNDER_BITS) + np.int32(128)
        above[i] = np.uint8((whole >> np.int32(16)) + np.int32(128))
        below[i] = np.uint8(whole >> np.int32(8))
        fine[i] = np.uint8(whole)


def _rounded_row_of(planes: int):
    """What rounds a row for weights of so many planes."""
    steps, unit = (FINE_STEPS, 256) if planes == 2 else (STEPS, 1)
    whole_steps = np.float64(steps) / unit

    @compiled()
    def rounded_row(x, k, y, apart):
        """x[k] as bytes of each kind, ``apart`` from those of the next; gives its scale, not-a-number if one
        of x is not finite."""
        top, slot = _largest(x, k), _slot()
        integers32(slot)[0] = top
        largest = floats(slot)[0]
        largest = LEAST if largest < LEAST else largest
        if planes == 2:
            _split_finely(x, k, steps / largest, y, y + apart, y + 2 * apart)
        else:
            _split(x, k, steps / largest, y, y + apart)
        return np.nan if top >= ENDLESS else np.float64(largest) / whole_steps

    return rounded_row


def _sums_of(planes: int):
    """What puts the sums of bytes of ``planes`` planes together, of one row: those of a byte of x lie
    ``apart`` from those of the next, and so do those of the second plane behind the last of the first's."""

    @compiled()
    def exact(high, low, third, fourth, fifth, j, total, upper, whole, rest):
        """The sum of a column; ``whole`` and ``rest`` are what storing bytes unsigned took off each column's
        sums."""
        offset = np.float64(total[j]) * whole
        if planes == 2:
            # Two sums of as many bytes as there may be do not overflow.
            middle, last = np.int32(low[j] + fourth[j]), np.int32(third[j] + fifth[j])
            offset += np.float64(upper[j]) * rest
            return np.float64(high[j]) * 65536.0 + np.float64(middle) * 256.0 + np.float64(last) + offset
        return np.float64(high[j]) * 256.0 + np.float64(low[j]) + offset

    @compiled()
    def corrections():
        less = taken_off_bytes()
        return np.float64(257 * less - 32768), np.float64(less - 128)

    @compiled()
    def scaled(sums, apart, totals, width, step, n):
        """The sums of a row, scaled, as float32 in the place of the first."""
        high, low, third = integers32(sums), integers32(sums + apart), integers32(sums + 2 * apart)
        fourth, fifth = integers32(sums + 3 * apart), integers32(sums + 4 * apart)
        total, upper = integers32(totals), integers32(totals + width * BYTES)
        scales, target = floats(totals + 2 * width * BYTES), floats(sums)
        whole, rest = corrections()
        for j in range(n):
            value = exact(high, low, third, fourth, fifth, j, total, upper, whole, rest)
            target[j] = np.float32(value * (step * np.float64(scales[j])))

    @compiled()
    def gathered(sums, apart, totals, width, wholes, is_first, n):
        """Adds the sums of a row to ``wholes``, or begins with them."""
        high, low, third = integers32(sums), integers32(sums + apart), integers32(sums + 2 * apart)
        fourth, fifth = integers32(sums + 3 * apart), integers32(sums + 4 * apart)
        total, upper = integers32(totals), integers32(totals + width * BYTES)
        whole, rest = corrections()
        target = doubles(wholes)
        for j in range(n):
            before = 0.0 if is_first else target[j]
            target[j] = before + exact(high, low, third, fourth, fifth, j, total, upper, whole, rest)

    return scaled, gathered


@compiled()
def _finished(wholes, scale, step, sums, n):
    """Exact sums of a row, scaled, as float32."""
    whole, scales, target = doubles(wholes), floats(scale), floats(sums)
    for j in range(n):
        target[j] = np.float32(whole[j] * (step * np.float64(scales[j])))


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


def planes_product_of(of: WeightFormat):
    """The product with weights of a format, each row of its other factor being rounded as it runs."""
    product, planes = shared_product_of(of.element), of.planes
    rounded_row, (scaled, gathered) = _rounded_row_of(planes), _sums_of(planes)
    kinds = planes + 1

    @compiled()
    def multiplied(octet, rows, depth, own, w, width, sums, turn, team):
        """The sums of bytes of some rows; all kinds of bytes are multiplied with the first plane, the high
        and the low ones with a second."""
        zeros = w + planes * own * width * BYTES
        for number in range(planes):
            plane = planes - 1 - number if turn & 1 else number
            place = 1, 0, (2 if plane else kinds) * rows, depth
            here, there = w + plane * own * width * BYTES, sums + plane * kinds * rows * width * BYTES
            product(octet, place, own, here, width, zeros, 0, there, width, turn, team)
        return zeros + width * BYTES

    @compiled()
    def pieces(octet, rows, k, depth, w, width, sums, steps, wholes, n, turn, team):
        """``scaled`` sums of some rows."""
        apart = rows * width * BYTES
        for done in range(0, k, MOST_SUMMED):
            own = (min(k - done, MOST_SUMMED) + 3) // 4
            totals = multiplied(octet + done, rows, depth, own, w, width, sums, turn, team)
            for row in range(rows):
                here = sums + row * width * BYTES
                if k <= MOST_SUMMED:
                    scaled(here, apart, totals, width, doubles(steps)[row], n)
                else:
                    gathered(here, apart, totals, width, wholes + row * n * 8, done == 0, n)
            w = totals + 3 * width * BYTES
        if k > MOST_SUMMED:
            for row in range(rows):
                scale, here = w - width * BYTES, sums + row * width * BYTES
                _finished(wholes + row * n * 8, scale, doubles(steps)[row], here, n)

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
        octet = sums + most * (kinds + 2 * (planes - 1)) * width * BYTES
        for begin in range(0, count, BLOCK_ROWS):
            rows = min(count - begin, BLOCK_ROWS)
            for row in range(rows):
                o, i = 0, begin + row
                if i >= inner:
                    o, i = i // inner, i % inner
                source = x + (o * outer_stride + i * inner_stride) * BYTES
                doubles(rounded)[row] = rounded_row(source, k, octet + row * depth, rows * depth)
            turn = t + begin // BLOCK_ROWS
            pieces(octet, rows, k, depth, w, width, sums, rounded, wholes, n, turn, team)
            for row in range(rows):
                first = start + (begin + row) * start_stride * BYTES
                target = y + (begin + row) * y_stride * BYTES
                _added(sums + row * width * BYTES, first, target, n)

    return planes_product
