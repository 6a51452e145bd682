"""Pool: many live streams of one model, any of them stepped together by one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tinyseq.backends import Backend, moved
from tinyseq.common.given import is_whole
from tinyseq.common.text import shown
from tinyseq.errors import FeedError, ModelError, StateError
from tinyseq.ir.model import POSITION, Value
from tinyseq.plan.rows import OWNERS, SOURCES, TARGETS, RowLayout, row_layout
from tinyseq.runtime.claim import Claim, claiming
from tinyseq.runtime.row_by_row import RowByRow
from tinyseq.runtime.state import State, described, restore, room

if TYPE_CHECKING:
    from tinyseq.ir.streaming import Streaming
    from tinyseq.runtime.session import Session

MOST_ROWS = 2**31 - 1
"""Rows of a pool."""

MANY_ROWS = 64
"""Rows from which on arrays find a number that is there twice sooner than sets do."""


class Pool:
    """``count`` streams' state in one block, a row each. Made by ``Session.pool``.

    A row's results do not depend, in any bit, on which others are stepped with it. A pool belongs to one
    thread at a time: every method raises a StateError while another thread, or the call that it is part of,
    is in one of them. Rows of a model that was exported for one row are stepped one after another: the batch
    is then along the first axis of size 1 of its inputs.
    """

    def __init__(self, session: Session, streaming: Streaming, backend: Backend, count: int) -> None:
        if not is_whole(count) or not 1 <= count <= MOST_ROWS:
            raise FeedError(f"a pool has a whole number of rows from 1 to {MOST_ROWS}, not {shown(count)}")
        count, model = int(count), streaming.model
        self._session = session
        axes, layout = rows_layout(session)
        self.one_by_one = layout is None
        if layout is not None and (node := session.rows_meeting) is not None:
            raise ModelError(
                f"{node} computes with several rows at once, so streams in a pool would see each other; give "
                "each a stream of its own: model.stream()"
            )
        with room(f"the state of {count} rows"):
            runner: Any = RowByRow(model, backend, count) if layout is None else backend.rows(layout, count)
        self._runner: Any = moved(runner, streaming, count)
        if streaming.places or (streaming.clock is not None and streaming.rows):
            # Imported here: steps of few models differ.
            from tinyseq.runtime.in_phase import InPhase

            self._runner = InPhase(self._runner, streaming)
        self._streaming = streaming
        self._initial = {pair.input: pair.initial for pair in model.state} | {POSITION: None}
        self._axes = axes | {POSITION: 0}
        self._claim = Claim("pool")
        self._free = list(range(count - 1, -1, -1))
        self._open = np.zeros(count, bool)

    @claiming
    def open(self) -> int:
        """The number of a row that was free, at the start of a stream.

        Raises:
            StateError: all rows are taken.
        """
        if not self._free:
            raise StateError(
                f"all {len(self._open)} rows of the pool are open; close one or make a larger pool"
            )
        row = self._free.pop()
        self._open[row] = True
        self._begin(row)
        return row

    @claiming
    def close(self, row: int) -> None:
        """Frees a row for another stream."""
        self._check(row)
        self._open[row] = False
        self._free.append(row)

    def step(
        self,
        rows: Sequence[int],
        feeds: Mapping[str, np.ndarray],
        out: Mapping[str, np.ndarray] | None = None,
    ) -> Mapping[str, np.ndarray]:
        """Runs the model on the next chunk of some streams and advances their states.

        With ``out``, a dict of arrays for all outputs, results are written there and ``out`` is returned.
        They may overlap the feeds, which are read before, but not each other. Where a step fails, they may
        have been written to. Other threads leave all arrays alone meanwhile.

        Args:
            rows: which, in any order, none twice.
            feeds: as the model takes them, the batch being these rows in this order.

        Raises:
            FeedError: names, dtypes or shapes do not fit, a row is named twice, or a row's state would hold
                NaN or infinity (see ``finite`` of ``load``); the states are as before.
            StateError: a row is not open.
        """
        # Claim.take, written out: a call of its own takes longer.
        try:
            self._claim.free.pop()
        except BaseException as error:
            self._claim.refuse(error)
        try:
            return self._runner.step(self._addressed(self._numbers(rows), feeds), out)
        except FeedError as error:
            self._session.explain(error, feeds)
            raise
        finally:
            self._claim.free.append(None)

    @claiming
    def finish(
        self, rows: Sequence[int], feeds: Mapping[str, np.ndarray] | None = None
    ) -> Mapping[str, np.ndarray]:
        """Ends some streams: the outputs that are still due, see ``Stream.finish``.

        Raises:
            FeedError: as ``step`` does.
            StateError: a row is not open, or has been finished before.
        """
        with self._session.explaining(feeds):
            if self._streaming.clock is None:
                if feeds is None:
                    return {}
                return self._runner.step(self._addressed(self._numbers(rows), feeds), None)
            numbers = self._numbers(rows)
            feeds = self._streaming.ending(feeds, len(numbers))
            given = self._addressed(numbers, feeds)
            return self._runner.step(given, None, last=1)

    def _numbers(self, rows: Sequence[int]) -> np.ndarray:
        """Rows, all of them open and none twice."""
        try:
            rows = list(rows.tolist() if isinstance(rows, np.ndarray) else rows)
        except TypeError as error:
            raise FeedError(f"rows are numbers of open() in a list, not {shown(rows)}") from error
        # At once, as one by one takes a hundredth of a step; what is wrong is then said one by one.
        if set(map(type, rows)) != {int} or min(rows) < 0 or max(rows) >= len(self._open):
            for row in rows:
                self._check(row)
        numbers = np.array(rows, np.int64)
        if not self._open[numbers].all():
            for row in rows:
                self._check(row)
        if not rows or self._repeated(numbers):
            raise FeedError(f"rows {rows}: a step takes one row at least and none twice")
        return numbers

    def _repeated(self, numbers: np.ndarray) -> bool:
        """Whether an open row is named twice."""
        if len(numbers) < MANY_ROWS:
            return len(set(numbers.tolist())) < len(numbers)
        named = np.zeros(len(self._open), bool)
        named[numbers] = True
        return int(np.count_nonzero(named)) < len(numbers)

    def _addressed(self, numbers: np.ndarray, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Feeds for some rows."""
        if not isinstance(feeds, Mapping):
            raise FeedError(f"inputs are given as a dict from name to array, not {type(feeds).__name__}")
        return {**feeds, **dict.fromkeys((SOURCES, TARGETS, OWNERS), numbers)}

    @property
    def count(self) -> int:
        """Rows, open or not."""
        return len(self._open)

    @claiming
    def take(self, states: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Writes streams' states into the first rows, open or not."""
        for name, array in self._runner.state.items():
            axis = self._axes[name]
            array[: len(states)] = np.moveaxis(np.concatenate([own[name] for own in states], axis), axis, 0)

    @claiming
    def give(self, states: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Writes the first rows into streams' states."""
        for name, array in self._runner.state.items():
            axis = self._axes[name]
            rows, before = np.moveaxis(array, 0, axis), (slice(None),) * axis
            for row, own in enumerate(states):
                own[name][...] = rows[(*before, slice(row, row + 1))]

    @claiming
    def places(self, rows: Sequence[int]) -> list[bytes]:
        """Where in their streams rows are, as far as steps differ by it: for as many frames, rows of equal
        places get as many. Empty where all steps are alike."""
        numbers = self._numbers(rows)
        state = self._runner.state
        names = [name for name in (*self._streaming.places, POSITION) if name in state]
        fields = [state[name][numbers].reshape(len(numbers), -1).astype(np.float64) for name in names]
        if not fields:
            return [b""] * len(numbers)
        return [row.tobytes() for row in np.concatenate(fields, 1)]

    @claiming
    def resized(self, count: int, rows: Sequence[int]) -> Pool:
        """Another pool of ``count`` rows, of which the first ones are open and go on where some of this one's
        are, in their order. This one is given up: nothing must be done with it any more.

        Raises:
            FeedError: ``count`` is no number of rows, or less than there are to take over.
            StateError: a row is not open, or there is no memory for so many.
        """
        numbers = self._numbers(rows) if len(rows) else np.zeros(0, np.int64)
        if is_whole(count) and count < len(numbers):
            raise FeedError(f"{len(numbers)} rows do not fit in a pool of {count}")
        pool = self._session.pool(count)
        for name, array in pool._runner.state.items():
            array[: len(numbers)] = self._runner.state[name][numbers]
        pool._open[: len(numbers)] = True
        pool._free = list(range(pool.count - 1, len(numbers) - 1, -1))
        return pool

    @claiming
    def step_rows(self, count: int, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """``step`` of the first rows, open or not."""
        return self._runner.step(self._addressed(np.arange(count), feeds), None)

    def __repr__(self) -> str:
        return f"Pool({int(self._open.sum())} of {self.count} rows open, each {described(self._fields(0))})"

    def __reduce__(self) -> NoReturn:
        raise StateError(
            "a pool is not pickled or copied: open another, and restore the snapshot(row) of each row there"
        )

    @claiming
    def reset(self, row: int) -> None:
        """Puts a stream back to its start."""
        self._check(row)
        self._begin(row)

    def _begin(self, row: int) -> None:
        for name, field in self._row(row).items():
            initial = self._initial[name]
            field[...] = 0 if initial is None else part_of(initial, field, self._axes.get(name))

    @claiming
    def snapshot(self, row: int) -> State:
        """A copy of a stream's state, which streams of this model can restore too."""
        self._check(row)
        return State(self._fields(row), self._session)

    @claiming
    def restore(self, row: int, saved: Mapping[str, np.ndarray]) -> None:
        """Goes back to a snapshot of any stream of this model.

        Raises:
            StateError: it is of another model, or holds NaN or infinity; the state is as before.
        """
        self._check(row)
        restore(saved, self._fields(row), self._session)

    def _row(self, row: int) -> dict[str, np.ndarray]:
        return {name: array[row] for name, array in self._runner.state.items()}

    def _fields(self, row: int) -> dict[str, np.ndarray]:
        """A row's state as the model has it: with an axis of one row."""
        fields = {}
        for name, part in self._row(row).items():
            axis = self._axes.get(name)
            fields[name] = part if axis is None else np.expand_dims(part, axis)
        return fields

    def _check(self, row: int) -> None:
        whole = type(row) is int or is_whole(row)
        if not whole or not 0 <= row < len(self._open) or not self._open[row]:
            raise StateError(f"row {shown(row)} of the pool is not open; open() gives the numbers of rows")


def rows_layout(session: Session) -> tuple[dict[str, int], RowLayout | None]:
    """Where the parts of a row's state lie, and of each state the axis of the rows; None and {} where rows
    are stepped one after another."""
    model = session.streaming.model
    inputs = {value.name: value for value in model.graph.inputs}
    values = [inputs[pair.input] for pair in model.state]
    if session.rows_of_model == 1 or any(_is_whole(value) for value in values):
        return {}, None
    axes = {value.name: _row_axis(value) for value in values}
    return axes, _layout(session, values, axes)


def _is_whole(value: Value) -> bool:
    """Whether a state is all of one row's: no size is left open for more."""
    return value.shape is not None and all(isinstance(size, int) for size in value.shape)


def _layout(session: Session, values: Sequence[Value], axes: dict[str, int]) -> RowLayout:
    shapes = {
        value.name: tuple(
            size
            for axis, size in enumerate(value.shape or ())
            if axis != axes[value.name] and isinstance(size, int)
        )
        for value in values
    }
    return row_layout(values, axes, shapes, session.streaming.model.state, fed=session.rows_fed)


def _row_axis(value: Value) -> int:
    """The dimension of a state that is open."""
    open_axes = [axis for axis, size in enumerate(value.shape or ()) if isinstance(size, str)]
    if len(open_axes) != 1:
        raise ModelError(
            f"state {value} must have one open dimension, that of the rows, to be pooled; export the model "
            "with an open batch size and all other sizes given"
        )
    return open_axes[0]


def part_of(initial: np.ndarray, field: np.ndarray, axis: int | None) -> np.ndarray:
    """A row's part of an initial value that is given for one row; all of it where a row is a whole state."""
    full = list(field.shape)
    if axis is not None:
        full.insert(axis, 1)
    return np.broadcast_to(initial, full).reshape(field.shape)
