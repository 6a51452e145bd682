"""What a library computes: the programs of a stream's steps, for every number of frames that they may take.

A program is for one place of the stream's clock and for a class of numbers of frames. Within a class the
instructions are the same and their numbers differ; each is a column over the class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from tinyseq.errors import FeedError, ModelError, OptionError
from tinyseq.ir.feeds import checked_array
from tinyseq.ir.model import POSITION, Value, constants_of
from tinyseq.ir.streaming import Streaming
from tinyseq.kernels.instructions import ALIGNMENT
from tinyseq.plan.draft import Plan
from tinyseq.plan.packing import PackedWeights
from tinyseq.plan.planner import Planner
from tinyseq.plan.plans import Formula
from tinyseq.plan.rows import OWNERS, SOURCES, TARGETS, StateRows
from tinyseq.plan.sizes import Wrapped
from tinyseq.plan.stream import StateInPlace, StateLayout
from tinyseq.plan.view import Shape
from tinyseq.runtime.pool import part_of, rows_layout
from tinyseq.runtime.session import Session

MOST_PROGRAMS = 1024
"""Programs of one library."""

MOST_FRAMES, MOST_ROWS = 4096, 4096
"""What a step of a library may be planned for."""


class Request(NamedTuple):
    """What a library is asked to be of: open ``sizes`` and ``given`` inputs by name, the most ``frames`` of
    a step where their number is left to its caller, and how many ``rows`` are stepped together."""

    sizes: Mapping[str, int] = {}
    given: Mapping[str, object] = {}
    frames: int | None = None
    rows: int = 1


class Steps(NamedTuple):
    """Programs for steps of ``counts`` frames, a plan for each, that begin at a place; ``last`` ends the
    stream."""

    place: int
    last: int
    counts: tuple[int, ...]
    plans: list[Plan]


class Stepping(NamedTuple):
    """All that a library computes.

    ``inputs`` are those that a caller gives, ``fixed`` the values of the others that are data. ``state`` is
    what a row's state is at its start, ``state_bytes`` of it the program's; the clock's place follows.
    ``offsets`` says where its fields lie. ``own_frames`` is how many frames a step has where its caller does
    not say.
    """

    session: Session
    request: Request
    streaming: Streaming
    inputs: tuple[Value, ...]
    fixed: Mapping[str, np.ndarray]
    outputs: tuple[Value, ...]
    state: np.ndarray
    state_bytes: int
    all_floats: bool
    steps: tuple[Steps, ...]
    own_frames: int
    offsets: Mapping[str, int]

    @property
    def has_place(self) -> bool:
        """Whether the state says where its stream is."""
        return self.streaming.clock is not None


def stepping(session: Session, request: Request) -> Stepping:
    """The programs of a stream's steps.

    Raises:
        ModelError: the model cannot be streamed, or not as it is asked for; says why.
        FeedError: sizes or inputs do not fit the model; says which.
    """
    return _Planning(session, request).result()


class _Planning:
    def __init__(self, session: Session, request: Request) -> None:
        self.session, self.request = session, request
        self.streaming = session.streaming
        self.model = self.streaming.model
        if request.rows == 1 and session.rows_of_model > 1:
            raise ModelError(
                f"the model was exported for {session.rows_of_model} rows, which are stepped together; "
                f"build it for rows={session.rows_of_model}"
            )
        weights = PackedWeights(constants_of(self.model.graph))
        self.layout, self.axes, state = self._state()
        self.planner = Planner(self.model, weights, state)
        carried = {pair.input for pair in self.model.state} | {POSITION}
        self.own = tuple(value for value in self.model.graph.inputs if value.name not in carried)
        self.sizes = self._sizes()
        self.given = self._given()

    def _state(self):
        finite, rows = self.session.finite, self.request.rows
        if rows == 1:
            layout = StateLayout(self.model)
            return layout, {}, StateInPlace(layout, finite)
        axes, layout = rows_layout(self.session)
        if layout is None:
            raise ModelError(
                f"rows={rows}: the model was exported for one row; leave rows out and step each state by a "
                "call of its own, or export the model with an open batch size"
            )
        if self.streaming.clock is not None:
            layout = layout._replace(bytes=layout.bytes + ALIGNMENT)
        return layout, axes, StateRows(layout, finite)

    @property
    def frame_sizes(self) -> tuple[str, ...]:
        """The open sizes that are numbers of frames."""
        axes = self.streaming.inputs
        sizes = [value.shape[axes[value.name]] for value in self.own if value.name in axes and value.shape]
        return tuple(dict.fromkeys(size for size in sizes if isinstance(size, str)))

    def _sizes(self) -> dict[str, int]:
        """The open sizes by name; those of frames are missing where they are left to the caller."""
        request, frames = self.request, self.frame_sizes
        inputs = {value.name: value for value in self.model.graph.inputs}
        rows = {
            size for pair in self.model.state for size in inputs[pair.input].shape or () if type(size) is str
        }
        names = dict.fromkeys(size for value in self.own for size in value.shape or () if type(size) is str)
        closed = self._closed()
        for name, size in request.sizes.items():
            if closed.get(name, size) != size:
                raise OptionError(f"size {name}={size}: in streams of this model it is {closed[name]}")
            if name not in names and name not in closed:
                raise OptionError(
                    f"size {name}={size}: the model leaves open {', '.join(map(repr, names)) or 'nothing'}"
                )
            if name in frames and request.frames is not None:
                raise OptionError(
                    f"size {name}={size} and frames={request.frames} say the same number; give one of them"
                )
            if name in rows and size != request.rows:
                raise OptionError(f"size {name}={size} is the number of rows; give it as rows={size}")
        if request.frames is not None and not frames:
            raise OptionError(
                f"frames={request.frames}: the model leaves no number of frames open; leave it out"
            )
        rows &= names.keys()
        others = [name for name in names if name not in frames and name not in request.sizes]
        if not rows and len(others) == 1:
            # The states are the model's own affair, so that no name says which size is theirs.
            rows = {*others}
        self.row_sizes = rows
        given = {**dict.fromkeys(names, 1), **dict.fromkeys(rows, request.rows), **request.sizes}
        return {n: size for n, size in given.items() if request.frames is None or n not in frames}

    def _closed(self) -> dict[str, int]:
        """The sizes that the model leaves open and that can only be one number in a stream."""
        own = {value.name: value.shape or () for value in self.own}
        return {
            size: fixed
            for value in self.session.inputs
            for size, fixed in zip(value.shape or (), own.get(value.name, ()))
            if type(size) is str and type(fixed) is int
        }

    def _given(self) -> dict[str, np.ndarray]:
        """The inputs whose values are fixed."""
        own = {value.name: value for value in self.own}
        given = {}
        for name, array in self.request.given.items():
            if name not in own:
                raise FeedError(f"input {name!r} is unknown; the model takes {', '.join(map(repr, own))}")
            given[name] = checked_array(own[name], array, "input")
        missing = sorted(name for name in self.planner.known & own.keys() if name not in given)
        if missing:
            raise FeedError(
                f"input {own[missing[0]]} decides shapes or branches, so it must be known when the library "
                f"is built; give its value: {missing[0]}=..."
            )
        return given

    def _shapes(self, count: int) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {}
        for value in self.own:
            if value.name in self.given:
                shapes[value.name] = self.given[value.name].shape
                continue
            if value.shape is None:
                raise FeedError(f"the model does not say the shape of input {value.name!r}; give its value")
            shape = [self.sizes.get(size, count) if type(size) is str else size for size in value.shape]
            if count == 0 and value.name in self.streaming.inputs:
                shape[self.streaming.inputs[value.name]] = 0
            shapes[value.name] = tuple(shape)
        if self.request.rows > 1:
            shapes |= dict.fromkeys((SOURCES, TARGETS, OWNERS), (self.request.rows,))
        return shapes

    def _known(self, place: int, last: int) -> dict[str, np.ndarray]:
        known = {name: array for name, array in self.given.items() if name in self.planner.known}
        if POSITION in self.planner.known:
            known[POSITION] = np.array([place, last])
        return known

    def _planned(self, place: int, last: int, counts: list[int]) -> Iterator[Steps]:
        """Programs for steps of some numbers of frames."""
        known = self._known(place, last)
        while counts:
            count = counts[-1]
            chosen = self._class(known, counts) if len(counts) > 1 and count > 1 else None
            if chosen is None:
                chosen = [count], [self._at(count, partial(self._plan, count, known))]
            yield Steps(place, last, tuple(chosen[0]), chosen[1])
            counts = [count for count in counts if count not in set(chosen[0])]

    def _plan(self, count: int, known: dict[str, np.ndarray]) -> Plan:
        (plan,) = self.planner.draft(self._shapes(count), known).plans([()])
        return plan

    def _class(self, known, counts: list[int]) -> tuple[list[int], list[Plan]] | None:
        """The counts for which the program of the last one holds, and their plans."""
        opened = {
            (value.name, axis)
            for value in self.own
            if value.name not in self.given
            for axis, size in enumerate(value.shape or ())
            if type(size) is str and size not in self.sizes
        }
        count = counts[-1]
        try:
            formula = self._at(count, lambda: Formula(self.planner, self._shapes(count), opened, known))
        except Wrapped:
            return None
        values = {one: formula.values(self._shapes(one)) for one in counts if one > 1}
        values = {one: found for one, found in values.items() if found is not None}
        return (list(values), formula.draft.plans(list(values.values()))) if count in values else None

    def _at(self, count: int, plan):
        try:
            return plan()
        except FeedError as error:
            apart = self.request.sizes.keys() | self.row_sizes
            hint = ", ".join(f"size {name}=N" for name in self.sizes if name not in apart)
            hint = f" (open sizes that are not given are 1: {hint} sets them)" if hint else ""
            step = f" in a step of {count} frames" if self.request.frames is not None else ""
            raise FeedError(f"{error}{step}{hint}{self.session.doubts}") from error

    def _all_steps(self) -> Iterator[Steps]:
        frames, clock = self.request.frames, self.streaming.clock
        counts = [1] if frames is None else list(range(1, frames + 1))
        if clock is None:
            yield from self._planned(0, 0, counts)
            return
        taken = counts if frames is not None else [self._own_frames()]
        places, found = [0], {0}
        while places:
            place = places.pop()
            yield from self._planned(place, 0, counts)
            yield from self._planned(place, 1, [0])
            reached = {clock.after(place, count, 0) for count in taken} - found
            found |= reached
            places += sorted(reached)

    def _offsets(self) -> dict[str, int]:
        if self.request.rows == 1:
            return self.layout.offsets
        return {field.name: field.offset for field in self.layout.fields}

    def _own_frames(self) -> int:
        for name, axis in self.streaming.inputs.items():
            return self._shapes(1)[name][axis]
        return 1

    def _start(self) -> np.ndarray:
        """A row's state at its start, without its place."""
        block = np.zeros(self.layout.bytes, np.uint8)
        parts = self.layout.parts(block if self.request.rows == 1 else block[np.newaxis])
        for pair in self.model.state:
            if pair.initial is not None and self.request.rows == 1:
                parts[pair.input][...] = pair.initial
            elif pair.initial is not None:
                field = parts[pair.input][0]
                field[...] = part_of(pair.initial, field, self.axes[pair.input])
        return block

    def result(self) -> Stepping:
        steps = []
        for one in self._all_steps():
            steps.append(one)
            if len(steps) > MOST_PROGRAMS:
                raise ModelError(
                    f"a library for steps of up to {self.request.frames} frames takes more than "
                    f"{MOST_PROGRAMS} programs; ask for fewer frames"
                )
        start = self._start()
        used = start.size
        if self.streaming.clock is not None:
            if self.request.rows > 1:
                used -= ALIGNMENT
            else:
                start = np.concatenate([start, np.zeros(ALIGNMENT, np.uint8)])
        order = {value.name: value for value in self.model.graph.outputs}
        outputs = tuple(order[name] for name in steps[0].plans[0].outputs)
        fixed = {name: array for name, array in self.given.items() if name not in self.planner.known}
        if self.request.rows > 1:
            fixed |= dict.fromkeys((SOURCES, TARGETS, OWNERS), np.arange(self.request.rows))
        inputs = tuple(value for value in self.own if value.name not in self.given)
        floats = self.request.rows == 1 or all(field.dtype.kind == "f" for field in self.layout.fields)
        return Stepping(
            self.session,
            self.request._replace(given=self.given),
            self.streaming,
            inputs,
            fixed,
            outputs,
            start,
            used,
            floats,
            tuple(steps),
            self._own_frames(),
            self._offsets(),
        )
