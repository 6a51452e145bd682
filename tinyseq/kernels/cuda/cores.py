"""Products on tensor cores: numbers are rounded on their way there, sums are float32."""

from __future__ import annotations

from functools import cache

from tinyseq.kernels.cuda.intrinsics import (
    block,
    cores_bfloat16,
    cores_float16,
    cores_tfloat32,
    pair_bfloat16,
    pair_float16,
    tfloat32,
)
from tinyseq.kernels.cuda.launch import Kernel
from tinyseq.kernels.cuda.product import FLOATS, Cores, Form, _tile_of, packed


def _rounded_tf32(first, second):
    return tfloat32(first)


CORES = {
    "tf32": Cores(8, 1, _rounded_tf32, cores_tfloat32),
    "bfloat16": Cores(16, 2, pair_bfloat16, cores_bfloat16),
    "float16": Cores(16, 2, pair_float16, cores_float16),
}
"""What multiplies in a precision."""


@cache
def linear_of(precision: str, form: Form) -> Kernel:
    tile = _tile_of(FLOATS._replace(cores=CORES[precision]), form, packed(form, True))

    def linear(x, outer, outer_stride, inner, inner_stride, k, w, n, bias, y, y_stride):
        tile(block(), x, outer, outer_stride, inner, inner_stride, k, w, n, bias, 0, y, y_stride, 0, 0, 0, 0)

    return Kernel(linear, form.threads, form.resident)
