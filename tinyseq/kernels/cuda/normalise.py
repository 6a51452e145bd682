"""Rows brought to a mean of 0 and a variance of 1; the twin of ``tinyseq.kernels.compute.normalise``. Blocks
take rows by turns."""

from __future__ import annotations

from math import sqrt

from numpy import float32, float64

from tinyseq.kernels.compute.math import ONE, ZERO
from tinyseq.kernels.cuda.intrinsics import block, blocks, thread, threads
from tinyseq.kernels.cuda.launch import MOST_BLOCKS, Kernel, Launch
from tinyseq.kernels.cuda.scores import total_across
from tinyseq.kernels.cuda.softmax import threads_for
from tinyseq.kernels.instructions import BYTES
from tinyseq.kernels.llvm.intrinsics import floats, fma


def _normalise(x, rows, stride, count, epsilon, scale, bias, y, statistics, centred):
    factors, shifts, least = floats(scale), floats(bias), float64(floats(epsilon)[0])
    means, shares = floats(statistics), floats(statistics + rows * BYTES)
    row = block()
    while row < rows:
        source, target = floats(x + row * stride * BYTES), floats(y + row * count * BYTES)
        mean = squares = float64(ZERO)
        if centred:
            for i in range(thread(), count, threads()):
                mean += float64(source[i])
            mean = total_across(mean) / float64(count)
        for i in range(thread(), count, threads()):
            apart = float64(source[i]) - mean
            squares += apart * apart
        spread = total_across(squares) / float64(count)
        middle, share = float32(mean), float32(float64(ONE) / sqrt(spread + least))
        beyond = float32(mean - float64(middle))
        if thread() == 0:
            means[row], shares[row] = middle, share
        for i in range(thread(), count, threads()):
            target[i] = fma((source[i] - middle - beyond) * share, factors[i], shifts[i])
        row += blocks()


_of_rows = Kernel(_normalise)


def normalise(
    x: int,
    rows: int,
    stride: int,
    count: int,
    epsilon: int,
    scale: int,
    bias: int,
    y: int,
    statistics: int,
    centred: int,
) -> list[Launch]:
    arguments = x, rows, stride, count, epsilon, scale, bias, y, statistics, centred
    return [Launch(_of_rows, min(rows, MOST_BLOCKS), threads_for(count), arguments)] if rows > 0 else []
