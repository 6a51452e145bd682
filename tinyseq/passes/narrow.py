"""Weights rounded to a precision: the numbers that a model's products are computed with."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tinyseq.errors import ModelError
from tinyseq.ir.model import Model, ModelGraph, Node
from tinyseq.ir.narrow import PRECISIONS, Constant, Narrow, Sums, widened
from tinyseq.shapes.einsum import equation

Constants = Mapping[str, Constant]

MOST_NAMED = 12
"""Weights that an error lists before it says how many more there are."""


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


def with_precision(model: Model, precision: str, keep: Collection[str] = (), anew: bool = False) -> Model:
    """The model with its weights rounded to a precision, but for those whose names, or whose nodes', are
    kept; see ``check_kept``. Of one that has weights of that precision the others were kept before, and are
    rounded ``anew`` only.

    Raises:
        ModelError: the precision does not hold the numbers of a weight; names it.
    """
    return _Rounding(model, precision, keep, anew).model()


def both_with_precision(
    simple: Model, model: Model, precision: str, keep: Collection[str]
) -> tuple[Model, Model]:
    """A simplified model with its weights rounded, and what is kept of the one that it was made of: it where
    constants of it may be fed, with the weights that both hold rounded, else the simplified one.

    Raises:
        ModelError: the precision does not hold the numbers of a weight; names it.
    """
    rounding = _Rounding(simple, precision, keep)
    rounded = rounding.model()
    return rounded, rounding.file(model) if model.defaults else rounded


def check_kept(model: Model, keep: Collection[str]) -> None:
    """
    Raises:
        ModelError: a name fits no weight and no node that has weights; says which there are.
    """
    listed = isinstance(keep, Collection) and not isinstance(keep, (str, bytes))
    if not (listed and all(isinstance(name, str) for name in keep)):
        raise ModelError(f"keep names weights or nodes in a list, [name, ...], not {keep!r}")
    names = sorted(
        {
            name
            for graph, known in _scopes(model.graph)
            for node in graph.nodes
            for place in _weights(node, known)
            for name in (node.inputs[place], node.name)
        }
    )
    for name in keep:
        if not any(_fits(one, name) for one in names):
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            shown = ", ".join(map(repr, names[:MOST_NAMED])) or "none"
            raise ModelError(
                f"keep={[name]!r}: no weight and no node that has weights is called that; there are "
                f"{shown}{more}"
            )


def _fits(name: str, kept: str) -> bool:
    """Whether a name is the one that is kept, or has its parts, as ``/decoder/head/MatMul`` has ``head``."""
    own, wanted = (f".{'.'.join(filter(None, re.split(r'[/.:]', text)))}." for text in (name, kept))
    return name == kept or (wanted != ".." and wanted in own)


Scope = tuple[ModelGraph, Constants]
"""A graph, and the constants that it sees."""


def _scopes(graph: ModelGraph, outer: Constants = MappingProxyType({})) -> Iterator[Scope]:
    """A graph and those within it."""
    known = dict(outer)
    for value in graph.inputs:
        known.pop(value.name, None)
    known |= graph.constants
    yield graph, known
    for node in graph.nodes:
        for _, sub_graph in node.graphs():
            yield from _scopes(sub_graph, known)


def _weights(node: Node, known: Constants) -> dict[int, Sums]:
    """The weights of a node, by their places."""
    found = WEIGHTS[node.op](node, known) if node.op in WEIGHTS else {}
    return {
        place: sums
        for place, sums in found.items()
        if sums is not None and known[node.inputs[place]].dtype == np.float32
    }


class _Rounding:
    """The weights of a model being rounded, each once, whoever reads it."""

    def __init__(self, model: Model, precision: str, keep: Collection[str], anew: bool = False) -> None:
        self._given, self._keep = model, keep
        self._precision = PRECISIONS.get(precision)
        self._again = precision == model.precision and not anew
        self._made: dict[tuple[int, Sums | None], Constant] = {}

    def model(self) -> Model:
        """The model with its weights rounded."""
        graph = self._given.graph
        return self._given._replace(graph=self._graph(graph, {}, _Readers(graph, self._chosen)))

    def file(self, model: Model) -> Model:
        """The model that the given one, rounded by now, is a simpler form of: weights that both hold are
        rounded where they are read as weights alone."""
        readers = _Readers(model.graph, self._chosen)

        def shared(graph: ModelGraph) -> ModelGraph:
            constants = {}
            for name, constant in graph.constants.items():
                sums = readers.of(constant)
                (only,) = sums if len(sums) == 1 else (None,)
                constants[name] = self._made.get((id(constant), only), constant)
            return _with(graph, graph.nodes, constants, shared)

        return model._replace(graph=shared(model.graph))

    def _chosen(self, node: Node, known: Constants) -> dict[int, Sums]:
        """The weights of a node that are rounded."""
        weights = _weights(node, known)
        chosen = {
            place: sums
            for place, sums in weights.items()
            if self._is_rounded((node.inputs[place], node.name), known[node.inputs[place]])
        }
        # What a layer's time loop multiplies with is of one kind.
        loop = {place for place in weights if node.row.name in ("RNN", "GRU", "LSTM") and place != 1}
        return chosen if loop <= chosen.keys() else {p: sums for p, sums in chosen.items() if p not in loop}

    def _is_rounded(self, names: Collection[str], weight: Constant) -> bool:
        if self._precision is None or (self._again and not isinstance(weight, Narrow)):
            return False
        return not any(_fits(name, kept) for name in names for kept in self._keep)

    def _graph(self, graph: ModelGraph, outer: Constants, readers: _Readers) -> ModelGraph:
        _, known = next(_scopes(graph, outer))
        constants = {}
        for name, constant in graph.constants.items():
            placed = self._in_place(name, constant, readers)
            if placed is not None:
                constants[name] = placed
        nodes = []
        for node in graph.nodes:
            inputs = list(node.inputs)
            for place, sums in readers.weights[id(node)].items():
                name, constant = inputs[place], known[inputs[place]]
                weight = self._rounded(name, constant, sums)
                if weight is not self._in_place(name, constant, readers):
                    inputs[place] = self._copy(constants, name, weight, readers)
            nodes.append(node._replace(inputs=tuple(inputs)))
        return _with(graph, nodes, constants, lambda sub_graph: self._graph(sub_graph, known, readers))

    def _in_place(self, name: str, constant: Constant, readers: _Readers) -> Constant | None:
        """What stands in the place of a constant; None where it is several weights."""
        sums = readers.of(constant)
        if None in sums:
            return self._rounded(name, constant, None)
        first, *others = (self._rounded(name, constant, own) for own in sums)
        return first if all(other is first for other in others) else None

    def _copy(self, constants: dict[str, Constant], name: str, weight: Constant, readers: _Readers) -> str:
        """A constant of its own for a rounded weight of which others read other numbers."""
        for other, constant in constants.items():
            if constant is weight:
                return other
        while name in readers.names:
            name = f"{name}.{weight.precision.name}"
        readers.names.add(name)
        constants[name] = weight
        return name

    def _rounded(self, name: str, constant: Constant, sums: Sums | None) -> Constant:
        """A constant as those read it that sum over it in one way; None are all others."""
        key = id(constant), sums
        if key not in self._made:
            self._made[key] = self._made_of(name, constant, sums)
        return self._made[key]

    def _made_of(self, name: str, constant: Constant, sums: Sums | None) -> Constant:
        if sums is None or self._precision is None:
            return widened(constant)
        if (
            isinstance(constant, Narrow)
            and constant.precision is self._precision
            and sums.have_one_scale(constant)
        ):
            return constant
        return self._precision.of(widened(constant), sums, f"weight {name!r}")


class _Readers:
    """Who reads the constants of a graph and of those within it.

    ``weights`` are those of each node that are rounded, by its id, as ``chosen`` says; ``names`` all that
    there are.
    """

    def __init__(self, graph: ModelGraph, chosen: Callable[[Node, Constants], dict[int, Sums]]) -> None:
        self._sums: dict[int, set[Sums | None]] = {}
        self.weights: dict[int, dict[int, Sums]] = {}
        self.names: set[str] = set()
        for own, known in _scopes(graph):
            self.names |= {*own.constants, *(value.name for value in own.inputs)}
            self.names |= {name for node in own.nodes for name in node.outputs}
            read: list[tuple[str, Sums | None]] = [(value.name, None) for value in own.outputs]
            for node in own.nodes:
                weights = self.weights[id(node)] = chosen(node, known)
                read += [(name, weights.get(place)) for place, name in enumerate(node.inputs)]
            for name, sums in read:
                if name in known:
                    self._sums.setdefault(id(known[name]), set()).add(sums)

    def of(self, constant: Constant) -> Collection[Sums | None]:
        """Along what a constant is summed; None is where it is not, or not rounded."""
        return self._sums.get(id(constant), {None})


def _with(
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
