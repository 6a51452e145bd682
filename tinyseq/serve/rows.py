"""Live streams as a batcher steps them: rows of a pool that grows and shrinks, or streams of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyseq.errors import FeedError, ModelError, TinyseqError
from tinyseq.runtime.session import Session
from tinyseq.runtime.state import State
from tinyseq.serve.kinds import (
    Batch,
    Inputs,
    Kind,
    Outputs,
    outputs_of_one,
    parted,
    shapes_of,
    shapes_of_one,
)

if TYPE_CHECKING:
    from tinyseq.runtime.pool import Pool
    from tinyseq.runtime.stream import Stream

Feeds = Mapping[str, np.ndarray]

FEWEST_ROWS = 16
"""Rows that a pool has at the least."""

MOST_AT_ONCE = 128
"""Rows of one call of a pool; more gain nothing."""


class Row:
    """A live stream as the batcher steps it: a row of the pool, or a stream of its own."""

    __slots__ = ("number", "stream")

    def __init__(self) -> None:
        self.number = -1
        self.stream: Stream | None = None


def live_rows(session: Session) -> PoolRows | StreamRows:
    """What steps live streams of a model.

    Raises:
        ModelError: the model cannot be streamed; says why.
    """
    session.stream_graph  # noqa: B018  # raises
    try:
        return PoolRows(session)
    except ModelError:
        session.stream()
        return StreamRows(session)


def state_bytes(rows: PoolRows | StreamRows) -> int:
    """Of the state of any stream, as ``State.to_bytes`` writes it."""
    row = Row()
    size = len(rows.snapshot(row).to_bytes())
    rows.close(row)
    return size


class PoolRows:
    """Live streams as rows of one pool. Where rows cannot be put together they are stepped one by one."""

    def __init__(self, session: Session) -> None:
        self._pool: Pool = session.pool(FEWEST_ROWS)
        self.inputs = Inputs(session)
        self._together = bool(self.inputs.axes) and not self._pool.one_by_one
        self._alike = session.steps_alike and not session.streaming.places
        self._rows: dict[Row, None] = {}

    @property
    def count(self) -> int:
        """Rows that the pool has, taken or not."""
        return self._pool.count

    def open(self, row: Row) -> None:
        """Gives a stream its row, at the start of the model."""
        if len(self._rows) == self._pool.count:
            self._resize(2 * self._pool.count)
        row.number = self._pool.open()
        self._rows[row] = None

    def close(self, row: Row) -> None:
        """Takes a row back."""
        if row.number < 0:
            return
        self._pool.close(row.number)
        del self._rows[row]
        row.number = -1
        if len(self._rows) < self._pool.count // 4 and self._pool.count > FEWEST_ROWS:
            self._resize(self._pool.count // 2)

    def _resize(self, count: int) -> None:
        self._pool = self._pool.resized(count, [row.number for row in self._rows])
        for number, row in enumerate(self._rows):
            row.number = number

    def step(self, kind: Kind, streams: Sequence[Row], given: Sequence[Any]) -> list[Any]:
        for row in streams:
            if row.number < 0:
                self.open(row)
        if not self._together or len(streams) == 1:
            return [self._step_alone(kind, row, chunk) for row, chunk in zip(streams, given)]
        if self._alike:
            return self._step_alike(kind, streams, given)
        places: dict[bytes, list[int]] = {}
        for number, place in enumerate(self._pool.places([row.number for row in streams])):
            places.setdefault(place, []).append(number)
        results = dict[int, Any]()
        for place, numbers in places.items():
            chosen = [streams[number] for number in numbers], [given[number] for number in numbers]
            results.update(zip(numbers, self._step_alike(kind.at(place), *chosen)))
        return [results[number] for number in range(len(streams))]

    def _step_alike(self, kind: Kind, streams: Sequence[Row], given: Sequence[Any]) -> list[Any]:
        """Steps rows at one place of their streams, by calls of a few sizes: each has a plan of its own."""
        results: list[Any] = []
        if kind.shapes is None:
            results.append(self._step_alone(kind, streams[0], given[0]))
        while len(results) < len(streams):
            begin = len(results)
            count = min(1 << (len(streams) - begin).bit_length() - 1, MOST_AT_ONCE)
            end = begin + count
            results += self._step_rows(kind, streams[begin:end], given[begin:end])
        return results

    def _step_alone(self, kind: Kind, row: Row, chunk: Any) -> Any:
        try:
            outputs = self._pool.step([row.number], self.inputs.arrays(kind, chunk))
        except TinyseqError as error:
            return error
        shapes = shapes_of(outputs)
        if kind.shapes is None:
            kind.shapes = shapes
        return Outputs(Batch(outputs, kind.shapes if shapes == kind.shapes else shapes, None), 0)

    def _step_rows(self, kind: Kind, rows: Sequence[Row], given: Sequence[Any]) -> list[Any]:
        """Steps rows by one call; where it is refused, halves of them, down to the row whose fault it is."""
        if len(rows) == 1 or kind.shapes is None or kind.parts == {}:
            return [self._step_alone(kind, row, chunk) for row, chunk in zip(rows, given)]
        numbers = [row.number for row in rows]
        saved = [self._pool.snapshot(number) for number in numbers] if kind.parts is None else []
        try:
            outputs = self._pool.step(numbers, self.inputs.joined(kind, given))
        except FeedError:
            half = len(rows) // 2
            return self._step_rows(kind, rows[:half], given[:half]) + self._step_rows(
                kind, rows[half:], given[half:]
            )
        if kind.parts is None:
            kind.parts = parted(outputs, kind.shapes)
            if not kind.parts:
                for number, state in zip(numbers, saved):
                    self._pool.restore(number, state)
                return [self._step_alone(kind, row, chunk) for row, chunk in zip(rows, given)]
        shapes = shapes_of_one(outputs, kind.parts)
        batch = Batch(outputs, kind.shapes if shapes == kind.shapes else shapes, kind.parts)
        return [Outputs(batch, place) for place in range(len(rows))]

    def finish(self, row: Row, feeds: Feeds | None) -> Feeds:
        """Ends a stream: the outputs that are still due."""
        if row.number < 0:
            self.open(row)
        return self._pool.finish([row.number], feeds)

    def reset(self, row: Row) -> None:
        """Puts a stream back to its start."""
        if row.number >= 0:
            self._pool.reset(row.number)

    def snapshot(self, row: Row) -> State:
        """A copy of a stream's state."""
        if row.number < 0:
            self.open(row)
        return self._pool.snapshot(row.number)

    def restore(self, row: Row, state: Mapping[str, np.ndarray]) -> None:
        """Lets a stream go on from a state."""
        if row.number < 0:
            self.open(row)
        self._pool.restore(row.number, state)


