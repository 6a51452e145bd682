"""Time in streams: what streams gives in chunks what a run gives at once, and the rest is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests.strategies.streams import CHANNELS, Layers, layered

FRAMES = 40


def signal(frames: int = FRAMES, rows: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, frames, CHANNELS)).astype(np.float32)


def in_chunks(session: tinyseq.Session, x: np.ndarray, cuts: Sequence[int]) -> np.ndarray:
    stream = session.stream()
    parts = [stream.step({"x": part})["y"] for part in np.split(x, cuts, 1)]
    return np.concatenate([*parts, *stream.finish().values()], 1)


@given(data=st.data(), layers=layered())
def test_layers_give_in_chunks_what_they_give_at_once(data, layers):
    session = layers.model()
    x = signal(data.draw(st.integers(1, FRAMES)))
    try:
        stream = session.stream()
    except tinyseq.ModelError as error:
        assert "some come late and some do not" in str(error)
        return
    try:
        whole = session.run({"x": x})["y"]
    except tinyseq.FeedError:  # Fewer frames than a window of the run needs.
        whole = None
    cuts = data.draw(st.lists(st.integers(0, x.shape[1]), max_size=6).map(sorted))
    if session.steps_alike:
        cuts = sorted(set(cuts) - {0, x.shape[1]})
    y = in_chunks(session, x, cuts)
    assert whole is None or np.array_equal(y, whole)
    assert stream.latency == session.latency
