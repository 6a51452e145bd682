"""Planning: from a Model and the shapes of its inputs to a program.

The graph is walked once with concrete shapes. What shapes and known values decide is computed on the
way and leaves nothing behind; every other node's lowering emits instructions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tinyseq import reference
from tinyseq.errors import FeedError, UnsupportedError
from tinyseq.ir.effort import bytes_of, effort, predicted
from tinyseq.ir.model import Model, ModelGraph, Node, Value, given_out
from tinyseq.plan.abreast import run_abreast
from tinyseq.plan.blocks import into_blocks
from tinyseq.plan.builder import ARENA, KNOWN_BYTES, Builder
from tinyseq.plan.draft import Draft
from tinyseq.plan.lower import lowering
from tinyseq.plan.needs import Needs, deciding_part
from tinyseq.plan.packing import PackedWeights
from tinyseq.plan.sizes import closed, computed_sizes
from tinyseq.plan.stream import StateInPlace, StateLayout
from tinyseq.plan.view import Shape, View, computed
from tinyseq.shapes import MOST_DIMENSIONS, Mismatch, checked_rank

if TYPE_CHECKING:
    from tinyseq.plan.rows import StateRows

MOST_OPEN = 1024
"""Elements of known tensors that may hold open sizes."""


class Step:
    """One node of a graph with all that its row of the op table says, looked up once."""

    __slots__ = (
        *("attributes", "graphs", "inputs", "known", "lowering", "node", "outputs", "rule", "takes_narrow"),
        "unrolled",
    )

    def __init__(self, node: Node, needs: Needs, graph: ModelGraph) -> None:
        self.node = node
        self.inputs = node.inputs
        self.outputs = node.outputs
        self.attributes = node.attributes
        self.rule = node.row.shape
        self.lowering = lowering(node.op)
        self.takes_narrow = node.row.takes_bytes
        self.known = [i for i, name in enumerate(node.inputs) if name and node.row.port(i).known]
        self.graphs = {key: Walk(inner, needs) for key, inner in node.graphs()}
        deciding = deciding_part(node.attributes["body"]) if node.op == "Loop" else None
        if deciding:
            self.graphs["deciding"] = Walk(deciding, needs)
        self.unrolled = bool(self.graphs) and (
            needs.must_know(graph, node.outputs)
            or any(needs.must_know(inner, [v.name for v in inner.inputs]) for _, inner in node.graphs())
        )

    def plan(self, builder: Builder, names: dict) -> list | tuple:
        """The node's outputs: known arrays as far as they can be, Views for the rest."""
        inputs = [names[name] if name else None for name in self.inputs]
        for index in self.known:
            if type(inputs[index]) is View:
                raise UnsupportedError(
                    f"its input {self.node.row.port(index).name!r} (tensor {self.inputs[index]!r}) is "
                    "computed at run time; tinyseq must know it when planning, from constants and shapes"
                )
        if not self.takes_narrow:
            inputs = [builder.wide(value) if type(value) is View else value for value in inputs]
        if self.graphs:

            def run(key: str, *given) -> list:
                walk = self.graphs[key]
                if len(given) != len(walk.inputs):
                    raise Mismatch(
                        f"its {key} takes {len(walk.inputs)} inputs where it is given {len(given)}"
                    )
                results = walk.plan_within(builder, names, given)
                return [builder.wide(value) if type(value) is View else value for value in results]

            return self.lowering(builder, self.node, inputs, run, self.unrolled)
        if View not in map(type, inputs):
            known = self._known(builder, inputs)
            if known is not None:
                return known
            inputs = [
                value if value is None or index in self.known else builder.constant(value)
                for index, value in enumerate(inputs)
            ]
        inputs = [
            value if index in self.known or type(value) is View else closed(value)
            for index, value in enumerate(inputs)
        ]
        shapes = [None if value is None else value.shape for value in inputs]
        shapes = self.rule(self.attributes, shapes, inputs)
        for shape in shapes:
            if len(shape) > MOST_DIMENSIONS:
                checked_rank(shape)
        results = self.lowering(builder, self.node, inputs, shapes)
        return results if type(results) is list else (results,)

    def _known(self, builder: Builder, inputs: list) -> list[np.ndarray] | tuple[np.ndarray, ...] | None:
        """The outputs of a node whose inputs are all known; None where they are left to run time."""
        if any([array is not None and array.dtype == object for array in inputs]):
            small = sum([array.size for array in inputs if array is not None]) <= MOST_OPEN
            row = self.node.row
            count = row.open_inputs if small else 0
            inputs = [x if row.place(index) < count else closed(x) for index, x in enumerate(inputs)]
            if count:
                predicted(self.node, inputs)
                results = reference.apply(self.node, inputs)
                return [computed_sizes(array) if array.dtype == object else array for array in results]
        shapes = predicted(self.node, inputs)
        takes, makes = effort(self.node, inputs, shapes), bytes_of(inputs, shapes)
        allowance = builder.allowance
        if not allowance.holds(makes):
            raise UnsupportedError(
                f"its result {' and '.join(str(list(shape)) for shape in shapes)} is computed before the "
                f"model runs, and is too large for that: {allowance.each:,} bytes are the most for one, "
                f"{KNOWN_BYTES:,} for all; feed shorter sequences or fewer rows"
            )
        if not allowance.takes(takes):
            if self.lowering is not None and len(self.known) < sum(array is not None for array in inputs):
                return None
            raise UnsupportedError(
                "it is computed before the model runs, and takes too long for that; feed shorter sequences "
                "or fewer rows"
            )
        allowance.spend(takes, makes)
        return reference.apply(self.node, inputs)


