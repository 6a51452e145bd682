"""The product with packed weights of any format: what every kernel calls that multiplies with weights."""

from __future__ import annotations

from collections.abc import Callable

from numba import types

from tinyseq.kernels.compute.fourier import fourier_product_of
from tinyseq.kernels.compute.planes import planes_product_of
from tinyseq.kernels.compute.product import SIZE, WEIGHTED
from tinyseq.kernels.compute.quantized import dynamic_product_of
from tinyseq.kernels.compute.shared import shared_product_of
from tinyseq.kernels.formats import (
    AS_THEY_ARE,
    FORMATS,
    ROUNDED_BY_ROW,
    ROUNDED_TOGETHER,
    TRANSFORMED,
    WeightFormat,
)
from tinyseq.kernels.instructions import HAS_LENGTHS
from tinyseq.kernels.llvm.intrinsics import compiled, integers
from tinyseq.kernels.llvm.switch import switch


def _as_they_are(of: WeightFormat) -> Callable:
    product = shared_product_of(of.element)

    @compiled(WEIGHTED)
    def plain(x, strides, k, w, n, start, start_stride, y, y_stride, rounded, lengths, t, flags, team):
        product(x, strides, k, w, n, start, start_stride, y, y_stride, t, team)

    return plain


PRODUCTS = {
    AS_THEY_ARE: _as_they_are,
    ROUNDED_TOGETHER: dynamic_product_of,
    ROUNDED_BY_ROW: planes_product_of,
    TRANSFORMED: fourier_product_of,
}
"""What makes the product of a format, by what becomes of the rows."""

PARAMETERS = (
    *("x", "strides", "k", "w", "n", "start", "start_stride", "y", "y_stride"),
    *("rounded", "lengths", "t", "flags", "team"),
)
"""Those of ``product`` in ``product.py``; then those of a product that quantises, see ``quantized.py``: its
scratch, and which rows run for a frame; and the team that may share it."""

_products = [PRODUCTS[row.activations](row) for row in FORMATS]

weighted = switch("weighted", _products, PARAMETERS, "format_", types.void(SIZE, *WEIGHTED.args))


@compiled()
def linear(
    x, outer, outer_stride, inner, inner_stride, k, w, n, bias, y, y_stride, rounded, lengths, flags, format,
    team,
):  # fmt: skip
    """x[outer * inner, k] w[k, n] bias[n] -> y[outer * inner, n], rows of y ``y_stride`` apart.

    With flag ``HAS_LENGTHS`` x is [frames, rows, k], and frames past the longest of ``lengths[rows]`` are
    neither read nor written.
    """
    frames = outer
    if flags & HAS_LENGTHS:
        frames = 0
        for row in range(inner):
            frames = max(frames, integers(lengths)[row])
    strides = frames, outer_stride, inner, inner_stride
    weighted(format, x, strides, k, w, n, bias, 0, y, y_stride, rounded, lengths, 0, 0, team)
