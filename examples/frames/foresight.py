"""A film's frames one by one, and then, for each the model draws, that one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tinyseq
from tinyseq.errors import FeedError

MODEL = Path(__file__).with_name("frames.tinyseq")


class Foresight:
    """A stream of frames; ``ahead`` draws what may come without losing its place."""

    def __init__(self, model: tinyseq.Session | None = None) -> None:
        self._stream = (model or tinyseq.load(MODEL)).stream()
        self._next: np.ndarray | None = None

    def push(self, frame: np.ndarray) -> np.ndarray:
        """The next frame, as the model sees it come, after a frame float32[size, size] from 0 to 1."""
        self._next = self._stream.step({"frame": frame[None, None]})["next"][0, 0]
        return self._next

    def ahead(self, frames: int) -> np.ndarray:
        """The next frames, float32[frames, size, size], each but the first drawn from the one before."""
        if self._next is None:
            raise FeedError("there is nothing to go on from: push a frame first")
        place, drawn = self._stream.snapshot(), [self._next]
        while len(drawn) < frames:
            drawn.append(self._stream.step({"frame": drawn[-1][None, None]})["next"][0, 0])
        self._stream.restore(place)
        return np.stack(drawn)
