"""Weights rounded to a precision: the numbers that a model's products are computed with."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

from tinyseq.errors import ModelError
from tinyseq.ir.model import Model, ModelGraph, Node
from tinyseq.ir.narrow import EXACT, PRECISIONS, Narrow, Sums, Weights
from tinyseq.shapes.einsum import equation

Constants = Mapping[str, np.ndarray]

MOST_NAMED = 12
"""Weights that an error lists before it says how many more there are."""


def _matrix(w: np.ndarray, turned: bool) -> Sums | None:
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


def _depthwise(node: Node, w: np.ndarray) -> bool:
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


def with_precision(model: Model, precision: str, keep: Collection[str] = ()) -> Model:
    """The model with its weights rounded to a precision, but for those whose names, or whose nodes', are
    kept; see ``named``. One whose weights are of that precision already is not rounded again.

    Raises:
        ModelError: the precision does not hold the numbers of a weight; names it.
    """
    if precision == model.weights.precision:
        kept = {id(array) for name, array in _named_weights(model) if _is_kept(name, keep)}
        narrow = {key: one for key, one in model.weights.narrow.items() if key not in kept}
        return model._replace(weights=Weights(precision, narrow))
    if precision not in PRECISIONS:
        return model._replace(weights=EXACT)
    return _Rounding(model, precision, keep).result()


def check_kept(model: Model, keep: Collection[str]) -> None:
    """
    Raises:
        ModelError: a name fits no weight and no node that has weights; says which there are.
    """
    listed = isinstance(keep, Collection) and not isinstance(keep, (str, bytes))
    if not (listed and all(isinstance(name, str) for name in keep)):
        raise ModelError(f"keep names weights or nodes in a list, [name, ...], not {keep!r}")
    names = sorted({part for name, _ in _named_weights(model) for part in name})
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


def _is_kept(names: Collection[str], keep: Collection[str]) -> bool:
    return any(_fits(name, kept) for name in names for kept in keep)


def _uses(graph: ModelGraph, outer: Constants) -> Iterator[tuple[Node, dict[int, Sums], Constants]]:
    """The nodes of a graph and of those within it, their weights and the constants that they see."""
    known = {name: array for name, array in outer.items()}
    for value in graph.inputs:
        known.pop(value.name, None)
    known |= graph.constants
    for node in graph.nodes:
        found = WEIGHTS[node.op](node, known) if node.op in WEIGHTS else {}
        weights = {
            place: sums
            for place, sums in found.items()
            if sums is not None and known[node.inputs[place]].dtype == np.float32
        }
        yield node, weights, known
        for _, sub_graph in node.graphs():
            yield from _uses(sub_graph, known)


def _named_weights(model: Model) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """The weights of a model, each by its name and its node's."""
    for node, weights, known in _uses(model.graph, {}):
        for place in weights:
            yield (node.inputs[place], node.name), known[node.inputs[place]]


class _Rounding:
    """A model's weights being rounded: each once, whoever reads it."""

    def __init__(self, model: Model, precision: str, keep: Collection[str]) -> None:
        self._model, self._precision, self._keep = model, PRECISIONS[precision], keep
        self._sums: dict[int, set[Sums | None]] = {}
        self._names: set[str] = set()
        self._rounded: dict[tuple[int, Sums], Narrow] = {}
        self._weights: dict[int, dict[int, Sums]] = {}
        self._read(model.graph, {})

    def _read(self, graph: ModelGraph, outer: Constants) -> None:
        """Finds along which axes each constant is summed over; None is what is not, or not rounded."""
        for own in _graphs(graph):
            self._names |= {*own.constants, *(value.name for value in own.inputs)}
            self._names |= {name for node in own.nodes for name in node.outputs}
            for value in own.outputs:
                if value.name in own.constants:
                    self._sums.setdefault(id(own.constants[value.name]), set()).add(None)
        for node, weights, known in _uses(graph, outer):
            chosen = self._chosen(node, weights)
            self._weights[id(node)] = chosen
            for place, name in enumerate(node.inputs):
                if name in known:
                    self._sums.setdefault(id(known[name]), set()).add(chosen.get(place))

    def _chosen(self, node: Node, weights: dict[int, Sums]) -> dict[int, Sums]:
        """The weights of a node that are rounded."""
        chosen = {
            place: sums
            for place, sums in weights.items()
            if not _is_kept((node.inputs[place], node.name), self._keep)
        }
        # What a layer's time loop multiplies with is of one kind.
        loop = {place for place in weights if node.row.name in ("RNN", "GRU", "LSTM") and place != 1}
        return chosen if loop <= chosen.keys() else {p: sums for p, sums in chosen.items() if p not in loop}

    def result(self) -> Model:
        graph = self._graph(self._model.graph, {})
        narrow = {id(one.numbers): one for one in self._rounded.values()}
        return self._model._replace(graph=graph, weights=Weights(self._precision.name, narrow))

    def _graph(self, graph: ModelGraph, outer: Constants) -> ModelGraph:
        known = {name: array for name, array in outer.items()}
        for value in graph.inputs:
            known.pop(value.name, None)
        known |= graph.constants
        constants = {name: self._alone(name, array) for name, array in graph.constants.items()}
        nodes = []
        for node in graph.nodes:
            inputs = list(node.inputs)
            for place, sums in self._weights[id(node)].items():
                array = known[inputs[place]]
                if len(self._sums[id(array)]) > 1:
                    numbers = self._narrow(inputs[place], array, sums).numbers
                    inputs[place] = self._copy(constants, inputs[place], numbers)
            inner = {key: self._graph(sub_graph, known) for key, sub_graph in node.graphs()}
            attributes: dict[str, Any] = node.attributes | inner if inner else node.attributes
            nodes.append(node._replace(inputs=tuple(inputs), attributes=attributes))
        return graph._replace(nodes=tuple(nodes), constants=constants)

    def _alone(self, name: str, array: np.ndarray) -> np.ndarray:
        """A constant that is a weight and nothing else, rounded in its place; others as they are."""
        sums = self._sums.get(id(array), {None})
        (only,) = sums if len(sums) == 1 else (None,)
        return array if only is None else self._narrow(name, array, only).numbers

    def _copy(self, constants: dict[str, np.ndarray], name: str, numbers: np.ndarray) -> str:
        """A constant of its own for a rounded weight of which others read the numbers as they are."""
        for other, array in constants.items():
            if array is numbers:
                return other
        while name in self._names:
            name = f"{name}.{self._precision.name}"
        self._names.add(name)
        constants[name] = numbers
        return name

    def _narrow(self, name: str, array: np.ndarray, sums: Sums) -> Narrow:
        key = id(array), sums
        if key not in self._rounded:
            self._rounded[key] = self._precision.of(array, sums, f"weight {name!r}")
        return self._rounded[key]


def _graphs(graph: ModelGraph) -> Iterator[ModelGraph]:
    """A graph and those within it."""
    yield graph
    for node in graph.nodes:
        for _, sub_graph in node.graphs():
            yield from _graphs(sub_graph)
