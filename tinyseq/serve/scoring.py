"""Offline scoring: a class for ``map_batches`` of Ray Data, or for whatever hands out batches of columns."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinyseq.common.given import as_path
from tinyseq.common.text import shown
from tinyseq.errors import FeedError, TinyseqError
from tinyseq.ir.model import Value
from tinyseq.runtime.loading import load
from tinyseq.serve.runs import Runs, checked

Columns = Mapping[str, Any]


class Score:
    """Runs a model on each row of a batch, from a fresh state, and adds its outputs as columns.

    A column of an input's name is what a row feeds: an array of the model's shape, or of all of it but the
    axis of rows, which its outputs then lack, too. Rows may differ in their open sizes. Other columns are
    passed on. A row's outputs have the bits of ``Session.run``.

    Args:
        model: a file that ``tinyseq.load`` takes; every process loads it once.
        feeds: inputs that are the same for all rows, by name.
        outputs: the outputs that become columns; None for all but the state.
        options: what ``tinyseq.load`` takes besides: ``device``, ``state``, ``finite``, ``precision``,
            ``threads``.

    Raises:
        ModelError: the file cannot be read.
        FeedError: ``feeds`` or ``outputs`` names what the model has not.
    """

    def __init__(
        self,
        model: str | Path,
        feeds: Mapping[str, Any] | None = None,
        outputs: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        self._session = session = load(as_path(model, "a model"), **options)
        self._runs = Runs(session)
        self._inputs = {value.name: value for value in session.inputs}
        carried = {pair.output for pair in session.state}
        known = [value.name for value in session.outputs]
        self._outputs = [name for name in known if name not in carried] if outputs is None else list(outputs)
        given = dict(feeds or {})
        for what, names, there in (("feeds", given, self._inputs), ("outputs", self._outputs, known)):
            for name in names:
                if name not in there:
                    raise FeedError(f"{what} name {shown(name)}; the model has {', '.join(there)}")
        self._same = {name: self._array(self._inputs[name], value) for name, value in given.items()}
        groups = session.rows_fed
        self._axes = dict(groups[0]) if len(groups) == 1 else {}
        self._output_axes = _output_axes(session.outputs, self._inputs, self._axes)

    def __call__(self, batch: Columns) -> dict[str, Any]:
        """A batch with the outputs' columns: arrays, or where rows differ in shape arrays of arrays.

        Raises:
            FeedError: a row does not fit the model; says which.
        """
        columns = [name for name in batch if name in self._inputs]
        if not columns:
            raise FeedError(
                f"no column is named like an input: there are {', '.join(batch)}; the model takes "
                f"{', '.join(self._inputs)}"
            )
        rows = [self._row(batch, columns, place) for place in range(len(batch[columns[0]]))]
        results = self._run([feeds for feeds, _ in rows])
        made = dict(batch)
        for name in self._outputs:
            axis = self._output_axes.get(name)
            made[name] = _column(
                [
                    result[name].squeeze(axis) if bare and axis is not None else result[name]
                    for result, (_, bare) in zip(results, rows)
                ]
            )
        return made

    def _row(self, batch: Columns, columns: Sequence[str], place: int) -> tuple[dict[str, np.ndarray], bool]:
        """What a row feeds, and whether the axis of rows was left out."""
        feeds, bare = dict(self._same), False
        try:
            for name in columns:
                value = self._inputs[name]
                array, axis = self._array(value, batch[name][place]), self._axes.get(name)
                if axis is not None and value.shape is not None and array.ndim == len(value.shape) - 1:
                    array, bare = np.expand_dims(array, axis), True
                feeds[name] = array
            return checked(self._session, feeds), bare
        except TinyseqError as error:
            raise FeedError(f"row {place} of the batch: {error}") from error

    def _array(self, value: Value, given: Any) -> np.ndarray:
        try:
            return np.asarray(given).astype(value.dtype, casting="same_kind", copy=False)
        except (TypeError, ValueError) as error:
            raise FeedError(f"input {value.name!r} takes {value.dtype}: {error}") from error

    def _run(self, feeds: Sequence[dict[str, np.ndarray]]) -> list[Mapping[str, np.ndarray]]:
        alike: dict[Hashable, list[int]] = {}
        for place, own in enumerate(feeds):
            alike.setdefault(self._runs.kind(own), []).append(place)
        results: dict[int, Any] = {}
        for kind, places in alike.items():
            results.update(zip(places, self._runs.step(kind, places, [feeds[place] for place in places])))
        for place in range(len(feeds)):
            if isinstance(results[place], TinyseqError):
                raise FeedError(f"row {place} of the batch: {results[place]}")
        return [results[place] for place in range(len(feeds))]


def _output_axes(
    outputs: Sequence[Value], inputs: Mapping[str, Value], axes: Mapping[str, int]
) -> dict[str, int]:
    """The axis of rows in each output that has the open size of the inputs' rows."""
    sizes = {(inputs[name].shape or ())[axis] for name, axis in axes.items()}
    return {
        value.name: place
        for value in outputs
        for place, size in enumerate(value.shape or ())
        if isinstance(size, str) and size in sizes
    }


def _column(arrays: list[np.ndarray]) -> np.ndarray:
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    column = np.empty(len(arrays), object)
    for place, array in enumerate(arrays):
        column[place] = array
    return column
