"""Which constants of a model are weights: what it multiplies with, and who reads them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tinyseq.ir.model import Model, ModelGraph, Node
from tinyseq.ir.narrow import Sums
from tinyseq.ir.weights import Constant, Exact, is_large
from tinyseq.shapes.einsum import equation

Constants = Mapping[str, Constant]


def _matrix(w: Constant, turned: bool) -> Sums | None:
    """Of the second factor of a product: one matrix, the same for all of the first."""
    if w.ndim < 2 or np.prod(w.shape[:-2], dtype=int) != 1:
        return None
    return Sums((w.ndim - 1 if turned else w.ndim - 2,))


def _second(turned: str = "") -> Callable:
    def weights(node: Node, constants: Constants) -> dict[int, Sums | None]:
        w = constants.get(node.inputs[1])
        return {} if w is None else {1: _matrix(w, bool(turned and node.attributes[turned]))}

    return weights


def _layer(node: Node, constants: Constants) -> dict[int, Sums | None]:
    """The weights of a recurrent layer; those of its time loop, a projection among them, are of one kind."""
    known = [place for place in (1, 2, 8) if place < len(node.inputs) and node.inputs[place] in constants]
    loop = [place for place in (2, 8) if place < len(node.inputs) and node.inputs[place]]
    whole = all(place in known for place in loop)
    return {place: Sums((2,)) for place in known if place == 1 or whole}


def _depthwise(node: Node, w: Constant) -> bool:
    """Whether a convolution has a channel, and a kernel, for each group."""
    return 1 < node.attributes["group"] == w.shape[0] and w.shape[1] == 1


def _conv(node: Node, constants: Constants) -> dict[int, Sums | None]:
    w = constants.get(node.inputs[1])
    return {} if w is None or _depthwise(node, w) else {1: Sums(tuple(range(1, w.ndim)))}


def _conv_transpose(node: Node, constants: Constants) -> dict[int, Sums | None]:
    w, groups = constants.get(node.inputs[1]), node.attributes["group"]
    if w is None or _depthwise(node, w) or w.shape[0] % groups:
        return {}
    return {1: Sums((0, *range(2, w.ndim)), groups)}


def _einsum(node: Node, constants: Constants) -> dict[int, Sums | None]:
    """The second factor of two, where it is one matrix for all of the first."""
    if len(node.inputs) != 2 or node.inputs[1] not in constants or node.inputs[0] in constants:
        return {}
    w = constants[node.inputs[1]]
    # How many axes the other factor has matters where an ellipsis stands for them.
    text = node.attributes["equation"]
    if "..." in text:
        return {}
    first, second = "".join(text.split()).partition("->")[0].split(",")
    found = equation(text, (len(first), len(second)))
    own, other = found.inputs[1], found.inputs[0]
    kept = [label for label in own if label in found.output]
    summed = tuple(axis for axis, label in enumerate(own) if label not in found.output)
    if len(set(own)) < len(own) or set(kept) & set(other) or not {own[axis] for axis in summed} <= set(other):
        return {}
    return {1: Sums(summed)} if len(own) == w.ndim else {}


WEIGHTS: dict[str, Callable[[Node, Constants], dict[int, Sums | None]]] = {
    "RNN": _layer,
    "GRU": _layer,
    "LSTM": _layer,
    "MatMul": _second(),
    "Gemm": _second("transB"),
    "FusedMatMul": _second("transB"),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
}
"""Of each op that multiplies with weights, the inputs that may be rounded, by their places."""


Scope = tuple[ModelGraph, Constants]
"""A graph, and the constants that it sees."""


def scopes(graph: ModelGraph, outer: Constants = MappingProxyType({})) -> Iterator[Scope]:
    """A graph and those within it."""
    known = dict(outer)
    for value in graph.inputs:
        known.pop(value.name, None)
    known |= graph.constants
    yield graph, known
    for node in graph.nodes:
        for _, sub_graph in node.graphs():
            yield from scopes(sub_graph, known)


def weights_of(node: Node, known: Constants) -> dict[int, Sums]:
    """The weights of a node, by their places."""
    found = WEIGHTS[node.op](node, known) if node.op in WEIGHTS else {}
    return {
        place: sums
        for place, sums in found.items()
        if sums is not None and known[node.inputs[place]].dtype == np.float32
    }


BYTES = {"ConvInteger": (1,), "DynamicQuantizeLSTM": (1, 2), "MatMulInteger": (1,)}
"""Of each op that multiplies with weights of bytes, the places of these."""


def _multiplied(node: Node, known: Constants) -> dict[int, Sums]:
    """All that a node does nothing with but multiply, by its places, of bytes too."""
    read = {place: known.get(node.inputs[place]) for place in BYTES.get(node.op, ())}
    of_bytes = (place for place, w in read.items() if w is not None and w.dtype in (np.int8, np.uint8))
    return weights_of(node, known) | dict.fromkeys(of_bytes, Sums(()))


class Readers:
    """Who reads the constants of a graph and of those within it.

    ``weights`` are those of each node that are ``chosen``, by its id; ``names`` all that there are.
    """

    def __init__(self, graph: ModelGraph, chosen: Callable[[Node, Constants], dict[int, Sums]]) -> None:
        self._sums: dict[int, set[Sums | None]] = {}
        self.weights: dict[int, dict[int, Sums]] = {}
        self.names: set[str] = set()
        for own, known in scopes(graph):
            self.names |= {*own.constants, *(value.name for value in own.inputs)}
            self.names |= {name for node in own.nodes for name in node.outputs}
            read: list[tuple[str, Sums | None]] = [(value.name, None) for value in own.outputs]
            for node in own.nodes:
                weights = self.weights[id(node)] = chosen(node, known)
                read += [(name, weights.get(place)) for place, name in enumerate(node.inputs)]
            for name, sums in read:
                if name in known:
                    self._sums.setdefault(id(known[name]), set()).add(sums)

    def of(
        self, constant: Constant, unread: Collection[Sums | None] = frozenset([None])
    ) -> Collection[Sums | None]:
        """Along what a constant is summed; None is where it is not, or not chosen. ``unread`` where none is
        read."""
        return self._sums.get(id(constant), unread)


def held_once(
    simple: Model, model: Model, as_read: Callable[[np.ndarray], np.ndarray]
) -> tuple[Model, Model]:
    """A simplified model and the one that it was made of, whose large constants, those that they share, are
    held once when they are computed with. Those that are read as weights alone give up their numbers when
    these are packed; others lie ``as_read``."""
    read = [Readers(each.graph, _multiplied) for each in (simple, model)]
    made: dict[int, Constant] = {}

    def once(constant: Constant) -> Constant:
        if id(constant) not in made:
            # What nothing reads is not read otherwise.
            weight = not any(None in readers.of(constant, set()) for readers in read)
            made[id(constant)] = Exact(constant) if weight else as_read(constant)
        return made[id(constant)]

    simple = with_constants(simple, lambda one: once(one) if is_large(one) else one)
    return simple, with_constants(model, lambda one: made.get(id(one), one))


def with_constants(model: Model, made: Callable[[Constant], Constant]) -> Model:
    """The model with what is ``made`` of each constant of its graph and of those within it."""
    return model._replace(graph=_graph_with(model.graph, made))


def _graph_with(graph: ModelGraph, made: Callable[[Constant], Constant]) -> ModelGraph:
    constants = {name: made(constant) for name, constant in graph.constants.items()}
    return with_inner(graph, graph.nodes, constants, lambda inner: _graph_with(inner, made))


def with_inner(
    graph: ModelGraph,
    nodes: Iterable[Node],
    constants: dict[str, Constant],
    made: Callable[[ModelGraph], ModelGraph],
) -> ModelGraph:
    """A graph of other nodes and constants, and with what is ``made`` of the graphs within it."""
    inner = []
    for node in nodes:
        graphs: dict[str, Any] = {key: made(sub_graph) for key, sub_graph in node.graphs()}
        inner.append(node._replace(attributes=node.attributes | graphs) if graphs else node)
    return graph._replace(nodes=tuple(inner), constants=constants)
