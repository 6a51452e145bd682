"""The state of one stream: named fields in a block, which a plan reads and writes where it lies."""

import math
from typing import NamedTuple

import numpy as np

from tinyseq.errors import FeedError, PlanError, UnsupportedError
from tinyseq.ir.model import Model, Value
from tinyseq.kernels.instructions import ALIGNMENT
from tinyseq.plan.builder import STATE, Builder
from tinyseq.plan.kinds import REPORT
from tinyseq.plan.view import FLOAT, Shape, Span, View, collapsed, dense_strides


class StateLayout:
    """Where the fields of one stream's state lie, float32: shapes and offsets in bytes by name.

    Sizes that the model leaves open are those of one row: 1.
    """

    def __init__(self, model: Model) -> None:
        self.pairs = model.state
        self.shapes: dict[str, Shape] = {}
        self.offsets: dict[str, int] = {}
        self.bytes = 0
        inputs = {value.name: value for value in model.graph.inputs}
        for pair in self.pairs:
            value = inputs[pair.input]
            if value.dtype.kind != "f" or value.shape is None:
                raise UnsupportedError(f"state {value} is not a floating-point tensor of known rank")
            shape = tuple(1 if isinstance(size, str) else size for size in value.shape)
            self.shapes[value.name], self.offsets[value.name] = shape, self.bytes
            self.bytes += -(-math.prod(shape) * FLOAT.itemsize // ALIGNMENT) * ALIGNMENT

    def parts(self, block: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of a block of bytes by name."""
        numbers = block.view(FLOAT)
        starts = {name: offset // FLOAT.itemsize for name, offset in self.offsets.items()}
        return {
            name: numbers[starts[name] : starts[name] + math.prod(shape)].reshape(shape)
            for name, shape in self.shapes.items()
        }


class StateInPlace:
    """How a plan reads and writes the state of one stream: where it lies. A ``finite`` state is written only
    if all of it is, but for pairs that begin at other numbers."""

    def __init__(self, layout: StateLayout, finite: bool) -> None:
        self.layout = layout
        self._finite = finite
        self.carried = {pair.input for pair in layout.pairs}
        self.results = {pair.output for pair in layout.pairs}
        self.inputs: tuple[Value, ...] = ()

    def read(self, builder: Builder, given: dict[str, View]) -> dict[str, View]:
        """The fields of the state as tensors."""
        buffer = Span(self.layout.bytes, STATE, 0)
        return {
            name: View(buffer, shape, dense_strides(shape), self.layout.offsets[name] // FLOAT.itemsize)
            for name, shape in self.layout.shapes.items()
        }

    def write(self, builder: Builder, outputs: dict, given: dict[str, View], read: dict[str, View]) -> None:
        """Copies the state outputs over the state, after all of it has been read."""
        moves: list[tuple[View, View]] = []
        for pair in self.layout.pairs:
            target = read[pair.input]
            source = builder.view(outputs[pair.output])
            if source.kind != target.kind:
                raise PlanError(
                    f"state {pair.output!r} of {source.dtype} for {pair.input!r} of {target.dtype}; {REPORT}"
                )
            if source.shape != target.shape:
                raise FeedError(
                    f"state {pair.output!r} came out as {list(source.shape)} and {pair.input!r} of a stream "
                    f"is {list(target.shape)}: a stream is one row; give inputs of one row"
                )
            for part, place in _parts(builder, source, target):
                builder.demand(part)  # what reads the state reads it before any of it is written
                if self._finite and pair.finite and not _lies_in(part, target):
                    part = builder.finite(f"state {pair.input!r}", part)
                moves.append((part, place))
        _write(builder, [(part, place) for part, place in moves if not part.same(place)])


MOST_PARTS = 32
"""Pieces that a state is written in; one of more is put together first."""


def _parts(builder: Builder, source: View, target: View) -> list[tuple[View, View]]:
    """What a state is written with, and where to."""
    ring = builder.ring(source)
    new = ring.next_part(source) if ring is not None and ring.past.same(target) else None
    if new is not None:
        count = target.size - new.size
        places = [
            target.laid((size,), (1,), target.offset + start)
            for start, size in ((0, count), (count, new.size))
        ]
        return [
            (target.laid((count,), (1,), target.offset + new.size), places[0]),
            (new.laid((new.size,), (1,)), places[1]),
        ]
    found = builder.parts_of(source, MOST_PARTS)
    if found[0][1] is source:
        return [(source, target)]
    return [one for bounds, part in found for one in _parts(builder, part, target.sliced(bounds))]


def _lies_in(part: View, field: View) -> bool:
    """Whether a view is of a part of a field of the state."""
    first, last = part.ends
    inside = field.offset <= first and last < field.offset + field.size
    return part.buffer is field.buffer and inside


def _write(builder: Builder, moves: list[tuple[View, View]]) -> None:
    """Copies each source to its place in the state, as if all were read before any is written."""
    downs: list[_Down] = []
    others = []
    for part, place in sorted(moves, key=lambda move: move[1].offset):
        down = _down(part, place)
        if down is None or any(down.reads(former) for former in downs):
            others.append((part, place))
        else:
            downs.append(down)
    staged = [(builder.fresh(part) if part.buffer is place.buffer else part, place) for part, place in others]
    for place, *sizes in downs:
        builder.emit("shift", place, *sizes)
    for part, place in staged:
        builder.copy(part, place)


class _Down(NamedTuple):
    """Rows of ``count`` elements that move down by so many in the state."""

    place: View
    rows: int
    stride: int
    count: int
    by: int

    def reads(self, former: "_Down") -> bool:
        """Whether it reads what a former move has written."""
        for row in range(self.rows):
            start = self.place.offset + self.by + row * self.stride - former.place.offset
            before = start // former.stride
            for place in (max(before, 0), max(before + 1, 0)):
                other = place * former.stride
                if place < former.rows and start < other + former.count and other < start + self.count:
                    return True
        return False


def _down(part: View, place: View) -> _Down | None:
    """A move of elements to places before them, none of which comes to lie where another row still is."""
    if part.buffer is not place.buffer or part.offset <= place.offset:
        return None
    sizes, steps, own = collapsed(place.shape, part.strides, place.strides)
    if steps != own or own[-1] != 1 or len(sizes) > 2:
        return None
    count, by = sizes[-1], part.offset - place.offset
    rows, stride = (sizes[0], own[0]) if len(sizes) > 1 else (1, count + by)
    return _Down(place, rows, stride, count, by) if by + count <= stride else None
