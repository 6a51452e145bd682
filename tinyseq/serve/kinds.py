"""Kinds of chunks: what may be stepped together, how it is put together, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np

from tinyseq.errors import FeedError
from tinyseq.ir.model import rows_meet
from tinyseq.runtime.batching import joined, parting
from tinyseq.runtime.session import Session

Feeds = Mapping[str, np.ndarray]
Shapes = tuple[tuple[str, np.dtype, tuple[int, ...]], ...]
"""Names, types and shapes of some arrays."""

MOST_KINDS = 256
"""Kinds that are remembered; beyond them all are forgotten."""


class Kind:
    """Chunks of equal names, types and shapes, whose inputs without rows hold the same numbers.

    ``seconds`` is what a row of a step takes: infinite until two steps were done. ``shapes`` are those of
    the outputs of one row, None before the first; ``parts`` the axes of the rows in outputs of several,
    None before it was tried, and {} where the outputs do not part into rows.
    """

    __slots__ = ("_places", "layout", "parts", "seconds", "shapes", "steps")

    def __init__(self, layout: Layout | None = None) -> None:
        self._places: dict[bytes, Kind] = {}
        self.layout = layout
        self.seconds = inf
        self.steps = 0
        self.shapes: Shapes | None = None
        self.parts: dict[str, int] | None = None

    def took(self, seconds: float) -> None:
        """Learns what a row of a step took: the least of late, as another process may have had the core. The
        first step is also planned, which says nothing of others."""
        self.steps += 1
        if self.steps > 1:
            self.seconds = min(seconds, 1.05 * self.seconds)

    def at(self, place: bytes) -> Kind:
        """The kind of such chunks at a place of their streams; see ``Pool.places``."""
        if not place:
            return self
        if place not in self._places:
            if len(self._places) >= MOST_KINDS:
                self._places.clear()
            self._places[place] = Kind(self.layout)
        return self._places[place]


class Place(NamedTuple):
    """Where an array lies in the bytes of a chunk."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class Layout:
    """How chunks lie in bytes: arrays one behind the other. ``fixed`` are arrays that are the same in all."""

    def __init__(self, places: Sequence[Place], fixed: Feeds) -> None:
        self.places = tuple(places)
        self.fixed = dict(fixed)
        self.size = places[-1].end if places else 0

    def arrays(self, data: bytes) -> dict[str, np.ndarray]:
        """The arrays of a chunk."""
        found = dict(self.fixed)
        for name, dtype, shape, begin, end in self.places:
            found[name] = np.frombuffer(data[begin:end], dtype).reshape(shape)
        return found

    def joined(self, chunks: Sequence[bytes], axes: Mapping[str, int]) -> dict[str, np.ndarray]:
        """The arrays of several chunks as those of a batch."""
        count = len(chunks)
        found = {
            name: np.repeat(array, count, axes[name]) if name in axes else array
            for name, array in self.fixed.items()
        }
        for name, dtype, shape, begin, end in self.places:
            axis = axes.get(name)
            if axis is None:
                found[name] = np.frombuffer(chunks[0][begin:end], dtype).reshape(shape)
                continue
            parts = chunks if end - begin == self.size else [data[begin:end] for data in chunks]
            rows = np.frombuffer(b"".join(parts), dtype).reshape(-1, *shape[:axis], *shape[axis + 1 :])
            found[name] = rows if axis == 0 else np.ascontiguousarray(np.moveaxis(rows, 0, axis))
        return found

    def told(self) -> tuple[Any, ...]:
        """What layouts of one kind have in common."""
        return self.places, tuple((name, *_of(array)) for name, array in sorted(self.fixed.items()))


def _of(array: np.ndarray) -> tuple[Any, ...]:
    return array.dtype, array.shape, array.tobytes()


