"""What a stream of a model is: the graph of its steps, which tensors have frames, and how late they come."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from tinyseq.errors import StateError
from tinyseq.ir.model import Model


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


class Streaming(NamedTuple):
    """A model as a stream runs it.

    ``inputs`` and ``outputs`` are those that have frames, with their axes. ``latency`` is how many frames
    late each output comes. Where steps differ, ``clock`` says after how many frames they do so no more.
    """

    model: Model
    inputs: Mapping[str, int] = MappingProxyType({})
    outputs: Mapping[str, int] = MappingProxyType({})
    latency: Mapping[str, int] = MappingProxyType({})
    clock: Clock | None = None

    def frames(self, feeds: Mapping[str, np.ndarray]) -> int:
        """How many frames feeds hold."""
        name, axis = next(iter(self.inputs.items()))
        return np.shape(feeds[name])[axis]

    def ending(self, feeds: Mapping[str, np.ndarray] | None, rows: int) -> Mapping[str, np.ndarray]:
        """Feeds for the last step: no frames of the inputs that have frames and are not given."""
        feeds = {} if feeds is None else feeds
        if not isinstance(feeds, Mapping):
            return feeds
        nothing = {}
        for value in self.model.graph.inputs:
            if value.name in self.inputs:
                shape = [rows if isinstance(size, str) else size for size in value.shape or ()]
                shape[self.inputs[value.name]] = 0
                nothing[value.name] = np.zeros(shape, value.dtype)
        return nothing | dict(feeds)
