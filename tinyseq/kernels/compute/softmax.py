"""Softmax of rows, which stay in the nearest cache until they are done."""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.compute.math import exp
from tinyseq.kernels.instructions import BYTES
from tinyseq.kernels.llvm.intrinsics import compiled, floats
from tinyseq.kernels.llvm.vectors import greatest, total

NEAR = 2048
"""Numbers of rows that are worked on together, stage by stage: each stage waits long for its own last
result."""


@compiled()
def softmax(x, rows, stride, count, y):
    """x[rows, count], rows ``stride`` elements apart -> y[rows, count]: exp(x - max) over their sum.

    The sum is one of float64: of the numbers whose places leave the same rest by ``PANEL``, then of the rests
    by halves, then of those of a last piece that is shorter.
    """
    most, done = rows if rows * count <= NEAR else max(NEAR // max(count, 1), 1), 0
    while done < rows:
        held = min(most, rows - done)
        for row in range(done, done + held):
            source, target = floats(x + row * stride * BYTES), floats(y + row * count * BYTES)
            top, _ = greatest(x + row * stride * BYTES, count)
            for i in range(count):
                target[i] = source[i] - top
        powers = floats(y + done * count * BYTES)
        for i in range(held * count):
            powers[i] = exp(powers[i])
        for row in range(done, done + held):
            target = floats(y + row * count * BYTES)
            share = np.float32(1.0 / total(y + row * count * BYTES, count))
            for i in range(count):
                target[i] *= share
        done += held
