"""Weights rounded to a precision: the numbers that a model's products are computed with."""

from __future__ import annotations

import re
from collections.abc import Collection

from tinyseq.errors import ModelError
from tinyseq.ir.model import Model, ModelGraph, Node
from tinyseq.ir.narrow import PRECISIONS, Narrow, Sums
from tinyseq.ir.weights import Constant, widened
from tinyseq.passes.weights import Constants, Readers, scopes, weights_of, with_constants, with_inner

MOST_NAMED = 12
"""Weights that an error lists before it says how many more there are."""


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
            for graph, known in scopes(model.graph)
            for node in graph.nodes
            for place in weights_of(node, known)
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
        return self._given._replace(graph=self._graph(graph, {}, Readers(graph, self._chosen)))

    def file(self, model: Model) -> Model:
        """The model that the given one, rounded by now, is a simpler form of: weights that both hold are
        rounded where they are read as weights alone."""
        readers = Readers(model.graph, self._chosen)

        def shared(constant: Constant) -> Constant:
            sums = readers.of(constant)
            (only,) = sums if len(sums) == 1 else (None,)
            return self._made.get((id(constant), only), constant)

        return with_constants(model, shared)

    def _chosen(self, node: Node, known: Constants) -> dict[int, Sums]:
        """The weights of a node that are rounded."""
        weights = weights_of(node, known)
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

    def _graph(self, graph: ModelGraph, outer: Constants, readers: Readers) -> ModelGraph:
        _, known = next(scopes(graph, outer))
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
        return with_inner(graph, nodes, constants, lambda sub_graph: self._graph(sub_graph, known, readers))

    def _in_place(self, name: str, constant: Constant, readers: Readers) -> Constant | None:
        """What stands in the place of a constant; None where it is several weights."""
        sums = readers.of(constant)
        if None in sums:
            return self._rounded(name, constant, None)
        first, *others = (self._rounded(name, constant, own) for own in sums)
        return first if all(other is first for other in others) else None

    def _copy(self, constants: dict[str, Constant], name: str, weight: Constant, readers: Readers) -> str:
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
