"""Convolutions that keep channels apart: each output is a few numbers of one channel, weighed."""

from __future__ import annotations

from numba import types

from tinyseq.kernels.instructions import BYTES, MAX_RANK, PANEL
from tinyseq.kernels.llvm.intrinsics import compiled, floats, fma, integers, stack, taps_of_panel

_counters = stack(types.int64, MAX_RANK)


@compiled()
def _position(x, offsets, taps, w, bias, y, channels):
    """y[channels] = bias + the sum over taps of x[offset of the tap, channels] * w[tap, channels]."""
    step = channels * BYTES
    if channels >= PANEL:
        channel = 0
        while channel < channels:
            # The last panel may begin within the one before: it computes the same there.
            channel = min(channel, channels - PANEL)
            skip = channel * BYTES
            taps_of_panel(x + skip, offsets, taps, w + skip, step, bias + skip, y + skip)
            channel += PANEL
        return
    table, starts, target = integers(offsets), floats(bias), floats(y)
    for channel in range(channels):
        total = starts[channel]
        for tap in range(taps):
            total = fma(floats(x + table[tap])[channel], floats(w + tap * step)[channel], total)
        target[channel] = total


@compiled()
def depthwise(x, w, bias, y, channels, taps, rank, dims):
    """x[positions, taps, channels] w[taps, channels] bias[channels] -> y[positions, channels].

    ``dims``: the ``rank`` >= 1 sizes of the positions, their strides in x in bytes, then how many bytes the
    taps lie from where a position begins. A sum starts at the bias and takes the taps in order.
    """
    table, counters = integers(dims), integers(_counters())
    for axis in range(rank):
        counters[axis] = 0
        if table[axis] == 0:
            return
    offsets, last = dims + 2 * rank * 8, rank - 1
    while True:
        for i in range(table[last]):
            _position(x + i * table[rank + last], offsets, taps, w, bias, y, channels)
            y += channels * BYTES
        axis = last - 1
        while axis >= 0:
            counters[axis] += 1
            x += table[rank + axis]
            if counters[axis] < table[axis]:
                break
            counters[axis] = 0
            x -= table[axis] * table[rank + axis]
            axis -= 1
        if axis < 0:
            return
