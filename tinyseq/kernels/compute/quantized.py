"""Products of bytes: exact sums in int32, and the quantising of numbers while a model runs.

A **block** ``w`` is a matrix [k, n] of signed bytes with what its columns need: packed weights, in which
an element holds four rows of k, then, each padded to whole panels, int32 ``totals[n]`` (a column's sum
less its zero point), int32 ``offsets[n]`` (its zero point) and float32 ``scales[n]``.

x is unsigned bytes. With its zero point z, and the columns' o, the sum over k of (x - z) (w - o) is
x w - z totals - o (the sum of x): exact, and as the ops define it modulo 2**32. Taking a number off x and off
z alike changes nothing.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import types

from tinyseq.kernels.compute.math import BYTE_MAX, ONE, ZERO, quantize
from tinyseq.kernels.compute.product import BYTES, WEIGHTED
from tinyseq.kernels.compute.shared import shared_product_of
from tinyseq.kernels.formats import BYTE_ELEMENT, Element, WeightFormat
from tinyseq.kernels.instructions import HAS_LENGTHS, PANEL
from tinyseq.kernels.llvm.intrinsics import (
    compiled,
    floats,
    integers,
    integers32,
    octets,
    stack,
    taken_off_bytes,
)

_least = stack(types.float32, PANEL)
_most = stack(types.float32, PANEL)


@compiled()
def _widen(x, count, least, most):
    """Takes ``count`` numbers into the ranges of the lanes; not-a-number is left out."""
    values, low, high = floats(x), floats(least), floats(most)
    whole = count - count % PANEL
    for i in range(0, whole, PANEL):
        for lane in range(PANEL):
            value = values[i + lane]
            low[lane] = value if value < low[lane] else low[lane]
            high[lane] = value if value > high[lane] else high[lane]
    for i in range(whole, count):
        low[0] = values[i] if values[i] < low[0] else low[0]
        high[0] = values[i] if values[i] > high[0] else high[0]


@compiled()
def _parameters(least, most):
    """The scale and zero point with which unsigned bytes cover the lanes' ranges and 0."""
    low, high = floats(least), floats(most)
    bottom, top = low[0], high[0]
    for lane in range(1, PANEL):
        bottom = low[lane] if low[lane] < bottom else bottom
        top = high[lane] if high[lane] > top else top
    scale = (top - bottom) / BYTE_MAX if top > bottom else ONE
    return scale, quantize(-bottom, scale, ZERO)


@compiled()
def _ranges(least, most):
    low, high = floats(least), floats(most)
    for lane in range(PANEL):
        low[lane] = ZERO
        high[lane] = ZERO


@compiled()
def _to_bytes(x, count, y, scale, zero_point):
    values, target = floats(x), octets(y)
    shift = np.float32(zero_point)
    for i in range(count):
        target[i] = quantize(values[i], scale, shift)


@compiled()
def quantize_dynamic(x, count, y, scale, zero_point):
    """x[count] -> y[count] bytes, scale float32, zero_point one byte: the ones that cover x and 0."""
    least, most = _least(), _most()
    _ranges(least, most)
    _widen(x, count, least, most)
    step, shift = _parameters(least, most)
    _to_bytes(x, count, y, step, shift)
    floats(scale)[0] = step
    octets(zero_point)[0] = shift


@compiled()
def _columns(w, k, n):
    """The addresses of a block's totals, offsets and scales."""
    width = (n + PANEL - 1) // PANEL * PANEL
    totals = w + (k + 3) // 4 * width * BYTES
    return totals, totals + width * BYTES, totals + 2 * width * BYTES


@compiled()
def _corrections(x, k, totals, offsets, n, zero_point, skewed, y):
    """y[n] = what the zero points add to the products of one row of x."""
    target, total, offset = integers32(y), integers32(totals), integers32(offsets)
    less = taken_off_bytes()
    shift = np.int32(zero_point) - less
    for j in range(n):
        target[j] = -shift * total[j]
    if skewed:
        row = octets(x)
        amount = np.int32(0)
        for i in range(k):
            amount += np.int32(row[i]) - less
        for j in range(n):
            target[j] -= amount * offset[j]


@cache
def _byte_product_of(of: Element):
    product = shared_product_of(of)

    @compiled()
    def byte_product(x, strides, k, w, n, zero_point, y, turn, team):
        """y[m, n] = (x[m, k] - zero_point) (w - offsets), int32; strides as of the float product."""
        outer, outer_stride, inner, inner_stride = strides
        totals, offsets, _ = _columns(w, k, n)
        skewed = False
        for j in range(n):
            skewed |= integers32(offsets)[j] != 0
        for o in range(outer):
            for i in range(inner):
                row = x + o * outer_stride + i * inner_stride
                target = y + (o * inner + i) * n * BYTES
                _corrections(row, k, totals, offsets, n, zero_point, skewed, target)
        product(x, strides, (k + 3) // 4, w, n, y, n, y, n, turn, team)

    return byte_product


_byte_product = _byte_product_of(BYTE_ELEMENT)


@compiled()
def linear_bytes(x, outer, outer_stride, inner, inner_stride, k, w, n, zero_point, y, team):
    """x[outer * inner, k] bytes, w[k, n] a block -> y[outer * inner, n] int32, exact.

    ``zero_point`` points to the one of x. Up to three bytes behind a row of x are read.
    """
    shift = octets(zero_point)[0]
    _byte_product(x, (outer, outer_stride, inner, inner_stride), k, w, n, shift, y, 0, team)


@compiled()
def _scaled(sums, scale, scales, start, y, n):
    """y = start + sums * (scale * scales)."""
    exact, factors, first, target = integers32(sums), floats(scales), floats(start), floats(y)
    # Two places might overlap, so LLVM asks before it takes vectors; one place would always be refused them.
    if start == y:
        for j in range(n):
            target[j] += np.float32(exact[j]) * (scale * factors[j])
    else:
        for j in range(n):
            target[j] = first[j] + np.float32(exact[j]) * (scale * factors[j])


def dynamic_product_of(of: WeightFormat):
    """The product with blocks of a format, its other factor being quantised as it runs."""
    byte_product = _byte_product_of(of.element)

    @compiled(WEIGHTED)
    def dynamic_product(
        x, strides, k, w, n, start, start_stride, y, y_stride, rounded, lengths, t, flags, team
    ):  # fmt: skip
        """y[m, :] = start[m, :] + x[m, :] @ w; rows of x lie one behind the other, strides are not asked for.

        One scale and zero point cover x and 0; with flag ``HAS_LENGTHS``, of the inner rows that run for
        frame ``t`` or did for the one before. ``rounded`` takes int32 [m, n], then bytes [m, k] and three
        more.
        """
        outer, _, inner, _ = strides
        count = outer * inner
        least, most = _least(), _most()
        _ranges(least, most)
        for row in range(count):
            if flags & HAS_LENGTHS == 0 or t <= integers(lengths)[row % inner]:
                _widen(x + row * k * BYTES, k, least, most)
        scale, shift = _parameters(least, most)
        sums = rounded
        octet = rounded + count * n * BYTES
        _to_bytes(x, count * k, octet, scale, shift)
        byte_product(octet, (1, 0, count, k), k, w, n, shift, sums, t, team)
        _, _, scales = _columns(w, k, n)
        for row in range(count):
            first, target = start + row * start_stride * BYTES, y + row * y_stride * BYTES
            _scaled(sums + row * n * BYTES, scale, scales, first, target, n)

    return dynamic_product
