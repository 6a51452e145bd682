"""Rings: the frames that a streaming graph keeps for its next step, written into the graph."""

from __future__ import annotations

import numpy as np

from tinyseq.ir.model import POSITION, Model, ModelGraph, Node, StatePair, Value, filled_attributes
from tinyseq.ir.ops import OPS
from tinyseq.passes.prune import prune

END = np.iinfo(np.int64).max


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
        return self._model._replace(graph=prune(made), state=self._model.state + tuple(self._pairs))

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
        self, node: Node, tensor: str, shape: tuple[int | str, ...], axis: int, value: float = 0.0
    ) -> tuple[str, str]:
        """A tensor behind the ``shape[axis]`` frames of it that are kept, ``value`` at first, and the name of
        these, for which ``keep`` says what follows."""
        if shape[axis] == 0:
            return tensor, ""
        ring = self.fresh(f"{node.name or node.op}.frames")
        sizes = tuple(f"{ring}.rows" if isinstance(size, str) else size for size in shape)
        self._inputs.append(Value(ring, np.dtype(np.float32), sizes))
        self._pairs.append(
            StatePair(ring, f"{ring}.next", None if value == 0 else np.array(value, np.float32))
        )
        return self.add("Concat", node.name, ring, tensor, axis=axis), ring

    def keep(self, node: Node, ring: str, tensor: str, axis: int) -> None:
        """The last frames of a tensor are those of the ring for the next step."""
        if not ring:
            return
        value = next(value for value in self._inputs if value.name == ring)
        count = value.shape[axis]
        output = f"{ring}.next"
        self.slice(node, tensor, axis, self.integers(-count), self.integers(END), output=output)
        self._outputs.append(value._replace(name=output))

    def counter(self, node: Node) -> str:
        """State [2] that begins with zeros; its next value is a tensor of its name with ``.next``."""
        name = self.fresh(f"{node.name or node.op}.counted")
        value = Value(name, np.dtype(np.float32), (2,))
        self._inputs.append(value)
        self._outputs.append(value._replace(name=f"{name}.next"))
        self._pairs.append(StatePair(name, f"{name}.next"))
        return name

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