class Inputs:
    """What a step of a stream takes: tells the kinds of chunks, and puts those of one kind together."""

    def __init__(self, session: Session) -> None:
        carried = {pair.input for pair in session.state}
        self.values = [value for value in session.stream_inputs if value.name not in carried]
        groups = session.rows_fed if not rows_meet(session.stream_graph) else ()
        self.axes = dict(groups[0]) if len(groups) == 1 else {}
        """Of each input that has rows, their axis; {} where rows cannot be put together."""
        self._kinds: dict[Any, Kind] = {}

    def kind(self, feeds: Feeds) -> Kind:
        """The kind of a chunk.

        Raises:
            FeedError: an array is of more rows than one.
        """
        self._check([(name, array.shape) for name, array in feeds.items()])
        told = tuple(
            (name, array.dtype, array.shape, array.tobytes() if self.axes and name not in self.axes else None)
            for name, array in sorted(feeds.items())
        )
        return self._known(told) or self._new(told, None)

    def packed_kind(self, layout: Layout) -> Kind | None:
        """The kind of chunks that are laid out so; None if each may be of another, as inputs without rows are
        in their bytes.

        Raises:
            FeedError: an array is of more rows than one.
        """
        shapes = [(place.name, place.shape) for place in layout.places]
        self._check([*shapes, *((name, array.shape) for name, array in layout.fixed.items())])
        if self.axes and any(place.name not in self.axes for place in layout.places):
            return None
        told = layout.told()
        return self._known(told) or self._new(told, layout)

    def _known(self, told: Any) -> Kind | None:
        return self._kinds.get(told)

    def _new(self, told: Any, layout: Layout | None) -> Kind:
        if len(self._kinds) >= MOST_KINDS:
            self._kinds.clear()
        kind = self._kinds[told] = Kind(layout)
        return kind

    def _check(self, shapes: Sequence[tuple[str, tuple[int, ...]]]) -> None:
        for name, shape in shapes:
            axis = self.axes.get(name)
            if axis is not None and (len(shape) <= axis or shape[axis] != 1):
                raise FeedError(
                    f"input {name!r} has shape {list(shape)}; of one stream, axis {axis} is of size 1"
                )

    def joined(self, kind: Kind, given: Sequence[Any]) -> dict[str, np.ndarray]:
        """Chunks of a kind as a batch."""
        if kind.layout is not None:
            return kind.layout.joined(given, self.axes)
        return joined(given, self.axes)

    def arrays(self, kind: Kind, given: Any) -> dict[str, np.ndarray]:
        """A chunk as arrays."""
        return dict(given) if kind.layout is None else kind.layout.arrays(given)


class Batch:
    """The outputs of a step, from which the rows take theirs."""

    __slots__ = ("_bytes", "arrays", "parts", "shapes")

    def __init__(self, arrays: Feeds, shapes: Shapes, parts: dict[str, int] | None) -> None:
        self.arrays = arrays
        self.shapes = shapes
        self.parts = parts
        self._bytes: list[tuple[bytes, int]] | None = None

    def bytes_of(self, row: int) -> bytes:
        """The arrays of a row, one behind the other."""
        if self._bytes is None:
            self._bytes = [self._of(*told) for told in self.shapes]
        if len(self._bytes) == 1:
            data, size = self._bytes[0]
            return data[row * size : (row + 1) * size]
        return b"".join([data[row * size : (row + 1) * size] for data, size in self._bytes])

    def _of(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> tuple[bytes, int]:
        array = self.arrays[name]
        if self.parts:
            array = np.moveaxis(array, self.parts[name], 0)
        data = array.tobytes()
        return data, len(data) // (len(array) if self.parts else 1)


class Outputs(Mapping[str, np.ndarray]):
    """The outputs of one stream's step: arrays by name, cut out of the step's when they are asked for.

    ``shapes`` says names, types and shapes, and is often the same object as that of the step before.
    """

    __slots__ = ("_batch", "_row", "shapes")

    def __init__(self, batch: Batch, row: int) -> None:
        self._batch = batch
        self._row = row
        self.shapes = batch.shapes

    def __getitem__(self, name: str) -> np.ndarray:
        batch = self._batch
        array = batch.arrays[name]
        if not batch.parts:
            return array
        cut = (slice(None),) * batch.parts[name] + (slice(self._row, self._row + 1),)
        return array[cut]

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch.arrays)

    def __len__(self) -> int:
        return len(self._batch.arrays)

    def to_bytes(self) -> bytes:
        """The arrays one behind the other, in the order of ``shapes``."""
        return self._batch.bytes_of(self._row)


def shapes_of_one(batch: Feeds, parts: Mapping[str, int]) -> Shapes:
    """Names, types and shapes of a row of a batch."""
    shapes = shapes_of(batch)
    return tuple(
        [
            (name, dtype, (*shape[: parts[name]], 1, *shape[parts[name] + 1 :]))
            for name, dtype, shape in shapes
        ]
    )


def outputs_of_one(arrays: Feeds) -> Outputs:
    """The outputs of a step of one stream."""
    return Outputs(Batch(arrays, shapes_of(arrays), None), 0)


def shapes_of(arrays: Feeds) -> Shapes:
    """Names, types and shapes."""
    return tuple([(name, array.dtype, array.shape) for name, array in arrays.items()])


def parted(outputs: Feeds, alone: Shapes) -> dict[str, int]:
    """The axis of the rows of each output of a batch, told by the shapes of one row; {} without one."""
    axes: dict[str, int] = {}
    for name, _, shape in alone:
        axis = parting(outputs[name].shape, shape)
        if axis is None:
            return {}
        axes[name] = axis
    return axes