class Walk:
    """A graph made ready to be planned many times."""

    def __init__(self, graph: ModelGraph, needs: Needs) -> None:
        self._graph = graph
        self._needs = needs
        self.constants = graph.constants
        self.inputs = [value.name for value in graph.inputs]
        self.outputs = [value.name for value in graph.outputs]

    @cached_property
    def steps(self) -> list[Step]:
        """Made when first planned: many a branch never is."""
        return [Step(node, self._needs, self._graph) for node in self._graph.nodes]

    def plan_within(self, builder: Builder, names: dict, given: Sequence) -> list:
        """``plan`` of a graph within another one, whose ``names`` are left as they were."""
        shadowed = {name: names[name] for name in self._own if name in names}
        names.update(zip(self.inputs, given, strict=True))
        try:
            return self.plan(builder, names)
        finally:
            for name in self._own:
                names.pop(name, None)
            names.update(shadowed)

    @cached_property
    def _own(self) -> set[str]:
        """The names that planning the graph sets."""
        return {*self.inputs, *self.constants, *(n for node in self._graph.nodes for n in node.outputs)}

    def plan(self, builder: Builder, names: dict) -> list:
        """Plans the graph; ``names`` maps to known arrays and Views. Gives the outputs."""
        names.update(self.constants)
        try:
            for step in self.steps:
                results = step.plan(builder, names)
                if len(results) < len(step.outputs):
                    raise Mismatch(f"{len(results)} results for {len(step.outputs)} outputs")
                for name, result in zip(step.outputs, results):
                    names[name] = result
        except Mismatch as error:
            message = f"{step.node} cannot take these shapes: {error}; check the shapes of the inputs"
            raise FeedError(message) from error
        except UnsupportedError as error:
            if str(error).startswith("node "):
                raise
            raise type(error)(f"{step.node}: {error}") from error
        return [names[name] for name in self.outputs]


def _loops(graph: ModelGraph) -> bool:
    """Whether a graph holds the op Loop, here or in sub-graphs."""
    return any(node.op == "Loop" or any(_loops(inner) for _, inner in node.graphs()) for node in graph.nodes)


