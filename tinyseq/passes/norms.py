"""Layer normalisations that an exporter took apart become one node each again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from tinyseq.ir.model import ModelGraph, Node, captured, filled_attributes
from tinyseq.ir.ops import OPS
from tinyseq.passes.patterns import Binding, GraphView, matches

_CENTRED = "d := x - (m := ReduceMean(x, a))"
_RAISED = "Sqrt((v := ReduceMean({}, b)) + e)"
_SQUARES = ("Pow(d, two)", "d * d")
PATTERNS = tuple(
    form.format(_CENTRED, _RAISED.format(square))
    for form in ("Div({}, {})", "({}) * Reciprocal({})")
    for square in _SQUARES
)
"""x normalised, however it is written: over the axes ``a`` and ``b``, which must be the same; ``e`` and
``two`` are numbers."""


def layer_norms(graph: ModelGraph) -> ModelGraph:
    """The graph with a LayerNormalization in the place of each, constant factors and shifts behind it
    included. What nothing reads any more is still there."""
    return _Norms(graph, set(_names(graph))).graph()


def _names(graph: ModelGraph) -> Iterator[str]:
    """All names in a graph, sub-graphs included."""
    yield from (value.name for value in graph.inputs)
    yield from graph.constants
    for node in graph.nodes:
        yield from (*node.inputs, *node.outputs)
        for _, sub_graph in node.graphs():
            yield from _names(sub_graph)


class _Norms:
    """``taken`` are the names that there are, of graphs around this one, too."""

    def __init__(self, graph: ModelGraph, taken: set[str]) -> None:
        self._graph, self._view, self._taken = graph, GraphView(graph), taken
        self._constants = dict(graph.constants)
        self._counts = Counter(captured(graph))
        self._readers = {name: node for node in graph.nodes for name in node.inputs}

    def graph(self) -> ModelGraph:
        found = [self._norm(node) for node in self._graph.nodes if node.op in ("Div", "Mul")]
        norms = {norm.outputs[0]: norm for norm in found if norm is not None}
        nodes = []
        for node in self._graph.nodes:
            inner = {key: _Norms(sub_graph, self._taken).graph() for key, sub_graph in node.graphs()}
            node = node._replace(attributes=node.attributes | inner) if inner else node
            nodes.append(norms.get(node.outputs[0], node) if node.outputs else node)
        return self._graph._replace(nodes=tuple(nodes), constants=self._constants)

    def _norm(self, node: Node) -> Node | None:
        """What normalises, if it ends with a node, or with factors and shifts behind that."""
        for pattern in PATTERNS:
            for bound in matches(pattern, node.outputs[0], self._view):
                rank, epsilon = self._rank(bound), self._number(bound["e"])
                squared = "two" not in bound or self._number(bound["two"]) == 2
                if rank and epsilon is not None and squared:
                    return self._written(node, bound["x"], rank, epsilon)
        return None

    def _number(self, name: str) -> float | None:
        """A constant of one number that lends no shape of its own to what it meets."""
        array = self._constants.get(self._view.source(name))
        return (
            float(np.asarray(array).flat[0]) if array is not None and array.size == 1 >= array.ndim else None
        )

    def _rank(self, bound: Binding) -> int:
        """How many last dimensions a norm is over; 0 where it is over others."""
        axes = [self._constants.get(self._view.source(bound[name])) for name in "ab"]
        means = [self._view.maker(bound[name]) for name in "mv"]
        if any(array is None for array in axes) or not all(node.attributes["keepdims"] for node in means):
            return 0
        first, second = (sorted(np.ravel(array).tolist()) for array in axes)
        return len(first) if first == second == list(range(-len(first), 0)) else 0

    def _written(self, node: Node, x: str, rank: int, epsilon: float) -> Node:
        name, (output,) = node.name, node.outputs
        scaled, scale = self._behind("Mul", output, rank)
        shifted, shift = self._behind("Add", scaled or output, rank)
        if not scale:
            scale = f"{output}.scale"
            while scale in self._taken:
                scale += "_"
            self._taken.add(scale)
            self._constants[scale] = np.ones(1, np.float32)
        label = f"node {name!r} (LayerNormalization)"
        attributes = filled_attributes(OPS["LayerNormalization"], {"axis": -rank, "epsilon": epsilon}, label)
        inputs = (x, scale, shift) if shift else (x, scale)
        return Node("LayerNormalization", inputs, (shifted or scaled or output,), attributes, name)

    def _behind(self, op: str, name: str, rank: int) -> tuple[str, str]:
        """What a tensor becomes by an op with a constant for the last dimensions, and that constant, if
        nothing else reads the tensor; else ``""`` for both."""
        node = self._readers.get(name)
        if node is None or node.op != op or self._counts[name] != 1:
            return "", ""
        other = self._view.source(node.inputs[node.inputs[0] == name])
        array = self._constants.get(other)
        fits = array is not None and array.dtype == np.float32 and np.ndim(array) <= rank
        return (node.outputs[0], other) if fits else ("", "")
