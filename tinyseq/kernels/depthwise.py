"""Convolutions that keep channels apart: each output is a few numbers of one channel, weighed."""

from __future__ import annotations

from numba import types

from tinyseq.kernels.instructions import BYTES, MAX_RANK, PANEL
from tinyseq.kernels.llvm.intrinsics import compiled, floats, fma, integers, stack
from tinyseq.kernels.llvm.intrinsics import taps as taps_of
from tinyseq.kernels.llvm.tiles import TAP_POSITIONS

_counters = stack(types.int64, MAX_RANK)


def _positions_of(together: int):
    """From position ``done`` on: as many times so many as there are, of one panel of channels."""
    run = taps_of(together)

    @compiled()
    def positions(done, count, x, x_step, offsets, number, w, w_stride, start, y, y_step):
        while count - done >= together:
            run(
                x + done * x_step, x_step, offsets, number, w, w_stride, start, y + done * y_step, y_step
            )  # fmt: skip
            done += together
        return done

    return positions


_six, _two, _one = map(_positions_of, TAP_POSITIONS)


@compiled()
def panels_weighed(x, count, offsets, number, w, w_stride, start, y):
    """y[count, PANEL] = start[PANEL] + the sum over taps of x[offset of the tap + count * PANEL] * w[tap], of
    ``PANEL`` numbers each; weights lie ``w_stride`` bytes apart."""
    step = PANEL * BYTES
    done = _six(0, count, x, step, offsets, number, w, w_stride, start, y, step)
    done = _two(done, count, x, step, offsets, number, w, w_stride, start, y, step)
    _one(done, count, x, step, offsets, number, w, w_stride, start, y, step)


@compiled()
def _few_channels(x, offsets, number, w, bias, y, channels):
    """One position."""
    table, starts, target = integers(offsets), floats(bias), floats(y)
    for channel in range(channels):
        total = starts[channel]
        for tap in range(number):
            total = fma(floats(x + table[tap])[channel], floats(w + tap * channels * BYTES)[channel], total)
        target[channel] = total


@compiled()
def _line(x, x_step, count, offsets, number, w, bias, y, channels):
    """y[count, channels] = bias + the sum over taps of x[offset of the tap, channels] * w[tap, channels]."""
    step = channels * BYTES
    if channels < PANEL:
        for i in range(count):
            _few_channels(x + i * x_step, offsets, number, w, bias, y + i * step, channels)
        return
    channel = 0
    while channel < channels:
        # The last panel may begin within the one before: it computes the same there.
        channel = min(channel, channels - PANEL)
        skip = channel * BYTES
        at, weights, start, to = x + skip, w + skip, bias + skip, y + skip
        done = _six(0, count, at, x_step, offsets, number, weights, step, start, to, step)
        done = _two(done, count, at, x_step, offsets, number, weights, step, start, to, step)
        _one(done, count, at, x_step, offsets, number, weights, step, start, to, step)
        channel += PANEL


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
        _line(x, table[rank + last], table[last], offsets, taps, w, bias, y, channels)
        y += table[last] * channels * BYTES
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