class StreamRows:
    """Live streams, each a stream of its own: of models that cannot be pooled."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.inputs = Inputs(session)
        self.count = 0

    def open(self, row: Row) -> None:
        """Gives a stream its state."""
        row.stream = self._session.stream()
        self.count += 1

    def close(self, row: Row) -> None:
        """Gives up a stream."""
        if row.stream is not None:
            row.stream = None
            self.count -= 1

    def step(self, kind: Kind, streams: Sequence[Row], given: Sequence[Any]) -> list[Any]:
        return [self._step(kind, row, chunk) for row, chunk in zip(streams, given)]

    def _step(self, kind: Kind, row: Row, chunk: Any) -> Any:
        try:
            return outputs_of_one(self._stream(row).step(self.inputs.arrays(kind, chunk)))
        except TinyseqError as error:
            return error

    def _stream(self, row: Row) -> Stream:
        if row.stream is None:
            self.open(row)
        assert row.stream is not None
        return row.stream

    def finish(self, row: Row, feeds: Feeds | None) -> Feeds:
        """Ends a stream: the outputs that are still due."""
        return self._stream(row).finish(feeds)

    def reset(self, row: Row) -> None:
        """Puts a stream back to its start."""
        if row.stream is not None:
            row.stream.reset()

    def snapshot(self, row: Row) -> State:
        """A copy of a stream's state."""
        return self._stream(row).snapshot()

    def restore(self, row: Row, state: Mapping[str, np.ndarray]) -> None:
        """Lets a stream go on from a state."""
        self._stream(row).restore(state)
