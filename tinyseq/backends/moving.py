"""Runners of models whose steps differ from each other: frames are held back, or are still due at the end.

The place of a stream, of which its next step depends, is a field of its state beside those that plans know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.backends import Arrays, RowRunner, Runner
from tinyseq.errors import FeedError
from tinyseq.ir.model import POSITION
from tinyseq.kernels.call import Step, never
from tinyseq.plan.rows import SOURCES

if TYPE_CHECKING:
    from tinyseq.ir.streaming import Streaming


class OutOfStepError(FeedError):
    """Rows are at places from which a step differs."""


class MovingRunner:
    """One stream's runner, or that of many in rows, that tells each step where its streams are."""

    def __init__(self, runner: Runner | RowRunner, streaming: Streaming, count: int = 1) -> None:
        self._runner = runner
        self._streaming = streaming
        self._places = np.zeros((count, 1), np.int64)
        self.state = {**runner.state, POSITION: self._places}

    def step(
        self, feeds: Mapping[str, object], out: Mapping[str, np.ndarray] | None, last: int = 0
    ) -> Arrays:
        """Runs the model on the next chunk, or on the ``last``; feeds that are refused change nothing."""
        if not isinstance(feeds, Mapping):
            return self._runner.step(feeds, out)
        rows = feeds.get(SOURCES, slice(None))
        places = self._places[rows, 0]
        place = int(places[0])
        if (places != place).any():
            raise OutOfStepError(
                f"rows {rows.tolist()} are not in step: this model holds frames back, and after "
                f"{places.tolist()} frames it gives different numbers of them; step such rows by calls of "
                "their own"
            )
        clock = self._streaming.clock
        results = self._runner.step({**feeds, POSITION: clock.position(place, last)}, out)
        self._places[rows] = clock.after(place, self._streaming.frames(feeds), last)
        return results

    def quick(self, feeds: Mapping[str, object] | None) -> Step:
        return never
