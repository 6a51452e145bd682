"""Which inputs and outputs carry state, and the state that a graph hides in its recurrent layers."""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import ModelError
from tinyseq.model import Graph, Model, Node, StatePair, Value
from tinyseq.passes.simplify import prune, trimmed

if TYPE_CHECKING:
    from tinyseq.passes.probe import Probe

INPUT_WORDS = {"in", "input", "prev", "previous", "past", "initial", "init", "old", "last"}
OUTPUT_WORDS = {"out", "output", "next", "new", "n", "final", "present", "updated", "cur", "current"}


def stem(name: str, words: set[str]) -> tuple[str, ...]:
    """A tensor name in lower-case words, less those that only say which way it goes."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    kept = tuple(part.lower() for part in parts if part.lower() not in words)
    if (
        len(kept) == 1
        and len(kept[0]) > 1
        and kept[0][-1] in "n0"
        and kept[0][:-1] in ("h", "c", "state", "hidden", "cell")
    ):
        return (kept[0][:-1],)
    return kept[:-1] if len(kept) > 1 and kept[-1] == "0" else kept


def _fits(given: Value, result: Value) -> bool:
    if given.dtype != result.dtype:
        return False
    if given.shape is None or result.shape is None:
        return given.shape is result.shape
    return len(given.shape) == len(result.shape) and all(
        a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(given.shape, result.shape)
    )


def find_state(model: Model) -> Model:
    """Pairs floating-point inputs with outputs of a like name and a fitting shape: ``h`` with ``hn``,
    ``state_in`` with ``state_out``. A pair is made only where either side has no other partner."""
    inputs = {value.name: (stem(value.name, INPUT_WORDS), value) for value in model.graph.inputs}
    outputs = {value.name: (stem(value.name, OUTPUT_WORDS), value) for value in model.graph.outputs}
    alike: dict[tuple[str, ...], list[Value]] = {}
    for stem_, produced in outputs.values():
        alike.setdefault(stem_, []).append(produced)
    partners = [
        (given, produced.name)
        for given, (stem_, value) in inputs.items()
        if stem_ and value.dtype.kind == "f"
        for produced in alike.get(stem_, ())
        if _fits(value, produced)
    ]
    lefts, rights = Counter(given for given, _ in partners), Counter(result for _, result in partners)
    unique = [(g, r) for g, r in partners if lefts[g] == 1 and rights[r] == 1]
    return model.with_state(StatePair(*pair) for pair in unique)


def name_state(model: Model, pairs: dict[str, str]) -> Model:
    """The state pairs that the user names, input to output.

    Raises:
        ModelError: a name is no input or output of the model, or the two do not fit.
    """
    inputs = {value.name: value for value in model.graph.inputs}
    outputs = {value.name: value for value in model.graph.outputs}
    for given, result in pairs.items():
        if given not in inputs or result not in outputs:
            raise ModelError(
                f"state={{{given!r}: {result!r}}}: the model's inputs are {', '.join(inputs)}, "
                f"its outputs {', '.join(outputs)}; name an input and an output"
            )
        if not _fits(inputs[given], outputs[result]):
            raise ModelError(
                f"state={{{given!r}: {result!r}}}: {inputs[given]} cannot carry {outputs[result]} "
                "to the next step"
            )
    return model.with_state(StatePair(given, result) for given, result in pairs.items())


def expose_state(model: Model, apart: frozenset[int] = frozenset()) -> Model:
    """The model as a stream runs it: what it must carry from step to step is among its state pairs.

    A model that has state pairs says itself what a stream carries. Otherwise every recurrent layer,
    whose state would start anew with each chunk, gets an input, an output and a pair: it starts a
    stream at its own initial state and goes on where the last step ended. Layers whose ids are in ``apart``
    begin anew with every frame, and stay as they are.

    Raises:
        ModelError: a layer runs backward, or its state cannot be led out of the graph; names the node.
    """
    if model.state:
        return model
    graph = model.graph
    exposure = _Exposure(graph, apart)
    nodes = tuple(exposure.node(node) for node in graph.nodes)
    graph = graph._replace(
        inputs=graph.inputs + tuple(exposure.inputs),
        outputs=graph.outputs + tuple(exposure.outputs),
        nodes=nodes,
    )
    return model._replace(graph=prune(graph), state=tuple(exposure.pairs))


class _Exposure:
    """Leads the state of a graph's recurrent layers in and out, node by node."""

    def __init__(self, graph: Graph, apart: frozenset[int]) -> None:
        self.graph = graph
        self._apart = apart
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.pairs: list[StatePair] = []
        self._makers = {name: node for node in graph.nodes for name in node.outputs if name}
        self._taken = {value.name for value in graph.inputs} | self._makers.keys() | graph.constants.keys()
        self._given_out = {value.name for value in graph.outputs}

    def node(self, node: Node) -> Node:
        """The node, its state led out if it has one."""
        _refuse_carrying(node)
        for _, sub_graph in node.graphs():
            _refuse_recurrent(sub_graph)
        if not node.row.state or id(node) in self._apart or self._goes_on(node):
            return node
        if node.attributes["direction"] != "forward":
            raise ModelError(
                f"{node} runs {node.attributes['direction']}: its first output needs the last input, so the "
                "model cannot be streamed; give whole sequences to model.run"
            )
        ports_in = [port.name for port in node.row.inputs]
        ports_out = [port.name for port in node.row.outputs]
        sources = list(node.inputs) + [""] * (len(ports_in) - len(node.inputs))
        results = list(node.outputs) + [""] * (len(ports_out) - len(node.outputs))
        for port_in, port_out in node.row.state:
            place_in, place_out = ports_in.index(port_in), ports_out.index(port_out)
            initial, constant = self._initial(node, sources[place_in])
            if constant:
                name, output = self._pair(node, port_in, results[place_out], initial)
                sources[place_in], results[place_out] = name, output
        return node._replace(inputs=trimmed(sources), outputs=trimmed(results))

    def _pair(self, node: Node, port: str, output: str, initial: np.ndarray | None) -> tuple[str, str]:
        """Adds an input, an output and their pair; gives the two names."""
        name = self._fresh(f"{node.name}.{port.removeprefix('initial_')}")
        given = {port.name: tensor for port, tensor in zip(node.row.inputs, node.inputs)}
        projection = given.get("projection") if port == "initial_h" else None
        units = self.graph.constants[projection].shape[1] if projection else node.attributes["hidden_size"]
        shape = (1, f"{name}.rows", units)
        if node.attributes["layout"]:
            shape = (shape[1], shape[0], shape[2])
        value = Value(name, np.dtype(np.float32), shape)
        output = output or self._fresh(f"{name}.next")
        self.inputs.append(value)
        if output not in self._given_out:
            self.outputs.append(value._replace(name=output))
        pair = StatePair(name, output, initial)
        if not pair.begins(value):
            raise ModelError(
                f"{node} starts at {port} of {list(initial.shape)} where {value} is needed; export the model "
                "again"
            )
        self.pairs.append(pair)
        return name, output

    def _fresh(self, stem: str) -> str:
        """The stem, or the stem with a number where it is taken."""
        name, number = stem, len(self.inputs)
        while name in self._taken:
            name, number = f"{stem}.{number}", number + 1
        self._taken.add(name)
        return name

    def _initial(self, node: Node, name: str) -> tuple[np.ndarray | None, bool]:
        """An initial state's value for one row (None: zeros), and whether no value of an input decides it.

        Exporters make it from the batch size: ConstantOfShape or Expand, then a slice for each layer.
        """
        if not name:
            return None, True
        if name in self.graph.constants:
            return _one_row(self.graph.constants[name], node.attributes["layout"]), True
        if name not in self._decided_by_sizes:
            return None, False
        value = self._uniform(name)
        if value is None:
            value = self._of_one_row.values.get(name)
        if value is None:
            raise ModelError(
                f"{node} starts at tensor {name!r}, which is made from the sizes of the inputs in a way that "
                "tinyseq cannot work out for one stream; name the inputs and outputs that carry state with "
                "load(..., state={...})"
            )
        return _one_row(value, node.attributes["layout"]), True

    @cached_property
    def _decided_by_sizes(self) -> set[str]:
        """The tensors in which no value of an input takes part."""
        found = {"", *self.graph.constants}
        for node in self.graph.nodes:
            if node.op in ("Shape", "Size") or (not node.graphs() and found.issuperset(node.inputs)):
                found.update(node.outputs)
        return found

    def _uniform(self, name: str) -> np.ndarray | None:
        """The one number that a tensor holds everywhere, whatever its shape."""
        while name not in self.graph.constants:
            node = self._makers[name]
            if node.op == "ConstantOfShape":
                return np.zeros((), np.float32) if (value := node.attributes["value"]) is None else value
            if node.op not in _KEEP_VALUES:
                return None
            name = node.inputs[0]
        array = self.graph.constants[name]
        return array.ravel()[0] if array.size and (array == array.ravel()[0]).all() else None

    @cached_property
    def _of_one_row(self) -> Probe:
        """What follows where every open size is 1."""
        # Imported here: few models make their states in so many steps.
        from tinyseq.passes.probe import Probe

        return Probe(self.graph, repeat(1))

    def _goes_on(self, node: Node) -> bool:
        """Whether another node with the same weights goes on from this one's last state: one layer, frame by
        frame, that starts anew in every call."""
        return (id(node), node.inputs[1:3]) in self._gone_on

    @cached_property
    def _gone_on(self) -> set[tuple[int, tuple[str, ...]]]:
        """The ``id`` of each node from whose last state one of its op goes on, with that one's weights."""
        sources: dict[str, Node | None] = {}
        found: set[tuple[int, tuple[str, ...]]] = set()
        for node in self.graph.nodes:
            name = node.inputs[5] if len(node.inputs) > 5 else ""
            if node.row.state and (maker := sources.get(name)) is not None and maker.op == node.op:
                found.add((id(maker), node.inputs[1:3]))
            for output in filter(None, node.outputs):
                sources[output] = sources.get(node.inputs[0]) if node.op in _KEEP_VALUES else node
        return found


