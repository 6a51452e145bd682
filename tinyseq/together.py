"""Together: live streams of one model, each with a state of its own, stepped by as few calls as may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice, product

import numpy as np

from tinyseq.errors import FeedError, ModelError
from tinyseq.model import rows_meet
from tinyseq.pool import Pool
from tinyseq.session import Session, Stream

Feeds = Mapping[str, np.ndarray]
Axes = dict[str, int]

MOST_FORMS = 64
"""Shapes of feeds for which it is remembered how they are put together."""

MOST_TRIALS = 8
"""Ways of putting feeds of some shapes together that are tried."""


class Together:
    """Steps streams of a model, those whose feeds have equal shapes as rows of a pool.

    Where the rows of inputs and outputs lie is found out by trying: the first time that feeds of some shapes
    meet, each stream is stepped alone, and what a pool gives for all of them must be the same in every bit.
    Where no way does, or rows see each other as dynamically quantised layers have it, streams are stepped
    alone for ever. Several threads may step different streams.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._alone = rows_meet(session.stream_graph)
        self._open = {
            value.name: {axis for axis, size in enumerate(value.shape or ()) if isinstance(size, str)}
            for value in session.stream_graph.inputs
        }
        self._forms: dict[tuple, tuple[Axes, Axes] | None] = {}
        self._idle: list[Pool] = []

    def step(self, streams: Sequence[Stream], feeds: Sequence[Feeds]) -> list[Feeds]:
        """The outputs for each of several streams' next chunks; their states are advanced.

        Raises:
            FeedError: a feed is refused; streams before it may have been advanced.
        """
        results: list[Feeds] = [{}] * len(streams)
        arrays = [{name: np.asarray(array) for name, array in own.items()} for own in feeds]
        alike: dict[tuple, list[int]] = {}
        for number, own in enumerate(arrays):
            alike.setdefault(self._key(own), []).append(number)
        for key, numbers in alike.items():
            given = [streams[number] for number in numbers], [arrays[number] for number in numbers]
            for number, result in zip(numbers, self._step_alike(key, *given)):
                results[number] = result
        return results

    def _key(self, feeds: Feeds) -> tuple:
        """What feeds must have in common to be put together: shapes, and what has no rows altogether."""
        return tuple(
            (name, array.shape, array.dtype.str, None if self._places(name, array) else array.tobytes())
            for name, array in sorted(feeds.items())
        )

    def _places(self, name: str, array: np.ndarray) -> list[int]:
        """The axes that may be that of the rows."""
        opened = self._open.get(name, ())
        return [axis for axis, size in enumerate(array.shape) if size == 1 and axis in opened]

    def _step_alike(self, key: tuple, streams: list[Stream], feeds: list[Feeds]) -> list[Feeds]:
        if len(streams) == 1 or self._alone:
            return [stream.step(own) for stream, own in zip(streams, feeds)]
        if key not in self._forms:
            return self._try(key, streams, feeds)
        form = self._forms[key]
        if form is None:
            return [stream.step(own) for stream, own in zip(streams, feeds)]
        pool = self._pool(len(streams))
        pool.take([stream.state for stream in streams])
        outputs = pool.step_rows(len(streams), _joined(feeds, form[0]))
        pool.give([stream.state for stream in streams])
        self._idle.append(pool)
        return [_row(outputs, form[1], row) for row in range(len(streams))]

    def _try(self, key: tuple, streams: list[Stream], feeds: list[Feeds]) -> list[Feeds]:
        """Steps the streams one by one, and finds a way in which a pool does the same."""
        before = [stream.snapshot() for stream in streams]
        results = [stream.step(own) for stream, own in zip(streams, feeds)]
        if any(_same([own], feeds[:1]) for own in feeds[1:]):
            # Equal feeds, such as silence, prove nothing.
            return results
        if len(self._forms) >= MOST_FORMS:
            self._forms.clear()
        self._forms[key] = None
        try:
            pool = self._pool(len(streams))
        except ModelError:
            self._alone = True
            return results
        names = [name for name in feeds[0] if self._places(name, feeds[0][name])]
        ways = product(*(self._places(name, feeds[0][name]) for name in names))
        for way in islice(ways, MOST_TRIALS if names else 0):
            axes = dict(zip(names, way))
            pool.take(before)
            try:
                outputs = pool.step_rows(len(streams), _joined(feeds, axes))
            except FeedError:
                continue
            after = [{name: np.array(array) for name, array in stream.state.items()} for stream in streams]
            found = [{name: np.empty_like(array) for name, array in own.items()} for own in after]
            pool.give(found)
            rows = _row_axes(outputs, results[0], len(streams))
            if rows is not None and _same(found, after):
                if _same([_row(outputs, rows, row) for row in range(len(streams))], results):
                    self._forms[key] = axes, rows
                    break
        self._idle.append(pool)
        return results

    def _pool(self, count: int) -> Pool:
        """A pool that nobody else uses, of so many rows at least."""
        try:
            pool = self._idle.pop()
        except IndexError:
            return self._session.pool(count)
        return pool if pool.count >= count else self._session.pool(1 << (count - 1).bit_length())


def _joined(feeds: list[Feeds], axes: Axes) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate([own[name] for own in feeds], axes[name]) if name in axes else array
        for name, array in feeds[0].items()
    }


def _row(outputs: Feeds, axes: Axes, row: int) -> Feeds:
    return {
        name: array[(slice(None),) * axes[name] + (slice(row, row + 1),)] if name in axes else array
        for name, array in outputs.items()
    }


def _row_axes(outputs: Feeds, alone: Feeds, count: int) -> Axes | None:
    """Where outputs have their rows; None if they cannot be parted into those of single streams."""
    axes = {}
    for name, array in outputs.items():
        one = alone[name].shape
        differing = [axis for axis, sizes in enumerate(zip(array.shape, one)) if sizes[0] != sizes[1]]
        if array.ndim != len(one) or len(differing) > 1:
            return None
        if differing:
            axes[name] = differing[0]
            if (array.shape[differing[0]], one[differing[0]]) != (count, 1):
                return None
    return axes


def _same(found: Sequence[Feeds], wanted: Sequence[Feeds]) -> bool:
    return all(
        own[name].shape == array.shape and own[name].tobytes() == array.tobytes()
        for own, other in zip(found, wanted)
        for name, array in other.items()
    )
