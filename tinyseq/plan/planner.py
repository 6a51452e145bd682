"""Planning: from a Model and the shapes of its inputs to a program.

The graph is walked once with concrete shapes. What shapes and known values decide is computed on the
way and leaves nothing behind; every other node's lowering emits instructions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyseq import reference
from tinyseq.errors import FeedError, UnsupportedError
from tinyseq.kernels.instructions import (
    ALIGNMENT,
    FUNCTIONS,
    INSTRUCTIONS,
    MAX_RANK,
    OPCODES,
    SEGMENT_SHIFT,
)
from tinyseq.model import Graph, Model, Node, Value
from tinyseq.plan import packing
from tinyseq.plan.lower import LOWERINGS
from tinyseq.plan.view import Buffer, Shape, View, collapsed, dense_strides
from tinyseq.shapes import Mismatch

ARENA, STATE, FIRST_WEIGHT = 0, 1, 2
FLOAT = np.dtype(np.float32)

_OPERANDS = {row.name: row.operands for row in INSTRUCTIONS}


@dataclass(frozen=True, slots=True)
class Region:
    """Where an input or output lies: dense, ``offset`` bytes into the arena. ``value`` instead, where
    planning already knows it."""

    shape: Shape
    dtype: np.dtype
    offset: int = 0
    value: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class StateField:
    """One named field of a state row, ``offset`` bytes into it."""

    name: str
    shape: Shape
    dtype: np.dtype
    offset: int
    initial: np.ndarray | None


@dataclass(frozen=True, slots=True)
class StateLayout:
    """The fields of a state row and the row's size in bytes."""

    fields: tuple[StateField, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """An immutable program for one set of shapes. No process address is in it.

    ``weights`` are the segments from ``FIRST_WEIGHT`` on, each an aligned array.
    """

    program: np.ndarray
    weights: tuple[np.ndarray, ...]
    arena_bytes: int
    inputs: dict[str, Region]
    outputs: dict[str, Region]
    state: StateLayout


def state_layout(model: Model) -> StateLayout:
    """The state of one stream. Sizes that the model leaves open are those of one row: 1."""
    inputs = {value.name: value for value in model.graph.inputs}
    fields = []
    offset = 0
    for pair in model.state:
        value = inputs[pair.input]
        if value.dtype != FLOAT or value.shape is None:
            raise UnsupportedError(f"state {value} is not a float32 tensor of known rank")
        shape = tuple(1 if isinstance(size, str) else size for size in value.shape)
        fields.append(StateField(value.name, shape, value.dtype, offset, pair.initial))
        offset += -(-int(np.prod(shape)) * value.dtype.itemsize // ALIGNMENT) * ALIGNMENT
    return StateLayout(tuple(fields), offset)


class Planner:
    """The state of one planning run, and the vocabulary of the lowerings."""

    def __init__(self, weights: packing.Weights) -> None:
        self._weights = weights
        self._words: list[int] = []
        self._addresses: list[tuple[int, Buffer, int]] = []
        self._segments: dict[int, Buffer] = {}
        self._arrays: list[np.ndarray] = []
        self._buffers: list[Buffer] = []
        self._step = 0

    # What lowerings say.

    def allocate(self, shape: Shape, strides: Shape | None = None) -> View:
        """A new float32 tensor in the arena; ``strides`` permute its dimensions."""
        strides = dense_strides(shape) if strides is None else strides
        size = 1
        for count in shape:
            size *= count
        buffer = Buffer(max(size, 1) * 4, ARENA)
        self._buffers.append(buffer)
        return View(buffer, shape, strides)

    def constant(self, array: np.ndarray) -> View:
        """A known array as a tensor that kernels can read."""
        if array.dtype != FLOAT:
            raise UnsupportedError(f"computing with {array.dtype} tensors is not supported; float32 is")
        packed = self._weights.get((array,), "dense", lambda: packing.segment(array))
        return View(self.segment(packed), array.shape, dense_strides(array.shape))

    def packed(self, sources, layout: object, make) -> View:
        """Weights in a kernel's layout; ``make`` packs them the first time."""
        array = self._weights.get(tuple(s for s in sources if s is not None), layout, make)
        return View(self.segment(array), array.shape, (1,))

    def segment(self, array: np.ndarray) -> Buffer:
        """The buffer of an aligned array, one segment each."""
        buffer = self._segments.get(id(array))
        if buffer is None:
            buffer = Buffer(array.nbytes, FIRST_WEIGHT + len(self._arrays), 0)
            self._segments[id(array)] = buffer
            self._arrays.append(array)
        return buffer

    def view(self, value: np.ndarray | View) -> View:
        """An operand as a tensor."""
        return value if isinstance(value, View) else self.constant(value)

    def emit(self, name: str, *operands) -> None:
        """Appends an instruction: Views for addresses (None for an absent one), integers, a list last."""
        words = self._words
        start = len(words)
        words += (OPCODES[name], 0)
        for kind, operand in zip(_OPERANDS[name], operands, strict=True):
            if kind[0] == "&":
                self._address(operand)
            elif kind[0] == "*":
                words += operand
            else:
                words.append(operand)
        words[start + 1] = len(words) - start
        self._step += 1

    def _address(self, view: View | None) -> None:
        if view is not None:
            buffer = view.buffer
            if buffer.first < 0:
                buffer.first = self._step
            buffer.last = self._step
            self._addresses.append((len(self._words), buffer, view.offset * 4))
        self._words.append(0)

    def elementwise(self, function: str, y: View, a: View, b: View | None = None) -> View:
        """y = function(a, b), operands already of y's shape."""
        if y.size == 0:
            return y
        b = a if b is None else b
        sizes, steps = collapsed(y.shape, a.strides, b.strides, y.strides)
        if len(sizes) > MAX_RANK:
            raise UnsupportedError(f"more than {MAX_RANK} dimensions that do not merge")
        dims = sizes + steps[0] + steps[1] + steps[2]
        self.emit("elementwise", FUNCTIONS[function], a, b, y, len(sizes), dims)
        return y

    def copy(self, source: View, target: View) -> View:
        """Copies elements between tensors of one shape."""
        return self.elementwise("copy", target, source)

    def fill(self, target: View, value: float = 0.0) -> View:
        """Sets every element of a dense tensor."""
        self.emit("fill", target, target.size, int(np.float32(value).view(np.int32)))
        return target

    def dense(self, view: View) -> View:
        """The tensor itself if it is dense, else a dense copy."""
        return view if view.dense else self.copy(view, self.allocate(view.shape))

    # Walking the graph.

    def run(self, graph: Graph, names: dict) -> list:
        """Plans a graph; ``names`` maps to known arrays and Views. Gives the outputs."""
        names.update(graph.constants)
        for node in graph.nodes:
            inputs = [names[name] if name else None for name in node.inputs]
            try:
                results = self._node(node, inputs, names)
            except Mismatch as error:
                raise FeedError(
                    f"{node} cannot take these shapes: {error}; check the shapes of the inputs"
                ) from error
            except UnsupportedError as error:
                if str(error).startswith("node "):
                    raise
                raise UnsupportedError(f"{node}: {error}") from error
            for name, result in zip(node.outputs, results):
                if name:
                    names[name] = result
        return [names[value.name] for value in graph.outputs]

    def _node(self, node: Node, inputs: list, names: dict) -> list | tuple:
        for index, value in enumerate(inputs):
            if isinstance(value, View) and node.row.port(index).known:
                raise UnsupportedError(
                    f"its input {node.row.port(index).name!r} (tensor {node.inputs[index]!r}) is computed at "
                    "run time; tinyseq must know it when planning, from constants and shapes"
                )
        if node.op == "If":
            condition = np.asarray(inputs[0])
            if condition.size != 1:
                raise Mismatch(f"a condition of shape {list(condition.shape)}")
            branch = "then_branch" if condition.reshape(()) else "else_branch"
            return self.run(node.attributes[branch], dict(names))
        shapes = [None if value is None else value.shape for value in inputs]
        values = [value if isinstance(value, np.ndarray) else None for value in inputs]
        if all(v is None or isinstance(v, np.ndarray) for v in inputs):
            return reference.apply(node, inputs)
        if node.op in ("Shape", "Size"):
            stand_in = np.broadcast_to(np.float32(0), shapes[0])
            return reference.apply(node, [stand_in])
        results = LOWERINGS[node.op](self, node, inputs, node.row.shape(node.attributes, shapes, values))
        return results if isinstance(results, (tuple, list)) else (results,)

    # Putting the program together.

    def finish(self) -> tuple[np.ndarray, int]:
        """The program with every address placed, and the arena's size in bytes."""
        size = _place(self._buffers, self._step)
        words = self._words
        for position, buffer, skip in self._addresses:
            words[position] = (buffer.segment << SEGMENT_SHIFT) + buffer.offset + skip
        program = packing.aligned(len(words) * 8).view(np.int64)
        program[:] = words
        return program, size

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The weight segments in order."""
        return tuple(self._arrays)


def _place(buffers: list[Buffer], end: int) -> int:
    """Chooses an offset for every arena buffer so that those alive together do not overlap."""
    placed: list[Buffer] = []
    size = 0
    for buffer in sorted((b for b in buffers if b.last >= 0), key=lambda b: -b.bytes):
        offset = 0
        for other in sorted(placed, key=lambda b: b.offset):
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if offset + buffer.bytes <= other.offset:
                break
            offset = max(offset, other.offset + _rounded(other.bytes))
        buffer.offset = offset
        placed.append(buffer)
        size = max(size, offset + _rounded(buffer.bytes))
    return size


def _rounded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def plan(
    model: Model,
    shapes: dict[str, Shape],
    known: dict[str, np.ndarray],
    weights: packing.Weights,
    stateful: bool,
) -> Plan:
    """A program for inputs of the given shapes.

    Args:
        model: the model, simplified.
        shapes: the shape of each input that is given at run time.
        known: the values of the inputs that planning must know.
        weights: the model's packed weights, added to.
        stateful: state inputs are read from the state segment, and state outputs written there.

    Raises:
        FeedError: the shapes do not fit the model; names the node.
        UnsupportedError: the model needs something that cannot be planned; names the node.
    """
    planner = Planner(weights)
    layout = state_layout(model) if stateful else StateLayout((), 0)
    fields = {field.name: field for field in layout.fields}
    state = Buffer(layout.bytes, STATE, 0)
    names: dict = {}
    inputs: dict[str, Region] = {}
    given: dict[str, View] = {}
    for value in model.graph.inputs:
        if value.name in fields:
            field = fields[value.name]
            names[value.name] = View(state, field.shape, dense_strides(field.shape), field.offset // 4)
        elif value.name in known:
            names[value.name] = known[value.name]
        else:
            names[value.name] = given[value.name] = _input(planner, value, shapes[value.name])
    results = planner.run(model.graph, names)
    outputs = dict(zip((value.name for value in model.graph.outputs), results))
    if stateful:
        _write_state(planner, model, outputs, {name: names[name] for name in fields})
    kept = _outputs(planner, model, outputs, stateful)
    end = planner._step
    for view in kept.values():
        if isinstance(view, View):
            view.buffer.first = max(view.buffer.first, -1)
            view.buffer.last = end
    for view in given.values():
        view.buffer.first = -1
        view.buffer.last = max(view.buffer.last, 0)
    program, size = planner.finish()
    inputs = {name: Region(view.shape, view.dtype, view.buffer.offset) for name, view in given.items()}
    regions = {name: _region(value) for name, value in kept.items()}
    return Plan(program, planner.arrays, size, inputs, regions, layout)


def _input(planner: Planner, value: Value, shape: Shape) -> View:
    view = planner.allocate(shape)
    if value.dtype == FLOAT:
        return view
    if value.dtype == np.int32:
        return View(view.buffer, view.shape, view.strides, 0, value.dtype)
    raise UnsupportedError(
        f"input {value} is computed with at run time; tinyseq computes with float32 "
        "(int32 for sequence lengths)"
    )


def _write_state(planner: Planner, model: Model, outputs: dict, inputs: dict[str, View]) -> None:
    """Copies the state outputs into the state segment, after all of it has been read."""
    moves = []
    for pair in model.state:
        target = inputs[pair.input]
        source = planner.view(outputs[pair.output])
        if source.shape != target.shape:
            raise FeedError(
                f"state {pair.output!r} came out as {list(source.shape)} and {pair.input!r} of a stream is "
                f"{list(target.shape)}: a stream is one row; give inputs of one row"
            )
        if source.buffer is target.buffer:
            source = planner.copy(source, planner.allocate(source.shape))
        moves.append((source, target))
    for source, target in moves:
        planner.copy(source, target)


def _outputs(planner: Planner, model: Model, outputs: dict, stateful: bool) -> dict:
    """The outputs that the user sees, each dense in a buffer of its own, or known."""
    hidden = {pair.output for pair in model.state} if stateful else set()
    kept: dict = {}
    taken: set[int] = set()
    for name, value in outputs.items():
        if name in hidden:
            continue
        if isinstance(value, View):
            whole = value.dense and value.offset == 0 and value.buffer.segment == ARENA
            if not whole or id(value.buffer) in taken or value.buffer.first < 0:
                value = planner.copy(value, planner.allocate(value.shape))
            taken.add(id(value.buffer))
        kept[name] = value
    return kept


def _region(value: View | np.ndarray) -> Region:
    if isinstance(value, np.ndarray):
        return Region(value.shape, value.dtype, value=value)
    return Region(value.shape, value.dtype, value.buffer.offset)
