"""The same server around onnxruntime: ``python -m bench.serving.rival`` takes the arguments of
``tinyseq serve``.

What batches, speaks and counts is tinyseq's; what steps a batch is an onnxruntime session of one thread,
which gets the states of the rows gathered and gives them back.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bench.rivals import one_thread
from tests import assets
from tinyseq.runtime.loading import load
from tinyseq.runtime.pool import Pool
from tinyseq.runtime.session import Session
from tinyseq.runtime.state import State
from tinyseq.speech.voice_detector import MODEL
from tinyseq.tools.cli import main

STATE, NEW_STATE = "state", "stateN"
"""Of silero's model, whose state is [2, rows, 128]."""


class OrtPool:
    """What a batcher asks of a Pool, done by onnxruntime."""

    one_by_one = False

    def __init__(self, runs: Any, count: int, session: Session) -> None:
        self._runs, self._session = runs, session
        self._names = [value.name for value in runs.get_outputs()]
        self._states = np.zeros((2, count, 128), np.float32)
        self._free = list(range(count - 1, -1, -1))

    @property
    def count(self) -> int:
        return self._states.shape[1]

    def open(self) -> int:
        row = self._free.pop()
        self.reset(row)
        return row

    def close(self, row: int) -> None:
        self._free.append(row)

    def reset(self, row: int) -> None:
        self._states[:, row] = 0

    def step(self, rows: Sequence[int], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        states = self._states[:, rows]
        results = dict(zip(self._names, self._runs.run(None, {**feeds, STATE: states})))
        self._states[:, rows] = results.pop(NEW_STATE)
        return results

    def finish(self, rows: Sequence[int], feeds: Mapping[str, np.ndarray] | None = None) -> Any:
        return {} if feeds is None else self.step(rows, feeds)

    def snapshot(self, row: int) -> State:
        return State({STATE: self._states[:, row : row + 1].copy()}, self._session)

    def restore(self, row: int, saved: Mapping[str, np.ndarray]) -> None:
        self._states[:, row] = saved[STATE][:, 0]

    def resized(self, count: int, rows: Sequence[int]) -> OrtPool:
        other = OrtPool(self._runs, count, self._session)
        other._states[:, : len(rows)] = self._states[:, rows]
        other._free = other._free[: count - len(rows)]
        return other


class OrtSession(Session):
    """A session that says what tinyseq's does, and whose pools are onnxruntime's."""

    runs: Any

    def run(self, feeds: Mapping[str, Any], *options: Any, **more: Any) -> dict[str, np.ndarray]:
        names = [value.name for value in self.runs.get_outputs()]
        return dict(zip(names, self.runs.run(None, dict(feeds))))

    def pool(self, count: int) -> Pool:
        pool: Any = OrtPool(self.runs, count, self)
        return pool


def ort_session(path: Path, **options: Any) -> Session:
    """In the place of ``tinyseq.load``."""
    session = load(path, **options)
    session.__class__ = OrtSession
    # The package's own detector lies in a format of tinyseq's.
    file = assets.fetch("silero-chunk") if path == MODEL else path
    session.runs = one_thread(file.read_bytes())
    return session


if __name__ == "__main__":
    with mock.patch("tinyseq.serve.models.load", ort_session):
        sys.exit(main(["serve", *sys.argv[1:]]))
