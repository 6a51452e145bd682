"""Rows of a pool that are at different places of their streams, stepped by a call for each place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.backends import Arrays, Runner
from tinyseq.backends.moving import OutOfStepError
from tinyseq.backends.overlap import check_out
from tinyseq.common.given import as_array
from tinyseq.errors import FeedError
from tinyseq.ir.model import POSITION
from tinyseq.plan.rows import OWNERS, SOURCES, TARGETS, wrong_rows

if TYPE_CHECKING:
    from tinyseq.ir.streaming import Streaming

ADDRESSES = (SOURCES, TARGETS, OWNERS)


class InPhase:
    """A runner of rows of which a call takes only such as are at one place: ``streaming.places`` are the
    states that tell it."""

    def __init__(self, runner: Runner, streaming: Streaming) -> None:
        self._runner = runner
        self._axes = streaming.rows
        self.state = runner.state
        fields = [runner.state[name] for name in streaming.places]
        self._places = [field.reshape(len(field), -1) for field in fields]
        self._moving = [] if streaming.clock is None else [runner.state[POSITION]]

    def step(
        self, feeds: Mapping[str, object], out: Mapping[str, np.ndarray] | None, **last: int
    ) -> Mapping[str, np.ndarray]:
        """Runs the model on the next chunk of some rows; feeds that are refused change no row."""
        rows = feeds[SOURCES]
        own = [places[rows] for places in self._places]
        if all((places == places[0]).all() for places in own):
            try:
                return self._runner.step(feeds, out, **last)
            except OutOfStepError:
                pass
        own += [places[rows] for places in self._moving]
        keys = np.concatenate([places.astype(np.float64) for places in own], 1)
        _, phases = np.unique(keys, axis=0, return_inverse=True)
        phases = phases.ravel()
        groups = [np.flatnonzero(phases == phase) for phase in range(phases.max() + 1)]
        before = {name: array[rows] for name, array in self.state.items()}
        try:
            results = [
                self._runner.step(self._part(feeds, group, len(rows)), None, **last) for group in groups
            ]
            joined = self._joined(results, groups, rows)
            if out is not None:
                check_out(out, joined, self.state)
        except BaseException:
            for name, array in self.state.items():
                array[rows] = before[name]
            raise
        for name, array in joined.items() if out is not None else ():
            out[name][...] = array
        return joined if out is None else out

    def _part(self, feeds: Mapping[str, object], group: np.ndarray, count: int) -> dict[str, object]:
        """The feeds of some of the rows that a call is for."""
        part = dict(feeds)
        for name in ADDRESSES:
            part[name] = feeds[SOURCES][group]
        for name, axis in self._axes.items():
            if name in part:
                try:
                    given = as_array(part[name])
                except ValueError as error:
                    raise FeedError(
                        f"input {name!r} is no array in memory ({error}), where rows at different places of "
                        "their streams are parted; step such rows by calls of their own"
                    ) from error
                if len(given.shape) <= axis or given.shape[axis] != count:
                    raise wrong_rows(name, given.shape, [axis], count)
                part[name] = given[(slice(None),) * axis + (group,)]
        return part

    def _joined(self, results: list[Arrays], groups: list[np.ndarray], rows: np.ndarray) -> Arrays:
        """The outputs of all rows, in their order."""
        order = np.argsort(np.concatenate(groups))
        joined = {}
        for name in results[0]:
            parts = [np.asarray(result[name]) for result in results]
            axis = self._axes.get(name)
            shapes = (
                {part.shape[:axis] + part.shape[axis + 1 :] for part in parts} if axis is not None else ()
            )
            if len(shapes) != 1:
                what = "has no axis of the rows" if axis is None else "has another number of frames for each"
                raise FeedError(
                    f"rows {rows.tolist()} are at different places of their streams, for which output "
                    f"{name!r} {what}; step such rows by calls of their own"
                )
            joined[name] = np.take(np.concatenate(parts, axis), order, axis)
        return joined
