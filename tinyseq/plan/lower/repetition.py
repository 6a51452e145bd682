"""A graph that runs turn by turn: planned once with a jump back, or every turn on its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import FeedError, UnsupportedError
from tinyseq.kernels.instructions import GATHER, MOST_TURNS, OVERWRITE
from tinyseq.plan.lower.elementwise import apply
from tinyseq.plan.lower.operands import along, joined, reshaped
from tinyseq.plan.sizes import Size
from tinyseq.plan.view import BOOL, INTEGER, Shape, View, dense_strides
from tinyseq.shapes import axis_of

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder

Operand = np.ndarray | View

ENDLESS = 2**63 - 1
"""The trip count of a loop that only its condition ends."""

MOST_KNOWN_BYTES = 2**20
"""A carried value that grows above this is computed at run time, even if planning could know it."""


def element_type(value: Operand) -> np.dtype:
    """The type of a tensor's elements; known sizes, of which some may be open, are integers."""
    return INTEGER if value.dtype == object else value.dtype


def alike(one: Operand, other: Operand) -> bool:
    """Whether two tensors are of one type and shape."""
    return element_type(one) == element_type(other) and one.shape == other.shape


def type_of(value: Operand) -> str:
    """Element type and shape, as messages say them."""
    return f"{element_type(value)}{list(value.shape)}"


def is_large(value: Operand) -> bool:
    """Whether a known tensor is data rather than numbers that decide something."""
    return isinstance(value, np.ndarray) and value.nbytes > MOST_KNOWN_BYTES


class Line:
    """An axis along which elements are read or written turn by turn, perhaps from the end."""

    def __init__(self, axis: int, backward: bool) -> None:
        self.axis = axis
        self.backward = backward

    def place(self, turn: int, count: int) -> int:
        """Where the element of a turn is."""
        return count - 1 - turn if self.backward else turn

    def stacked(self, shape: Shape, count: int) -> tuple[Shape, int]:
        """The shape of ``count`` elements of a shape side by side, and the axis, counted from the front."""
        axis = axis_of(self.axis, len(shape) + 1)
        return (*shape[:axis], count, *shape[axis:]), axis


