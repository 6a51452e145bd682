"""What the batchers step: rows of a pool that grows and shrinks, streams of their own, or whole inputs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyseq.errors import FeedError, ModelError, TinyseqError
from tinyseq.ir.feeds import checked_feeds
from tinyseq.ir.model import rows_meet
from tinyseq.runtime.batching import joined, parting, row_of
from tinyseq.runtime.session import Session
from tinyseq.runtime.state import State

if TYPE_CHECKING:
    from tinyseq.runtime.pool import Pool
    from tinyseq.runtime.stream import Stream

Feeds = Mapping[str, np.ndarray]

FEWEST_ROWS = 16
"""Rows that a pool has at the least."""

MOST_AT_ONCE = 128
"""Rows of one call of a pool; more gain nothing."""

MOST_FORMS = 256
"""Kinds of feeds for which it is remembered how they are put together."""


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


class Inputs:
    """What a step takes: checks feeds, and tells which may be stepped together."""

    def __init__(self, session: Session) -> None:
        carried = {pair.input for pair in session.state}
        self.values = [value for value in session.stream_inputs if value.name not in carried]
        self._names = {value.name for value in self.values}
        places = session.rows_fed if not rows_meet(session.stream_graph) else ()
        self.axes = dict(places[0]) if len(places) == 1 else {}
        """Of each input that has rows, their axis; {} where rows cannot be put together."""

    def key(self, feeds: Feeds) -> Hashable:
        """Names, types and shapes, and the numbers of what has no rows."""
        axes = self.axes
        kinds: list[Any] = []
        for name, array in feeds.items():
            kinds += name, array.dtype, array.shape
            axis = axes.get(name)
            if axis is None:
                kinds.append(array.tobytes())
            elif array.ndim <= axis or array.shape[axis] != 1:
                raise FeedError(
                    f"input {name!r} has shape {list(array.shape)}; axis {axis} of one stream is 1"
                )
        return tuple(kinds)


class PoolRows:
    """Live streams as rows of one pool. Where rows cannot be put together they are stepped one by one."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pool: Pool = session.pool(FEWEST_ROWS)
        self._inputs = Inputs(session)
        self._together = bool(self._inputs.axes) and not self._pool.one_by_one
        self._rows: list[Row] = []
        self._alone: dict[Hashable, dict[str, tuple[int, ...]]] = {}
        self._parts: dict[Hashable, dict[str, int] | None] = {}

    def key(self, given: Feeds) -> Hashable:
        return self._inputs.key(given)

    @property
    def count(self) -> int:
        """Rows that the pool has, taken or not."""
        return self._pool.count

    def open(self, row: Row) -> None:
        """Gives a stream its row, at the start of the model."""
        if len(self._rows) == self._pool.count:
            self._resize(2 * self._pool.count)
        row.number = self._pool.open()
        self._rows.append(row)

    def close(self, row: Row) -> None:
        """Takes a row back."""
        if row.number < 0:
            return
        self._pool.close(row.number)
        self._rows.remove(row)
        row.number = -1
        if len(self._rows) < self._pool.count // 4 and self._pool.count > FEWEST_ROWS:
            self._resize(self._pool.count // 2)

    def _resize(self, count: int) -> None:
        self._pool = self._pool.resized(count, [row.number for row in self._rows])
        for number, row in enumerate(self._rows):
            row.number = number

    def step(self, streams: Sequence[Row], given: Sequence[Feeds]) -> list[Any]:
        for row in streams:
            if row.number < 0:
                self.open(row)
        key = self.key(given[0])
        if not self._together or len(streams) == 1:
            return [self._step_alone(key, row, feeds) for row, feeds in zip(streams, given)]
        results: list[Any] = []
        if key not in self._alone:
            results.append(self._step_alone(key, streams[0], given[0]))
        while len(results) < len(streams):
            begin = len(results)
            count = min(1 << (len(streams) - begin).bit_length() - 1, MOST_AT_ONCE)
            chosen = streams[begin : begin + count], given[begin : begin + count]
            results += self._step_rows(key, *chosen)
        return results

    def _step_alone(self, key: Hashable, row: Row, feeds: Feeds) -> Any:
        try:
            outputs = self._pool.step([row.number], dict(feeds))
        except TinyseqError as error:
            return error
        if key not in self._alone:
            if len(self._alone) >= MOST_FORMS:
                self._alone.clear()
                self._parts.clear()
            self._alone[key] = {name: array.shape for name, array in outputs.items()}
        return outputs

    def _step_rows(self, key: Hashable, rows: Sequence[Row], feeds: Sequence[Feeds]) -> list[Any]:
        """Steps rows by one call; where it is refused, halves of them, down to the row whose fault it is."""
        if len(rows) == 1:
            return [self._step_alone(key, rows[0], feeds[0])]
        alone = self._alone.get(key)
        parts = self._parts.get(key, {})
        if alone is None or parts is None:
            return [self._step_alone(key, row, own) for row, own in zip(rows, feeds)]
        numbers = [row.number for row in rows]
        saved = None if parts else [self._pool.snapshot(number) for number in numbers]
        try:
            outputs = self._pool.step(numbers, joined(feeds, self._inputs.axes))
        except FeedError:
            half = len(rows) // 2
            return self._step_rows(key, rows[:half], feeds[:half]) + self._step_rows(
                key, rows[half:], feeds[half:]
            )
        if not parts:
            parts = parted(outputs, alone)
            self._parts[key] = parts
            if parts is None:
                for number, state in zip(numbers, saved or ()):
                    self._pool.restore(number, state)
                return [self._step_alone(key, row, own) for row, own in zip(rows, feeds)]
        return [row_of(outputs, parts, place) for place in range(len(rows))]

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


def parted(outputs: Feeds, alone: Mapping[str, tuple[int, ...]]) -> dict[str, int] | None:
    """The axis of the rows of each output of a batch, told by the shapes of one row; None where they have
    none."""
    axes: dict[str, int] = {}
    for name, array in outputs.items():
        axis = parting(array.shape, alone[name])
        if axis is None:
            return None
        axes[name] = axis
    return axes


class StreamRows:
    """Live streams, each a stream of its own: of models that cannot be pooled."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._inputs = Inputs(session)
        self.count = 0

    def key(self, given: Feeds) -> Hashable:
        return self._inputs.key(given)

    def open(self, row: Row) -> None:
        """Gives a stream its state."""
        row.stream = self._session.stream()
        self.count += 1

    def close(self, row: Row) -> None:
        """Gives up a stream."""
        if row.stream is not None:
            row.stream = None
            self.count -= 1

    def step(self, streams: Sequence[Row], given: Sequence[Feeds]) -> list[Any]:
        return [
            self._called(row, lambda stream, own=own: stream.step(own)) for row, own in zip(streams, given)
        ]

    def _called(self, row: Row, call: Callable[[Stream], Any]) -> Any:
        try:
            return call(self._stream(row))
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


class Runs:
    """Whole inputs, each from a fresh state; those of equal shapes are one batch where the model has an open
    one."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._initial = {pair.input: pair.initial for pair in session.state}

    def key(self, given: Feeds) -> Hashable:
        return tuple((name, array.dtype, array.shape) for name, array in sorted(given.items()))

    def step(self, streams: Sequence[Any], given: Sequence[Feeds]) -> list[Any]:
        return [self._run(feeds) for feeds in given]

    def _run(self, feeds: Feeds) -> Any:
        try:
            return self._session.run(self.completed(feeds))
        except TinyseqError as error:
            return error

    def completed(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Feeds with the initial values of the states that they leave out."""
        missing = [
            value for value in self._session.inputs if value.name in self._initial and value.name not in feeds
        ]
        if not missing:
            return dict(feeds)
        sizes = dict(self._sizes(feeds))
        states = {}
        for value in missing:
            initial = self._initial[value.name]
            shape = [size if isinstance(size, int) else sizes.get(size, 1) for size in value.shape or ()]
            start = 0 if initial is None else initial
            states[value.name] = np.array(np.broadcast_to(np.asarray(start, value.dtype), shape))
        return {**feeds, **states}

    def _sizes(self, feeds: Feeds) -> Iterator[tuple[str, int]]:
        """What the feeds tell of open sizes."""
        for value in self._session.inputs:
            shape = np.shape(feeds[value.name]) if value.name in feeds else ()
            for size, given in zip(value.shape or (), shape):
                if isinstance(size, str):
                    yield size, given


def checked(session: Session, feeds: Feeds) -> dict[str, np.ndarray]:
    """Feeds of a run; states may be left out.

    Raises:
        FeedError: names, dtypes or shapes do not fit.
    """
    carried = {pair.input for pair in session.state} - set(feeds)
    return checked_feeds([value for value in session.inputs if value.name not in carried], feeds)
