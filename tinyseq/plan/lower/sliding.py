"""How windows lie over a signal, and the views that they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tinyseq.plan.lower.movement import padded
from tinyseq.plan.lower.operands import along
from tinyseq.plan.view import Shape, View, dense_strides

if TYPE_CHECKING:
    from tinyseq.plan.builder import Builder


class Windowing:
    """How windows lie over a signal, one entry per spatial axis; ``before`` is the padding in front."""

    __slots__ = ("before", "dilations", "out", "sizes", "strides")

    def __init__(self, sizes: Shape, strides: Shape, dilations: Shape, before: Shape, out: Shape) -> None:
        self.sizes = sizes
        self.strides = strides
        self.dilations = dilations
        self.before = before
        self.out = out


def used_taps(size: int, out: int, taps: int, stride: int, dilation: int, before: int) -> tuple[int, int]:
    """The first and one past the last tap of a kernel that meet anything but padding, along one axis."""
    first, last = 0, taps - 1
    while first < last and not meets(size, out, stride, first * dilation - before):
        first += 1
    while last > first and not meets(size, out, stride, last * dilation - before):
        last -= 1
    return first, last + 1


def meets(size: int, out: int, stride: int, start: int) -> bool:
    """Whether any of ``out`` positions, ``stride`` apart from ``start`` on, lies in 0 ... size - 1."""
    skipped = -(start // stride) if start < 0 else 0
    return skipped < out and start + skipped * stride < size


def windows_of(p: Builder, x: View, geometry: Windowing, used, fill: float | View = 0.0) -> View:
    """x[N, C, ...] as [N, out..., taps..., C]: a View of x, channels-last, padded where it must be."""
    rank = len(geometry.sizes)
    x = x.transposed((0, *range(2, rank + 2), 1))
    widths, leaps = [(0, 0)], []
    for axis, (start, stop) in enumerate(used):
        step, dilation, out = geometry.strides[axis], geometry.dilations[axis], geometry.out[axis]
        pad = geometry.before[axis] - start * dilation
        reach = (out - 1) * step + (stop - start - 1) * dilation + 1
        ends = pad, reach - x.shape[axis + 1] - pad
        if out == 1 and max(ends) <= 0:
            # Of what one window alone meets, the rest is left out, and need not be padded along other axes.
            x, ends, dilation = along(x, axis + 1, -pad, stop - start, dilation), (0, 0), 1
        widths.append(ends)
        leaps.append(dilation)
    widths.append((0, 0))
    if any(a > 0 or b > 0 for a, b in widths):
        shape = tuple([n + a + b for n, (a, b) in zip(x.shape, widths)])
        y = p.allocate(shape, dtype=x.dtype, narrow=x.narrow)
        x = padded(p, x, widths, y, "constant", fill)
    else:
        x = x.sliced([(-a, 1, n + a + b) for n, (a, b) in zip(x.shape, widths)])
    rows, *space, channel = x.strides
    steps = [a * b for a, b in zip(space, geometry.strides)]
    leaps = [a * b for a, b in zip(space, leaps)]
    sizes = [stop - start for start, stop in used]
    return x.laid((x.shape[0], *geometry.out, *sizes, x.shape[-1]), (rows, *steps, *leaps, channel))


def all_used(x: View, geometry: Windowing) -> list[tuple[int, int]]:
    axes = zip(
        x.shape[2:], geometry.out, geometry.sizes, geometry.strides, geometry.dilations, geometry.before
    )
    return [used_taps(*axis) for axis in axes]


def flattened(p: Builder, windows: View, head: int) -> View:
    """The dimensions from ``head`` on as one of contiguous elements, copied only if they must be."""
    taps = math.prod(windows.shape[head:])
    shape = (*windows.shape[:head], taps)
    if windows.size == 0:
        return windows.laid(shape, dense_strides(shape))
    inner = windows.laid(windows.shape[head:], windows.strides[head:]).reshaped((taps,))
    if inner is None or (taps > 1 and inner.strides[0] != 1):
        dense = p.allocate(windows.shape, dtype=windows.dtype, narrow=windows.narrow)
        return p.copy(windows, dense).reshaped(shape)
    return windows.laid(shape, (*windows.strides[:head], 1))
