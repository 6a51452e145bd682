"""From what a builder collected to a plan: buffers get their places, addresses and open sizes their
numbers."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from tinyseq.kernels.instructions import ALIGNMENT, SEGMENT_SHIFT
from tinyseq.plan.builder import ARENA, FIRST_WEIGHT, Builder
from tinyseq.plan.packing import aligned
from tinyseq.plan.sizes import Size, closed
from tinyseq.plan.view import FLOAT, Shape, View

ENDLESS = math.inf
"""Where the last gap of an arena ends, in bytes."""

LARGE = 2**10
"""Bytes from which on it takes longer to copy an input or output than to say where it lies."""


class Region:
    """Where an input or output lies: dense, ``offset`` bytes into the arena. ``value`` instead, where
    planning already knows it.

    One with a ``segment`` of its own may lie anywhere else that suits its elements: the program touches
    nothing beside it, and of an input it only reads the numbers, all of them before any state is written.
    """

    __slots__ = ("dtype", "offset", "segment", "shape", "value")

    def __init__(
        self,
        shape: Shape,
        dtype: np.dtype,
        offset: int = 0,
        value: np.ndarray | None = None,
        segment: int = ARENA,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.offset = offset
        self.value = value
        self.segment = segment


class Plan:
    """A program for one set of shapes, immutable by convention. No process address is in it.

    ``weights`` are the segments that follow arena and state, each an aligned array. Behind them come those
    of single inputs and outputs; ``homes`` says where in the arena these lie if nowhere else. ``places``
    tells of each instruction that may fail, by its place in words, the node it is of. ``turns`` is how often
    a part of the program may be run at the most, where it does not grow with the inputs.
    """

    __slots__ = ("arena_bytes", "homes", "inputs", "outputs", "places", "program", "turns", "weights")

    def __init__(
        self,
        program: np.ndarray,
        weights: tuple[np.ndarray, ...],
        arena_bytes: int,
        inputs: dict[str, Region],
        outputs: dict[str, Region],
        places: dict[int, str],
        turns: int,
        homes: list[int],
    ) -> None:
        self.program = program
        self.weights = weights
        self.arena_bytes = arena_bytes
        self.inputs = inputs
        self.outputs = outputs
        self.places = places
        self.turns = turns
        self.homes = homes

    def addresses(self, arena: int, state: int, weights: Sequence[int]) -> list[int]:
        """Those of all segments, inputs and outputs being in the arena."""
        return [arena, state, *weights, *[arena + home for home in self.homes]]


class Draft:
    """A program in which buffers have no place yet and sizes may be open."""

    def __init__(
        self, builder: Builder, inputs: dict[str, View], outputs: dict[str, View | np.ndarray]
    ) -> None:
        self._inputs = inputs
        self._outputs = {
            name: value if type(value) is View else closed(value) for name, value in outputs.items()
        }
        self._weights = tuple(builder.arrays)
        self._places = builder.places
        self._loop_turns = builder.turns
        self._words, self._open_words = _split(builder.words)
        self._buffers = sorted([b for b in builder.buffers if b.last >= 0], key=lambda b: b.first)
        self._turns = _turns(self._buffers)
        self._number = {id(buffer): number for number, buffer in enumerate(self._buffers)}
        self._positions = np.array([position for position, _, _ in builder.addresses], np.intp)
        self._origins, self._skips, self._open_skips = self._addressed(builder.addresses)
        self._movable = self._movable_views()

    def _addressed(self, addresses) -> tuple[np.ndarray, np.ndarray, list]:
        """For each address its buffer's number, and what is added to where that buffer begins.

        A buffer outside the arena begins at 0, which stands last.
        """
        last = len(self._buffers)
        origins = np.array([self._number.get(id(buffer), last) for _, buffer, _ in addresses], np.intp)
        skips, open_skips = _split([skip for _, _, skip in addresses])
        for index, (_, buffer, _) in enumerate(addresses):
            if buffer.segment:
                skips[index] += (buffer.segment << SEGMENT_SHIFT) + buffer.offset
        return origins, skips, open_skips

    def _movable_views(self) -> list[View]:
        """The inputs that instructions only read, and the outputs that are not inputs: of float32, which is
        also what they are fed and given out as."""
        given = {id(view.buffer) for view in self._inputs.values()}
        results = [value for value in self._outputs.values() if type(value) is View]
        kept = {id(view.buffer) for view in results}
        inputs = [v for v in self._inputs.values() if not v.buffer.changed and id(v.buffer) not in kept]
        outputs = [view for view in results if id(view.buffer) not in given]
        return [view for view in (*inputs, *outputs) if view.dtype == FLOAT]

    def plan(self, values: Sequence[int] = ()) -> Plan:
        """The plan; ``values`` holds the open sizes by their places on the tape."""
        sizes = [_closed(buffer.bytes, values) for buffer in self._buffers]
        placed = _placed(sizes, self._turns)
        wholes = [(self._number[id(view.buffer)], self._bytes(view, values)) for view in self._movable]
        own = [number for number, size in wholes if size >= LARGE and size == sizes[number]]
        return self._plan(values, *placed, own)

    def plans(self, choices: Sequence[Sequence[int]]) -> list[Plan]:
        """A plan for each choice of the open sizes; buffers lie in the same places in all of them, inputs and
        outputs in the arena."""
        sizes = [max(_closed(buffer.bytes, values) for values in choices) for buffer in self._buffers]
        placed = _placed(sizes, self._turns)
        return [self._plan(values, *placed, []) for values in choices]

    def _plan(self, values: Sequence[int], offsets: list[int], arena_bytes: int, own: list[int]) -> Plan:
        """``own`` are the numbers of the buffers that have a segment of their own."""
        program = aligned(len(self._words) * 8).view(np.int64)
        program[:] = self._words
        for position, place in self._open_words:
            program[position] = values[place]
        skips = self._skips.copy()
        for position, place in self._open_skips:
            skips[position] += values[place]
        begins = np.array([*offsets, 0], np.int64)
        segments = {number: FIRST_WEIGHT + len(self._weights) + i for i, number in enumerate(own)}
        for number, segment in segments.items():
            begins[number] = segment << SEGMENT_SHIFT
        program[self._positions] = begins[self._origins] + skips
        inputs, outputs = (
            {name: self._region(value, offsets, values, segments) for name, value in regions.items()}
            for regions in (self._inputs, self._outputs)
        )
        homes = [offsets[number] for number in own]
        turns = self._loop_turns
        return Plan(program, self._weights, arena_bytes, inputs, outputs, self._places, turns, homes)

    def _region(
        self, value: View | np.ndarray, offsets: list[int], values: Sequence[int], segments: dict[int, int]
    ) -> Region:
        if type(value) is not View:
            return Region(value.shape, value.dtype, value=value)
        number = self._number[id(value.buffer)]
        shape, segment = self._shape(value, values), segments.get(number, ARENA)
        return Region(shape, value.dtype, offsets[number], segment=segment)

    def _shape(self, view: View, values: Sequence[int]) -> Shape:
        return tuple([_closed(size, values) for size in view.shape])

    def _bytes(self, view: View, values: Sequence[int]) -> int:
        return math.prod(self._shape(view, values)) * view.itemsize


def _split(words: list) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Words as integers, 0 where a size is open, and where which open size belongs."""
    opened = [(position, word.place) for position, word in enumerate(words) if type(word) is Size]
    if opened:
        words = [0 if type(word) is Size else word for word in words]
    return np.array(words, np.int64), opened


