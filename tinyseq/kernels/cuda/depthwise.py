"""Convolutions that keep channels apart; the twin of ``tinyseq.kernels.depthwise``."""

from __future__ import annotations

import math

from numpy import int64, uint32

from tinyseq.kernels.cuda.intrinsics import block, blocks, thread, threads
from tinyseq.kernels.cuda.launch import Kernel, Launch, Tail
from tinyseq.kernels.instructions import BYTES
from tinyseq.kernels.llvm.intrinsics import floats, fma, integers


def _depthwise(x, w, bias, y, count, channels, taps, rank, dims):
    """A thread for each output."""
    table, weights = integers(dims), floats(w)
    for element in range(block() * threads() + thread(), count, blocks() * threads()):
        rest = uint32(element) // uint32(channels)
        channel = element - int64(rest) * channels
        at = x + channel * BYTES
        for axis in range(rank - 1, -1, -1):
            above = rest // uint32(table[axis])
            at += int64(rest - above * uint32(table[axis])) * table[rank + axis]
            rest = above
        total = floats(bias)[channel]
        for tap in range(taps):
            total = fma(floats(at + table[2 * rank + tap])[0], weights[tap * channels + channel], total)
        floats(y)[element] = total


_weighing = Kernel(_depthwise)


def depthwise(
    x: int, w: int, bias: int, y: int, channels: int, taps: int, rank: int, dims: Tail
) -> list[Launch]:
    count = math.prod(dims.values[:rank]) * channels
    return _weighing.over(count, x, w, bias, y, count, channels, taps, rank, dims.address)
