"""Rings: the frames that a streaming graph keeps for its next step, written into the graph."""

from __future__ import annotations

import numpy as np

from tinyseq.ir.model import POSITION, Model, ModelGraph, Node, StatePair, Value, filled_attributes
from tinyseq.ir.ops import OPS
from tinyseq.passes.prune import prune

END = np.iinfo(np.int64).max

DIGITS = np.array([1, 2**22, 2**44])
"""What the digits of whole numbers in states are worth: float32 holds each of them exactly, and the three all
of an int64."""

BASES = np.array([2**22, 2**22, 2**20])


class Rings:
    """Nodes, state and constants of a streaming graph under construction."""

    def __init__(self, exposed: Model) -> None:
        self._model = exposed
        graph = exposed.graph
        self._taken = {name for node in graph.nodes for name in (*node.inputs, *node.outputs)}
        self._taken.update(graph.constants, (value.name for value in graph.inputs))
        self.nodes: list[Node] = []
        self.tables: list[np.ndarray] = []
        self.period = 1
        self._constants: dict[str, np.ndarray] = {}
        self._inputs: list[Value] = []
        self._outputs: list[Value] = []
        self._pairs: list[StatePair] = []
        self._whole: set[str] = set()
        self.places: list[str] = []

    def model(self, moving: bool) -> Model:
        """The streaming model; one that is not ``moving`` makes every step alike."""
        graph = self._model.graph
        constants = graph.constants | self._constants
        inputs = graph.inputs + tuple(self._inputs)
        if moving:
            inputs += (Value(POSITION, np.dtype(np.int64), (2,)),)
        else:
            constants[POSITION] = np.zeros(2, np.int64)
        made = ModelGraph(inputs, graph.outputs + tuple(self._outputs), tuple(self.nodes), constants)
        pairs = self._model.state + tuple(self._pairs)
        for name in tuple(self.places):
            made, pairs = self._without(made, pairs, name)
        return self._model._replace(graph=prune(made), state=pairs)

    def _without(self, made: ModelGraph, pairs: tuple[StatePair, ...], name: str) -> tuple:
        """The graph and its pairs without a count that nothing asks for but itself."""
        outputs = tuple(value for value in made.outputs if value.name != f"{name}.next")
        left = prune(made._replace(outputs=outputs))
        if any(name in node.inputs for node in left.nodes):
            return made, pairs
        self.places.remove(name)
        inputs = tuple(value for value in made.inputs if value.name != name)
        return left._replace(inputs=inputs), tuple(pair for pair in pairs if pair.input != name)

    # Writing.

    def add(self, op: str, name: str, *inputs: str, output: str = "", **attributes) -> str:
        """A node; gives its one output."""
        output = output or self.fresh(f"{name}.{op.lower()}")
        filled = filled_attributes(OPS[op], attributes, f"node {name!r} ({op})")
        self.nodes.append(Node(op, inputs, (output,), filled, name))
        return output

    def integers(self, *values: int) -> str:
        """A constant of whole numbers [n]."""
        name = self.fresh("stream.numbers")
        self._constants[name] = np.array(values, np.int64)
        return name

    def integer(self, value: int) -> str:
        """A constant of one whole number."""
        name = self.fresh("stream.number")
        self._constants[name] = np.array(value, np.int64)
        return name

    def whole(self, values: np.ndarray) -> str:
        """A constant array of whole numbers."""
        name = self.fresh("stream.numbers")
        self._constants[name] = values.astype(np.int64)
        return name

    def number(self, value: float) -> str:
        name = self.fresh("stream.number")
        self._constants[name] = np.array(value, np.float32)
        return name

    def fresh(self, stem: str) -> str:
        name, count = stem, 1
        while name in self._taken:
            count += 1
            name = f"{stem}{count}"
        self._taken.add(name)
        return name

    # State.

    def kept(
        self,
        node: Node,
        tensor: str,
        shape: tuple[int | str, ...],
        axis: int,
        value: float = 0.0,
        whole: bool = False,
    ) -> tuple[str, str]:
        """A tensor behind the ``shape[axis]`` frames of it that are kept, ``value`` at first, and the name of
        these, for which ``keep`` says what follows. ``whole``: it holds whole numbers or truth values."""
        if shape[axis] == 0:
            return tensor, ""
        ring = self.fresh(f"{node.name or node.op}.frames")
        first = np.array(value, np.float32)
        if whole:
            shape, first = (*shape, len(DIGITS)), _digits(int(value))
            self._whole.add(ring)
        self._carry(ring, shape, first)
        past = self._number_of(node, ring, tensor) if whole else ring
        return self.add("Concat", node.name, past, tensor, axis=axis), ring

    def keep(self, node: Node, ring: str, tensor: str, axis: int) -> None:
        """The last frames of a tensor are those of the ring for the next step."""
        if not ring:
            return
        value = next(value for value in self._inputs if value.name == ring)
        output = f"{ring}.next"
        whole = ring in self._whole
        last = self.slice(
            node,
            tensor,
            axis,
            self.integers(-value.shape[axis]),
            self.integers(END),
            output="" if whole else output,
        )
        if whole:
            self._digits_of(node, last, output)
        self._outputs.append(value._replace(name=output))

    def place(self, node: Node, more: str, in_rows: bool) -> str:
        """How many frames have been counted in the steps before, int64 [1], ``more`` being those of this one.
        Rows of one step must be at one place."""
        before, _ = self.counted(node, more, ("rows",) if in_rows else (1,))
        self.places.append(self._inputs[-1].name)
        return self.slice(node, before, 0, self.integers(0), self.integers(1))

    def counted(self, node: Node, more: str, shape: tuple[int | str, ...]) -> tuple[str, str]:
        """How much has been counted in the steps before, int64 of a shape, and what it is with ``more``."""
        name = self.fresh(f"{node.name or node.op}.counted")
        value = self._carry(name, (*shape, len(DIGITS)), np.zeros(()))
        before = self._number_of(node, name, more)
        after = self.add("Add", node.name, before, more)
        self._digits_of(node, after, f"{name}.next")
        self._outputs.append(value._replace(name=f"{name}.next"))
        return before, after

    def _carry(self, name: str, shape: tuple[int | str, ...], first: np.ndarray) -> Value:
        """An input that carries state, ``first`` in the beginning, and its pair."""
        initial = first.astype(np.float32) if first.any() else None
        sizes = tuple(f"{name}.rows" if isinstance(size, str) else size for size in shape)
        value = Value(name, np.dtype(np.float32), sizes)
        self._inputs.append(value)
        self._pairs.append(StatePair(name, f"{name}.next", initial))
        return value

    def _digits_of(self, node: Node, tensor: str, output: str) -> None:
        """The digits of whole numbers, along a new last axis."""
        values = self.add("Cast", node.name, tensor, to=np.dtype(np.int64))
        values = self.add("Unsqueeze", node.name, values, self.integers(-1))
        worth = self.integers(*DIGITS)
        rest = self.add("Mod", node.name, values, worth)
        values = self.add("Div", node.name, self.add("Sub", node.name, values, rest), worth)
        digits = self.add("Mod", node.name, values, self.integers(*BASES))
        self.add("Cast", node.name, digits, to=np.dtype(np.float32), output=output)

    def _number_of(self, node: Node, digits: str, like: str) -> str:
        """The whole numbers that have such digits, of the type of another tensor."""
        digits = self.add("Cast", node.name, digits, to=np.dtype(np.int64))
        parts = self.add("Mul", node.name, digits, self.integers(*DIGITS))
        number = self.add("ReduceSum", node.name, parts, self.integers(-1), keepdims=0)
        return self.add("CastLike", node.name, number, like)

    # Arithmetic with sizes, which is done when a step is planned.

    def slice(
        self, node: Node, tensor: str, axis: int, start: str, end: str, step: int = 1, output=""
    ) -> str:
        places = (start, end, self.integers(axis), self.integers(step))
        return self.add("Slice", node.name, tensor, *places, output=output)

    def size(self, node: Node, tensor: str, axis: int) -> str:
        return self.add("Shape", node.name, tensor, start=axis, end=axis + 1)

    def at(self, node: Node, table: np.ndarray) -> str:
        """The entry [1] of a table by frames that have gone in."""
        if (table == table[0]).all():
            return self.integers(int(table[0]))
        self.tables.append(table)
        name = self.integers(*table)
        place = self.slice(node, POSITION, 0, self.integers(0), self.integers(1))
        return self.add("Gather", node.name, name, place, axis=0)

    def last(self, node: Node, count: int) -> str:
        """``count`` [1] in the step with which the stream ends, else 0."""
        flag = self.slice(node, POSITION, 0, self.integers(1), self.integers(2))
        return self.add("Mul", node.name, flag, self.integers(count))

    def padded(self, node: Node, tensor: str, axis: int, count: int, value: float) -> str:
        """A tensor with ``count`` more frames in the step with which the stream ends."""
        if count == 0:
            return tensor
        widths = self.add("Concat", node.name, self.integers(0), self.last(node, count), axis=0)
        return self.add(
            "Pad", node.name, tensor, widths, self.number(value), self.integers(axis), mode="constant"
        )

    def unless_none(self, node: Node, tensor: str, axis: int, new: str, reach: int) -> str:
        """A tensor of ``reach - 1`` frames and those of a ``new`` one; no frames where that has none."""
        if reach == 1:
            return tensor
        size = self.size(node, new, axis)
        end = self.add("Mul", node.name, size, self.integers(reach))
        return self.slice(node, tensor, axis, self.integers(0), end)

    def complete(self, node: Node, tensor: str, axis: int, start: str, reach: int, stride: int) -> str:
        """From ``start`` on as many frames as make windows; none where not one window is complete."""
        size = self.size(node, tensor, axis)
        left = self.add("Sub", node.name, size, start)
        left = self.add("Sub", node.name, left, self.integers(reach - stride))
        left = self.add("Max", node.name, left, self.integers(0))
        count = self.add("Div", node.name, left, self.integers(stride))
        moved = self.add("Mul", node.name, count, self.integers(stride))
        used = self.add("Add", node.name, moved, self.integers(reach - stride))
        most = self.add("Mul", node.name, count, self.integers(stride + reach))
        used = self.add("Min", node.name, used, most)
        used = self.add("Max", node.name, used, self.integers(0))
        return self.slice(node, tensor, axis, start, self.add("Add", node.name, start, used))


def _digits(value: int) -> np.ndarray:
    """Those of a whole number."""
    return value // DIGITS % BASES
