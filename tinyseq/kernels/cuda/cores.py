"""What multiplies on tensor cores, by precision: numbers are rounded on their way, sums are float32."""

from __future__ import annotations

from tinyseq.kernels.cuda.arithmetic import (
    cores_bfloat16,
    cores_float16,
    cores_tfloat32,
    pair_bfloat16,
    pair_float16,
    tfloat32,
)
from tinyseq.kernels.cuda.kinds import Cores


def _rounded_tfloat32(first, second):
    return tfloat32(first)


CORES = {
    "tf32": Cores(8, 1, _rounded_tfloat32, cores_tfloat32),
    "bfloat16": Cores(16, 2, pair_bfloat16, cores_bfloat16),
    "float16": Cores(16, 2, pair_float16, cores_float16),
}
