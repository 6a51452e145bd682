"""The product with the matrix of a Fourier transform, as two small transforms; see ``kernels/fourier.py``."""

from __future__ import annotations

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.compute.product import ONE_RUN, WEIGHTED, runs_product_of
from tinyseq.kernels.formats import WeightFormat
from tinyseq.kernels.fourier import HEADER, TOGETHER
from tinyseq.kernels.instructions import BYTES, PANEL
from tinyseq.kernels.llvm.intrinsics import compiled, floats, integers, integers32

PAIR = 2 * PANEL
"""The real and imaginary parts of ``PANEL`` numbers."""


@compiled()
def _windowed(x, k, window, target, length):
    """The numbers of a row, weighed, and zeros behind them."""
    source, weights, numbers = floats(x), floats(window), floats(target)
    for i in range(k):
        numbers[i] = source[i] * weights[i]
    for i in range(k, length):
        numbers[i] = ZERO


@compiled()
def _turned(parts, turns, count):
    """The real parts of so many numbers, and the imaginary ones behind them, multiplied with those of
    ``turns``."""
    reals, imaginaries = floats(parts), floats(parts + count * BYTES)
    cosines, sines = floats(turns), floats(turns + count * BYTES)
    for i in range(count):
        real, imaginary = reals[i], imaginaries[i]
        reals[i] = real * cosines[i] - imaginary * sines[i]
        imaginaries[i] = real * sines[i] + imaginary * cosines[i]


@compiled()
def _picked(results, places, scales, start, y, n):
    """y[n] = start[n] + the result that each column is."""
    numbers, place, scale, first, target = (
        floats(results), integers32(places), floats(scales), floats(start), floats(y)
    )  # fmt: skip
    for j in range(n):
        target[j] = first[j] + scale[j] * numbers[place[j]]


def fourier_product_of(of: WeightFormat):
    """The product with matrices of the format."""
    product = runs_product_of(of.element)

    @compiled(WEIGHTED)
    def fourier_product(
        x, strides, k, w, n, start, start_stride, y, y_stride, scratch, lengths, t, flags, team
    ):  # fmt: skip
        """y[m, :] = start[m, :] + x[m, :] @ w. ``scratch`` takes what ``formats.py`` says."""
        outer, outer_stride, inner, inner_stride = strides
        radix = integers(w)[0]
        pairs = radix // 2 + 1
        window = w + HEADER
        turns = window + radix * PANEL * BYTES
        second = turns + pairs * PAIR * BYTES
        zeros = second + PAIR * PAIR * BYTES
        first = zeros + PAIR * BYTES
        scales = first + 2 * pairs * radix * BYTES
        places = scales + n * BYTES
        size = pairs * PAIR * BYTES
        parts = scratch + radix * PANEL * BYTES
        results = parts + TOGETHER * size
        for begin in range(0, outer * inner, TOGETHER):
            held = min(outer * inner - begin, TOGETHER)
            for row in range(held):
                o, i = 0, begin + row
                if i >= inner:
                    o, i = i // inner, i % inner
                source = x + (o * outer_stride + i * inner_stride) * BYTES
                _windowed(source, k, window, scratch, radix * PANEL)
                # The numbers lie as weights of a product do, which have 16 columns.
                place, own = (1, 0, 2 * pairs, radix), parts + row * size
                product(first, place, ONE_RUN, radix, scratch, PANEL, zeros, 0, own, PANEL, 0)
                _turned(own, turns, pairs * PANEL)
            place, runs = (held, pairs * PAIR, pairs, PANEL), (2, pairs * PANEL * BYTES)
            product(parts, place, runs, PANEL, second, PAIR, zeros, 0, results, PAIR, 0)
            for row in range(held):
                first_sum = start + (begin + row) * start_stride * BYTES
                target = y + (begin + row) * y_stride * BYTES
                _picked(results + row * size, places, scales, first_sum, target, n)

    return fourier_product