def _closed(size: Size | int, values: Sequence[int]) -> int:
    return values[size.place] if type(size) is Size else size


def _turns(buffers: list) -> list[tuple[int, bool]]:
    """Buffers, sorted by when they come to life, by their numbers in the order in which they take places
    (True) and leave them."""
    ends = sorted(range(len(buffers)), key=lambda number: buffers[number].last, reverse=True)
    turns = []
    for number, buffer in enumerate(buffers):
        while buffers[ends[-1]].last < buffer.first:
            turns.append((ends.pop(), False))
        turns.append((number, True))
    return turns


def _placed(sizes: list[int], turns: list[tuple[int, bool]]) -> tuple[list[int], int]:
    """An offset for every arena buffer so that those alive together do not overlap, and the arena's bytes.

    First fit. The gaps between buffers lie in two lists, by where they begin and end.
    """
    starts, ends = [0], [ENDLESS]
    offsets = [0] * len(sizes)
    total = 0
    for number, arrives in turns:
        size = -(-sizes[number] // ALIGNMENT) * ALIGNMENT
        if arrives:
            place = 0
            while ends[place] - starts[place] < size:
                place += 1
            offset = offsets[number] = starts[place]
            starts[place] = end = offset + size
            if end == ends[place]:
                del starts[place], ends[place]
            if end > total:
                total = end
            continue
        start = offsets[number]
        end = start + size
        place = bisect_left(starts, start)
        if starts[place] == end:
            starts[place] = start
            if place and ends[place - 1] == start:
                del starts[place], ends[place - 1]
        elif place and ends[place - 1] == start:
            ends[place - 1] = end
        else:
            starts.insert(place, start)
            ends.insert(place, end)
    return offsets, total
