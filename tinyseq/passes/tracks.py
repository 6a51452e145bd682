"""Tracks: how the frames of a stream pass through a tensor."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyseq.ir.clock import Clock

HORIZON = 4096
"""Frames of a stream for which it is worked out one by one how many have come out."""


class Padding(NamedTuple):
    """Frames of one value that stand before and after those of a tensor and that nothing holds yet."""

    before: int
    after: int
    value: float


class Track(NamedTuple):
    """A tensor whose axis ``axis`` is time.

    ``emitted[n]`` frames have come out when n frames of the stream have gone in; ``whole[n]`` have when no
    more follow. ``rows`` is how many rows are joined with the frames in the one axis, rows outside. All
    frames of one that is ``alike`` hold the same.
    """

    axis: int
    emitted: np.ndarray
    whole: np.ndarray
    rows: int = 1
    alike: bool = False
    padding: Padding | None = None

    @classmethod
    def source(cls, axis: int, unit: int = 1) -> Track:
        """Frames as they are fed, ``unit`` of them being one of the stream."""
        counts = np.arange(HORIZON + 1) * unit
        return cls(axis, counts, counts)

    def same_clock(self, other: Track) -> bool:
        """Whether frames of both come out together."""
        return self.emitted is other.emitted or (
            np.array_equal(self.emitted, other.emitted) and np.array_equal(self.whole, other.whole)
        )

    @property
    def late(self) -> bool:
        """Whether frames come when no more of the stream follow."""
        return bool((self.emitted != self.whole).any())

    def latency(self, period: int) -> int:
        """How many frames of the stream a frame comes later than the one that it stands beside; the counts go
        on alike after ``period`` frames."""
        span = HORIZON // 2 // period * period
        more = int(self.emitted[-1] - self.emitted[-1 - span])
        counts = np.arange(1, int(self.emitted[-1]) + 1)
        first = np.searchsorted(self.emitted, counts)
        due = -(counts * -span // more) if more else counts
        return max(0, int((first - due).max(initial=0)))

    def length(self, frames: int, period: int) -> int:
        """How many frames come out of so many of the stream, no more following. The counts go
        on alike after ``period`` of them."""
        rounds = max(0, -(-(frames - HORIZON) // period))
        return int(self.whole[frames - rounds * period] + rounds * (self.whole[-1] - self.whole[-1 - period]))

    def times(self, above: int, below: int = 1) -> Track | None:
        """Each frame as ``above / below`` of them; None where frames would be cut."""
        if above == below:
            return self
        counts = self.emitted * above, self.whole * above
        if any((count % below).any() for count in counts):
            return None
        return self._replace(emitted=counts[0] // below, whole=counts[1] // below)


class Window(NamedTuple):
    """A window of ``reach`` frames that moves on by ``stride``, over ``before`` frames of padding, the frames
    of a track, and ``after`` more of padding."""

    reach: int
    stride: int = 1
    before: int = 0
    after: int = 0

    def slides(self, track: Track) -> tuple[np.ndarray, np.ndarray]:
        """The windows that are complete, by frames of the stream: before its end and at its end."""
        return self.complete(track.emitted, 0), self.complete(track.whole, self.after)

    def complete(self, frames: np.ndarray, after: int) -> np.ndarray:
        windows = (self.before + frames + after - self.reach) // self.stride + 1
        return np.where(np.arange(len(frames)) > 0, np.maximum(windows, 0), 0)

    def held(self, track: Track) -> np.ndarray:
        """Frames, those of padding among them, that the windows to come need; below zero, frames to come that
        they need not."""
        return self.before + track.emitted - self.stride * self.slides(track)[0]


class Refusal(Exception):
    """Why an op has no form for chunks: words that follow the node's name."""


def clock_of(tables: list[np.ndarray], period: int) -> Clock | None:
    """The clock of tables by frames that have gone in; None where they do not repeat soon enough."""
    if period > HORIZON // 4:
        return None
    start = 0
    for table in tables:
        differing = np.flatnonzero(table[period:] != table[:-period])
        if len(differing):
            start = max(start, int(differing[-1]) + 1)
    return Clock(start, period) if start <= HORIZON // 2 else None
