"""Which frames of a stream differ from others by their number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyseq.errors import StateError


class Clock(NamedTuple):
    """How far the counts of a stream must be known: after ``start`` frames they repeat every ``period``."""

    start: int
    period: int

    def position(self, place: int, last: int) -> np.ndarray:
        """What a step is told that begins at a place and, if it is the ``last``, ends the stream.

        Raises:
            StateError: the stream has ended.
        """
        if not 0 <= place < self.start + self.period:
            raise StateError("the stream has been finished; reset it to begin anew")
        return np.array([place, last])

    def after(self, place: int, frames: int, last: int) -> int:
        """The place after a step: the number of frames with which a stream goes on as it does after as many
        as have gone in; -1 after the last step."""
        frames += place
        if last:
            return -1
        return frames if frames < self.start else self.start + (frames - self.start) % self.period
