"""How windows lie over a signal, the views that they are, and whether products take them from there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tinyseq.kernels.formats import AS_THEY_ARE, FLOAT32
from tinyseq.kernels.instructions import BYTES, PANEL
from tinyseq.plan.lower.movement import padded
from tinyseq.plan.lower.operands import along
from tinyseq.plan.view import Factor, Shape, View, collapsed, dense_strides

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


MANY = 4096
"""Numbers in windows up to which copying them takes next to no time."""

LONG = 8
"""Numbers in a run from which on a product takes them from where they lie in less time than from a copy."""

FEW = 4
"""Columns of a product up to which many windows are taken at once: panels would hold little but padding."""

TOGETHER = 96
"""Windows that are taken at once."""

NEAR = 2**18
"""Bytes that this may take."""


def as_they_lie(p: Builder, windows: View, head: int, w: Factor) -> tuple[int, int] | None:
    """Begins ``windows`` where a product takes windows, whose taps are all dimensions from ``head`` on, in
    less time from where they lie than from copies."""
    if w.of.activations is not AS_THEY_ARE or w.n == 0:
        return None
    sizes, steps, _ = collapsed(windows.shape, windows.strides, dense_strides(windows.shape))
    taps = math.prod(windows.shape[head:])
    if len(sizes) < 2 or steps[-1] != 1 or sizes[-1] > taps:
        return None
    run = sizes[-1]
    runs, last = (1, -2) if run == taps else (sizes[-2], -3)
    if len(sizes) < -last or runs * run != taps:
        return None
    few = w.of is FLOAT32 and (w.n <= FEW or (run < LONG and w.n <= PANEL))
    in_runs = runs > 1 and run >= LONG
    # Last, as it is a condition on open sizes.
    if not (few or in_runs) or windows.size <= MANY:
        return None
    step = steps[last]
    if few and 0 < step <= run:
        lines = runs * step * (TOGETHER + run // step + 1)
        size = 2 * taps + lines + w.n * (TOGETHER + PANEL * (taps + 1))
        if size * BYTES <= NEAR:
            return p.begin_windows(p.allocate((size,)), TOGETHER)
    return p.begin_windows(None, 0) if in_runs else None