class Planner:
    """A model made ready to be planned for any shapes.

    ``state`` tells where the inputs and outputs lie that carry state; without it they are like any other.
    """

    def __init__(
        self, model: Model, weights: PackedWeights, state: StateInPlace | StateRows | None = None
    ) -> None:
        self.model = model
        self._weights = weights
        self._state = state or StateInPlace(StateLayout(model.with_state(())), True)
        own = tuple(value for value in model.graph.inputs if value.name not in self._state.carried)
        self.inputs = own + self._state.inputs
        self._given = [value.name for value in given_out(model.graph, self._state.results)]
        whole = {value.name for value in own if _may_be_known(value)}
        needs = Needs(model.graph, whole)
        few = [value.name for value in own if value.name not in whole and _is_small(value)]
        self.known = {name for name in whole if (id(model.graph), name) in needs.useful}
        self.known |= {name for name in few if needs.must_know(model.graph, [name])}
        self._walk = Walk(model.graph, needs)
        self._loops = _loops(model.graph)
        self._straight = not any(node.graphs() for node in model.graph.nodes)

    def draft(self, shapes: dict[str, Shape], known: dict[str, np.ndarray]) -> Draft:
        """The program for inputs of the given shapes, in which sizes may be open; ``known`` holds the inputs
        whose values it must know.

        Raises:
            FeedError: the shapes do not fit the model; names the node.
            UnsupportedError: the model needs something that cannot be planned; names the node.
        """
        builder = Builder(self._weights)
        builder.straight = self._straight
        if self._loops:
            builder.limit_turns()
        declared = {v.name: v.dtype for v in self.inputs if v.name not in known}
        given = {name: builder.allocate(shapes[name], dtype=computed(of)) for name, of in declared.items()}
        state = self._state.read(builder, given)
        results = self._walk.plan(builder, known | state | given)
        outputs = {
            value.name: result for value, result in zip(self.model.graph.outputs, results, strict=True)
        }
        # What is given out may be state as it was before the step.
        kept = _kept(builder, {name: outputs[name] for name in self._given})
        computed_in = builder.step
        self._state.write(builder, outputs, given, state)
        for view in given.values():
            # What is fed may be a part of the state.
            view.buffer.changed = view.buffer.changed or view.buffer.last >= computed_in
        for view in kept.values():
            if isinstance(view, View):
                view.buffer.last = builder.step
        for view in given.values():
            view.buffer.first = -1
            view.buffer.last = max(view.buffer.last, 0)
        builder.finish()
        run_abreast(builder)
        into_blocks(builder)
        declared |= {value.name: value.dtype for value in self.model.graph.outputs}
        given, kept = (
            {name: _as_declared(value, declared[name]) for name, value in values.items()}
            for values in (given, kept)
        )
        return Draft(builder, given, kept)


def _as_declared(value: View | np.ndarray, dtype: np.dtype) -> View | np.ndarray:
    """An input or output in the floating-point type that the model declares for it."""
    if value.dtype.kind != "f" or dtype.kind != "f":
        return value
    return value.typed(dtype) if isinstance(value, View) else value.astype(dtype, copy=False)


def _may_be_known(value: Value) -> bool:
    """Not of floats, but for single numbers: a plan for every chunk of a signal would never end."""
    return value.dtype.kind in "iub" or (value.shape is not None and all(n == 1 for n in value.shape))


MOST_KNOWN = 64
"""Elements of an input of floats that may decide shapes."""


def _is_small(value: Value) -> bool:
    sizes = value.shape
    return sizes is not None and all(isinstance(n, int) for n in sizes) and math.prod(sizes) <= MOST_KNOWN


def _kept(builder: Builder, outputs: dict) -> dict:
    """The outputs that the user sees, each dense in a buffer of its own, or known."""
    kept: dict = {}
    taken: set[int] = set()
    for name, value in outputs.items():
        if isinstance(value, View):
            value = builder.wide(value)
            builder.demand(value)
            whole = value.dense and value.offset == 0 and value.buffer.segment == ARENA
            if not whole or id(value.buffer) in taken or value.buffer.first < 0:
                value = builder.fresh(value)
            taken.add(id(value.buffer))
        kept[name] = value
    return kept
