"""Together: live streams of one model, each with a state of its own, stepped by as few calls as may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product

import numpy as np

from tinyseq.errors import FeedError, ModelError
from tinyseq.ir.feeds import checked_feeds
from tinyseq.ir.model import rows_meet
from tinyseq.runtime.pool import Pool
from tinyseq.runtime.session import Session
from tinyseq.runtime.stream import Stream

Feeds = Mapping[str, np.ndarray]
Axes = dict[str, int]

MOST_FORMS = 64
"""Shapes of feeds for which it is remembered how they are put together."""

MOST_WAYS = 8
"""Ways of putting feeds of some shapes together that are tried."""


class BatchForm:
    """How feeds of some shapes are put together: ``shapes`` of one stream's outputs, and the axes of the rows
    of inputs and outputs, once a way was found; None where there is none."""

    def __init__(self, results: Feeds) -> None:
        self.shapes = {name: array.shape for name, array in results.items()}
        self.axes: tuple[Axes, Axes] | None = None


class Together:
    """Steps streams of a model, those whose feeds have equal shapes as rows of a pool.

    Feeds are joined along open axes of size 1. The states have their rows where the model says, so a wrong
    axis is one that the model refuses, or whose outputs do not part into rows: the first way that fits is
    taken, and where none does, streams are stepped alone; so are those of models whose rows see each other,
    as dynamically quantised layers have it. Several threads may step different streams.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._alone = rows_meet(session.stream_graph) or not session.steps_alike
        carried = {pair.input for pair in session.state}
        self._inputs = [value for value in session.stream_inputs if value.name not in carried]
        self._names = {value.name for value in self._inputs}
        self._open = {
            value.name: {axis for axis, size in enumerate(value.shape or ()) if isinstance(size, str)}
            for value in session.stream_graph.inputs
        }
        self._forms: dict[tuple, BatchForm | None] = {}
        self._idle: list[Pool] = []

    def step(self, streams: Sequence[Stream], feeds: Sequence[Feeds]) -> list[Feeds | FeedError]:
        """The outputs for each of several streams' next chunks, whose states are advanced, or why a stream's
        was refused, whose state is as before."""
        arrays: list[Feeds] = [{}] * len(streams)
        alike: dict[tuple, list[int]] = {}
        results: list[Feeds | FeedError] = [{}] * len(streams)
        for number, own in enumerate(feeds):
            try:
                arrays[number] = self._arrays(own)
            except FeedError as error:
                results[number] = error
                continue
            alike.setdefault(self._key(arrays[number]), []).append(number)
        for key, numbers in alike.items():
            chosen = [streams[number] for number in numbers], [arrays[number] for number in numbers]
            for number, result in zip(numbers, self._step_alike(key, *chosen)):
                results[number] = result
        return results

    def _arrays(self, feeds: Feeds) -> Feeds:
        """The feeds as arrays; checked, unless they are arrays of names that the model takes."""
        plain = all(type(array) is np.ndarray for array in feeds.values()) and self._names.issuperset(feeds)
        return feeds if plain else checked_feeds(self._inputs, feeds)

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

    def _step_alike(
        self, key: tuple, streams: Sequence[Stream], feeds: Sequence[Feeds]
    ) -> list[Feeds | FeedError]:
        form = None if self._alone or len(streams) == 1 else self._forms.get(key)
        if form is not None:
            together = self._step_rows(form, streams, feeds)
            if together is not None:
                return together
            if form.axes is None:
                self._forms[key] = None
        results = [_stepped(stream, own) for stream, own in zip(streams, feeds)]
        taken = [result for result in results if not isinstance(result, FeedError)]
        if taken and key not in self._forms:
            if len(self._forms) >= MOST_FORMS:
                self._forms.clear()
            self._forms[key] = BatchForm(taken[0])
        return results

    def _step_rows(
        self, form: BatchForm, streams: Sequence[Stream], feeds: Sequence[Feeds]
    ) -> list[Feeds] | None:
        """The outputs of one call for all; None, no state being changed, if no way fits."""
        try:
            pool = self._pool(len(streams))
        except ModelError:
            self._alone = True
            return None
        if pool.one_by_one:
            self._alone = True
            return None
        states = [stream.state for stream in streams]
        for axes in self._ways(feeds[0]) if form.axes is None else (form.axes[0],):
            pool.take(states)
            try:
                outputs = pool.step_rows(len(streams), joined(feeds, axes))
            except FeedError:
                continue
            parts = {name: parting(array.shape, form.shapes[name]) for name, array in outputs.items()}
            if None in parts.values():
                continue
            form.axes = axes, parts
            pool.give(states)
            self._idle.append(pool)
            return [row_of(outputs, parts, row) for row in range(len(streams))]
        return None

    def _ways(self, feeds: Feeds) -> Iterator[Axes]:
        """Which axis of each input may be that of the rows."""
        names = [name for name, array in feeds.items() if self._places(name, array)]
        ways = product(*(self._places(name, feeds[name]) for name in names))
        return (dict(zip(names, way)) for way in islice(ways, MOST_WAYS if names else 0))

    def _pool(self, count: int) -> Pool:
        """A pool that nobody else uses, of so many rows at least."""
        try:
            pool = self._idle.pop()
        except IndexError:
            return self._session.pool(count)
        return pool if pool.count >= count else self._session.pool(1 << (count - 1).bit_length())


def _stepped(stream: Stream, feeds: Feeds) -> Feeds | FeedError:
    try:
        return stream.step(feeds)
    except FeedError as error:
        return error


def joined(feeds: Sequence[Feeds], axes: Axes) -> dict[str, np.ndarray]:
    """Feeds of a row each as those of a batch; of what has no axis of rows, the first one's."""
    return {
        name: np.concatenate([own[name] for own in feeds], axes[name]) if name in axes else array
        for name, array in feeds[0].items()
    }


def row_of(outputs: Feeds, axes: Axes, row: int) -> Feeds:
    """The outputs of one row of a batch."""
    return {
        name: array[(slice(None),) * axes[name] + (slice(row, row + 1),)] for name, array in outputs.items()
    }


def parting(shape: tuple[int, ...], alone: tuple[int, ...]) -> int | None:
    """The axis along which an output of many rows parts into those of one each."""
    differing = [axis for axis, sizes in enumerate(zip(shape, alone)) if sizes[0] != sizes[1]]
    fits = len(shape) == len(alone) and len(differing) == 1 and alone[differing[0]] == 1
    return differing[0] if fits else None
