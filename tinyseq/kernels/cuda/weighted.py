"""Products with packed weights of any format; the twins of ``tinyseq.kernels.compute.weighted``."""

from __future__ import annotations

from tinyseq.kernels.cuda.launch import Facts, Launch
from tinyseq.kernels.cuda.product import linear_floats
from tinyseq.kernels.cuda.quantized import linear_dynamic
from tinyseq.kernels.formats import BYTE_BLOCK, FLOAT32
from tinyseq.kernels.instructions import OPERANDS

FORMAT_PLACES = {name: 2 + own.index("format") for name, own in OPERANDS.items() if "format" in own}
"""Where in a row of an instruction the format of its weights is."""

LINEARS = {FLOAT32.code: linear_floats, BYTE_BLOCK.code: linear_dynamic}
"""The launches of ``linear`` by the format of its weights; what is not here CUDA does not multiply with."""


def linear(
    x: int, outer: int, outer_stride: int, inner: int, inner_stride: int, k: int, w: int, n: int, bias: int,
    y: int, y_stride: int, rounded: int, lengths: int, flags: int, format: int, facts: Facts,
) -> list[Launch]:  # fmt: skip
    rows = outer, outer_stride, inner, inner_stride
    return LINEARS[format](x, *rows, k, w, n, bias, y, y_stride, rounded, lengths, flags, facts)
