"""Rows of a model that was exported for one, stepped one after another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tinyseq.backends import Backend
from tinyseq.backends.overlap import check_out
from tinyseq.errors import FeedError, ModelError
from tinyseq.ir.model import POSITION, Model, Value
from tinyseq.plan.rows import OWNERS, SOURCES, TARGETS, wrong_rows


class RowByRow:
    """The runner of a pool whose rows never meet, as there is one at a time.

    Rows lie along the first axis of size 1 of each input, and along the same axis of the outputs, or their
    first one of size 1; inputs of one number are everyone's. ``state`` holds whole states, rows first.
    """

    def __init__(self, model: Model, backend: Backend, count: int) -> None:
        carried = {pair.input for pair in model.state}
        shared = carried | {POSITION}
        self._inputs = {value.name: value for value in model.graph.inputs if value.name not in shared}
        axes = [_axis(value) for value in self._inputs.values()]
        self._axis = next((axis for axis in axes if axis is not None), 0)
        self._runner = backend.runner()
        self.state = {
            name: np.zeros((count, *array.shape), array.dtype) for name, array in self._runner.state.items()
        }

    def step(
        self, feeds: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None
    ) -> Mapping[str, np.ndarray]:
        feeds = dict(feeds)
        rows = feeds.pop(SOURCES).tolist()
        del feeds[TARGETS], feeds[OWNERS]
        parts = {name: self._parts(name, given, len(rows)) for name, given in feeds.items()}
        results: list[Mapping[str, np.ndarray]] = []
        following = []
        for place, row in enumerate(rows):
            for name, array in self._runner.state.items():
                array[...] = self.state[name][row]
            results.append(self._runner.step({name: part[place] for name, part in parts.items()}, None))
            following.append({name: np.array(array) for name, array in self._runner.state.items()})
        joined = {name: self._joined(name, [result[name] for result in results]) for name in results[0]}
        if out is not None:
            check_out(out, joined, self.state)
            for name, array in joined.items():
                out[name][...] = array
        for row, state in zip(rows, following):
            for name, array in state.items():
                self.state[name][row] = array
        return joined if out is None else out

    def _parts(self, name: str, given: object, count: int) -> list:
        """An input as each row takes it."""
        value = self._inputs.get(name)
        if value is None or count == 1 or not isinstance(given, np.ndarray) or given.ndim != len(value.shape):
            return [given] * count
        axis = _axis(value)
        if axis is None or given.shape[axis] == 1 == given.size:
            return [given] * count
        if given.shape[axis] != count:
            raise wrong_rows(name, given.shape, [axis], count)
        return np.split(given, count, axis)

    def _joined(self, name: str, rows: list[np.ndarray]) -> np.ndarray:
        """An output of all rows."""
        shape = rows[0].shape
        if len(rows) == 1:
            return rows[0]
        if 1 not in shape or any(array.shape != shape for array in rows):
            raise FeedError(
                f"output {name!r} came out as {list(shape)}, without an axis of size 1 along which rows can "
                "be put together; step one row at a time"
            )
        axis = self._axis if shape[self._axis : self._axis + 1] == (1,) else shape.index(1)
        return np.concatenate(rows, axis)


def _axis(value: Value) -> int | None:
    """Where a tensor of one row has its row; None if it is one number for all.

    Raises:
        ModelError: it may be anywhere.
    """
    if value.shape == ():
        return None
    if value.shape is None or 1 not in value.shape:
        raise ModelError(
            f"{value} has no axis of size 1, that of the one row the model is for, so rows cannot be told "
            "apart in it; export the model with an open batch size"
        )
    return value.shape.index(1)
