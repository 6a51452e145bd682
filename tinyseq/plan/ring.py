"""Rings: the frames that a stream keeps, where they lie in its state, and new ones behind them.

A long ring is not put together with what is new unless something reads it as a whole: windows that look at
few of its frames take these from where they lie, and its next value moves up in place.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinyseq.plan.view import Shape, View

if TYPE_CHECKING:
    from tinyseq.plan.builder import Builder

LONG = 2048
"""Elements from which on a ring is worth more than the instructions that spare it."""

MOST_TAPS = 32
"""Frames that a window may look at to take them one by one."""


class Ring(NamedTuple):
    """Dense tensors whose elements follow each other in a third one, once it is needed."""

    past: View
    new: View

    def part(self, view: View) -> View | None:
        """A view of both that is of one of them alone, as a view of that; None where it is of both."""
        first, last = view.ends
        count = self.past.size
        if last < count:
            source, skipped = self.past, 0
        elif first >= count:
            source, skipped = self.new, count
        else:
            return None
        return View(
            source.buffer, view.shape, view.strides, source.offset + view.offset - skipped, source.dtype
        )

    def next_part(self, view: View) -> View | None:
        """What moves up where a view is the last of both, as many as the past: the new elements."""
        if view.dense and view.offset == self.new.size < self.past.size == view.size:
            return self.new
        return None


def behind(p: "Builder", past: View, new: View, shape: Shape) -> View:
    """A tensor of dense elements of the state and new ones behind them, which is put together only where
    something reads it."""
    y, new = p.allocate(shape), p.dense(new)
    p.rings[y.buffer] = Ring(past, new)

    def put_together() -> None:
        for part, start in ((past, 0), (new, past.size)):
            p.copy(part.laid((part.size,), (1,)), y.laid((part.size,), (1,), start))

    p.postpone(y, put_together)
    return y


def tap_views(windows: View, rank: int):
    """For each tap the [N, out..., C] elements that it meets, of windows [N, out..., taps..., C]."""
    shape = (*windows.shape[: rank + 1], windows.shape[-1])
    strides = (*windows.strides[: rank + 1], windows.strides[-1])
    for place in np.ndindex(*windows.shape[rank + 1 : -1]):
        offset = sum(i * step for i, step in zip(place, windows.strides[rank + 1 : -1]))
        yield windows.laid(shape, strides, windows.offset + offset)


def apart(p: "Builder", windows: View, rank: int) -> View:
    """Windows [N, out..., taps..., C], put together from the few frames of a ring that they look at; or the
    windows themselves."""
    ring = p.ring(windows)
    if ring is None or not 0 < 2 * windows.size <= ring.past.size:
        return windows
    if np.prod(windows.shape[rank + 1 : -1]) > MOST_TAPS:
        return windows
    parts = [ring.part(tap) for tap in tap_views(windows, rank)]
    if None in parts:
        return windows
    y = p.allocate(windows.shape)
    for part, target in zip(parts, tap_views(y, rank)):
        p.copy(part, target)
    return y
