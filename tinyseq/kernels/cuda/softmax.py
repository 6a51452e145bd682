"""Softmax of rows; the twin of ``tinyseq.kernels.compute.softmax``. Blocks take rows by turns."""

from __future__ import annotations

from numpy import float32, float64

from tinyseq.kernels.compute.math import ONE, ZERO, exp
from tinyseq.kernels.cuda.intrinsics import WARP, block, blocks, thread, threads
from tinyseq.kernels.cuda.launch import MOST_BLOCKS, THREADS, Kernel, Launch
from tinyseq.kernels.cuda.scores import greatest_of, total_across
from tinyseq.kernels.llvm.intrinsics import floats


def _softmax(x, rows, stride, count, y):
    row = block()
    while row < rows:
        source, target = floats(x + row * stride * 4), floats(y + row * count * 4)
        top = greatest_of(source, count)
        powers = float64(ZERO)
        for i in range(thread(), count, threads()):
            powers += float64(exp(source[i] - top))
        share = float32(float64(ONE) / total_across(powers))
        for i in range(thread(), count, threads()):
            target[i] = exp(source[i] - top) * share
        row += blocks()


_of_rows = Kernel(_softmax)


def threads_for(count: int) -> int:
    """As many threads of a block as share a row of so many elements."""
    threads = WARP
    while threads < min(count, THREADS):
        threads *= 2
    return threads


def softmax(x: int, rows: int, stride: int, count: int, y: int) -> list[Launch]:
    arguments = x, rows, stride, count, y
    return (
        [Launch(_of_rows, min(rows, MOST_BLOCKS), threads_for(count), arguments)] if rows * count > 0 else []
    )