class Repetition:
    """A graph that runs turn by turn.

    Its two forms give carried values and stacked results: ``jumping`` plans one turn and jumps back;
    ``unrolled`` plans every turn, each with its own known values.
    """

    def __init__(
        self,
        p: Builder,
        node: Node,
        body: Callable,
        trips: View | Size | int,
        goes_on: View | int,
        carried: list[Operand],
        fixed: Collection[int],
        sequences: list[tuple[Operand, Line]],
        stacks: list[Line | None],
    ) -> None:
        """``body(turn, carried, elements)`` gives a condition, the next carried values and the results to
        stack; a stack of None is not wanted. ``trips`` is ``ENDLESS`` where only the condition ends it. The
        ``fixed`` carried values, by number, come out of the body as they go in."""
        self.p, self.node, self.body = p, node, body
        self.trips, self.goes_on = (trips, goes_on) if isinstance(goes_on, View) or goes_on else (0, 1)
        self.carried, self.fixed, self.sequences, self.stacks = carried, fixed, sequences, stacks

    def planned(self, known: bool) -> list[Operand]:
        """The outputs, in the form that fits."""
        mark = self.p.mark()
        refusals = []
        for form in (self.unrolled, self.jumping) if known else (self.jumping, self.unrolled):
            try:
                return form()
            except UnsupportedError as error:
                self.p.rewind(mark)
                refusals.append(str(error))
        jumping, unrolled = reversed(refusals) if known else refusals
        # What a node inside says is said once, or messages would double with each loop around it.
        nor = "" if unrolled.startswith("node ") else f". Nor can its turns be planned one by one: {unrolled}"
        raise UnsupportedError(
            f"it cannot run as a loop: {jumping}{nor}. The reference (device='reference') runs it"
        )

    def jumping(self) -> list[Operand]:
        p = self.p
        state = [value if i in self.fixed else p.fresh(p.view(value)) for i, value in enumerate(self.carried)]
        sequences = [(p.dense(p.view(x)), line) for x, line in self.sequences]
        counter = p.fresh(p.constant(np.array(-1)))
        leaving = [p.emit_jump("jump_unless", self.goes_on)] if isinstance(self.goes_on, View) else []
        start = p.mark()
        computed = isinstance(self.trips, View)
        p.note_turns(MOST_TURNS if computed else self.trips if type(self.trips) is int else 1)
        leaving.append(p.emit_jump("turn", counter, ENDLESS if computed else self.trips))
        if computed:
            left = apply(p, "less", counter, self.trips.reshaped(()), dtype=BOOL)
            leaving.append(p.emit_jump("jump_unless", left))
        if not self.sequences:
            p.spend_turn(self.node)
        elements = [self._element(x, line, counter) for x, line in sequences]
        goes_on, following, results = self.body(counter, state, elements)
        self._check_carried(self.carried, following, fixed=True)
        stacks = self._stacked(results, goes_on, counter)
        moves = [
            (p.view(value), target)
            for i, (value, target) in enumerate(zip(following, state))
            if i not in self.fixed
        ]
        if isinstance(goes_on, View):
            flag = p.allocate((), dtype=BOOL)
            p.move([*moves, (goes_on.reshaped(()), flag)])
            leaving.append(p.emit_jump("jump_unless", flag))
        else:
            p.move(moves)
        if isinstance(goes_on, View) or goes_on:
            p.repeat(start)
        for jump in leaving:
            p.land(jump)
        p.outlive(start, [stack for stack in stacks if stack is not None])
        return state + stacks

    def _check_carried(self, before: list[Operand], after: list[Operand], fixed: bool) -> None:
        """Refuses values that change their type or, if ``fixed``, their shape."""
        for number, (old, new) in enumerate(zip(before, after)):
            if element_type(old) != element_type(new) or (fixed and not alike(old, new)):
                raise UnsupportedError(
                    f"its carried value {number} is {type_of(old)} before and {type_of(new)} after a turn; "
                    "it must keep its type, and its shape where one plan serves all turns"
                )

    def _element(self, x: View, line: Line, counter: View) -> View:
        """The element of x whose turn it is."""
        y = self.p.allocate(x.shape[: line.axis] + x.shape[line.axis + 1 :], dtype=x.dtype)
        self._exchange(x, line, counter, y, GATHER)
        return y

    def _exchange(self, x: View, line: Line, counter: View, y: View, store: int) -> None:
        """Reads y from its place in x, dense, or writes it there."""
        if x.size == 0:
            return
        count = x.shape[line.axis]
        step = dense_strides(x.shape)[line.axis]
        first = x.laid(x.shape, x.strides, x.offset + line.place(0, count) * step)
        inner = step * x.itemsize
        tail = [count, -inner if line.backward else inner, 0]
        outer = math.prod(x.shape[: line.axis])
        self.p.emit_checked(
            self.node, "gather", first, counter, y, outer, count * inner, 1, 1, inner, store, tail
        )

    def _stacked(self, results: list[Operand], goes_on: View | int, counter: View) -> list[View | None]:
        if all(line is None for line in self.stacks):
            return [None] * len(self.stacks)
        if any(isinstance(computed, View) for computed in (self.trips, self.goes_on, goes_on)):
            raise UnsupportedError(
                "how many turns it makes is computed at run time, and with it the size of its scan outputs: "
                "drop these outputs, or let a trip count alone end it that is a constant, a size or an "
                "integer input"
            )
        count = max(0, self.trips if goes_on else min(self.trips, 1))
        if count > MOST_TURNS:
            raise FeedError(
                f"{self.node} is asked for {count:,} turns; {MOST_TURNS:,} are the most in one run: "
                "check its trip count, or feed less at a time"
            )
        return [
            None if line is None else self._stack(self.p.view(result), line, count, counter)
            for line, result in zip(self.stacks, results)
        ]

    def _stack(self, result: View, line: Line, count: int, counter: View) -> View:
        shape, axis = line.stacked(result.shape, count)
        stack = self.p.allocate(shape, dtype=result.dtype)
        self._exchange(stack, Line(axis, line.backward), counter, self.p.dense(result), OVERWRITE)
        return stack

    def unrolled(self) -> list[Operand]:
        p = self.p
        goes_on, carried, turns = self.goes_on, self.carried, []
        for turn in itertools.count():
            if isinstance(self.trips, View) or isinstance(goes_on, View):
                raise UnsupportedError("how many they are is computed at run time")
            if not goes_on or turn >= self.trips:
                break
            p.planned_turns.unroll()
            elements = [_element_of(p, x, line, turn) for x, line in self.sequences]
            before = carried
            goes_on, carried, results = self.body(np.array(turn), carried, elements)
            self._check_carried(before, carried, fixed=False)
            carried = [p.view(v) if is_large(v) and i not in self.fixed else v for i, v in enumerate(carried)]
            turns.append(results)
        if not turns and any(line is not None for line in self.stacks):
            return [*carried, *self._empty()]
        return [*carried, *[self._joined([r[i] for r in turns], line) for i, line in enumerate(self.stacks)]]

    def _joined(self, parts: list[Operand], line: Line | None) -> Operand | None:
        """The results of all turns along a new axis."""
        if line is None:
            return None
        if not all(alike(part, parts[0]) for part in parts):
            types = " and ".join(dict.fromkeys(map(type_of, parts)))
            raise UnsupportedError(f"its turns give {types} for one scan output")
        parts = parts[::-1] if line.backward else parts
        one, axis = line.stacked(parts[0].shape, 1)
        if all(isinstance(part, np.ndarray) for part in parts):
            return np.stack(parts, axis)
        return joined(self.p, [reshaped(self.p, self.p.view(part), one) for part in parts], axis)

    def _empty(self) -> list[np.ndarray | None]:
        """What no turn gives, of the shapes that a turn would give."""
        mark = self.p.mark()
        elements = [_element_of(self.p, x, line, 0) for x, line in self.sequences]
        _, _, results = self.body(np.array(0), self.carried, elements)
        self.p.rewind(mark)
        return [
            None if line is None else np.zeros(line.stacked(result.shape, 0)[0], result.dtype)
            for line, result in zip(self.stacks, results)
        ]


def _element_of(p: Builder, x: Operand, line: Line, turn: int) -> Operand:
    """An element of x; any, where there is none."""
    rest = x.shape[: line.axis] + x.shape[line.axis + 1 :]
    count = x.shape[line.axis]
    if not count:
        return p.allocate(rest, dtype=x.dtype)
    if isinstance(x, np.ndarray):
        return np.take(x, line.place(turn, count), line.axis)
    return along(x, line.axis, line.place(turn, count), 1).reshaped(rest)