_KEEP_VALUES = {
    "Cast", "Expand", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose",
    "Unsqueeze",
}  # fmt: skip
"""Ops that only move the elements of their first input."""


def _one_row(array: np.ndarray, layout: int) -> np.ndarray:
    """The first row of an initial state; what has fewer dimensions is the same for all."""
    return array if array.ndim < 3 else array[:1] if layout else array[:, :1]


def _refuse_carrying(node: Node) -> None:
    """Whether a loop goes over frames of a stream or over anything else, its node does not say."""
    carried = {
        "Loop": len(node.inputs) - 2,
        "Scan": len(node.inputs) - node.attributes.get("num_scan_inputs", 0),
    }
    if carried.get(node.op, 0) > 0:
        raise ModelError(
            f"{node} begins its carried values anew in every run and the model has no state inputs, so a "
            "stream would forget them between chunks; make them inputs and outputs of the model, or give "
            "whole sequences to model.run"
        )


def _refuse_recurrent(graph: Graph) -> None:
    for node in graph.nodes:
        if node.row.state:
            raise ModelError(
                f"{node} is inside a branch or loop and the model has no state inputs, so a stream cannot "
                "carry its state; name the inputs and outputs that do with load(..., state={...})"
            )
        _refuse_carrying(node)
        for _, sub_graph in node.graphs():
            _refuse_recurrent(sub_graph)
