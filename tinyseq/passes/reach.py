"""Reach: which tensors what is in an input may come to, by the graph alone, whatever the sizes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from tinyseq.ir.model import ModelGraph, Node, captured

GATED = ("Mul", "Where")
"""Ops that may put an element back to zero, or to its start, on its way to a layer."""

SHIFTED = ("Add", "Sub", "Mul", "Div")
"""Ops whose result is one of their inputs where the other is a single number."""

Through = Callable[[Node, Sequence[int]], bool]
"""Whether what is in some of a node's inputs, by their places, goes on to its outputs."""


def reached(graph: ModelGraph, names: set[str], through: Through, stop: set[str] = frozenset()) -> set[str]:
    """The tensors that ``names`` come to, themselves included, but for those of ``stop``."""
    found = set(names) - stop
    for node in graph.nodes:
        places = [place for place, name in enumerate(node.inputs) if name in found]
        if node.op == "If":
            for _, inner in node.graphs():
                within = reached(inner, found, through, stop)
                found.update(name for name, end in zip(node.outputs, inner.outputs) if end.name in within)
        elif not places:
            places = [-1 for _, inner in node.graphs() if not found.isdisjoint(captured(inner))][:1]
        if places and through(node, places):
            found.update(name for name in node.outputs if name)
        found -= stop
    return found


def moves(node: Node, places: Sequence[int]) -> bool:
    """Whether elements of some of a node's inputs, by their places, may come to its outputs as they are."""
    if node.op in GATED:
        return any(place >= 0 for place in places)
    if recasts(node):
        return 0 in places
    return any(place >= 0 and node.row.place(place) in node.row.moves for place in places)


def recasts(node: Node) -> bool:
    """Whether a node's result is its first input, in another form."""
    return node.row.keeps_values and not node.row.moves


def moves_only(node: Node) -> bool:
    """Whether a node computes nothing: what only such lead to from the model's inputs is carried from
    outside."""
    row = node.row
    return (bool(row.moves) and (row.keeps_values or row.inputs[0].variadic)) or node.op == "ConstantOfShape"


class Begin(NamedTuple):
    """An input where a layer begins, and where among the layer's inputs that is."""

    input: str
    node: Node
    place: int


def begins(graph: ModelGraph, alike: frozenset[str] = frozenset()) -> list[Begin]:
    """The floating-point inputs that come to where recurrent layers begin by movement alone; of layers named
    in ``alike``, their data too."""
    found = []
    for value in graph.inputs:
        if value.dtype.kind == "f":
            own: dict[tuple[str, int], Begin] = {}

            def through(node: Node, places: Sequence[int], name: str = value.name, own: dict = own) -> bool:
                for place in places:
                    if begins_at(node, place) or (node.row.state and node.name in alike and not place):
                        own.setdefault((node.name, place), Begin(name, node, place))
                return moves(node, places)

            reached(graph, {value.name}, through)
            found += own.values()
    return found


def unpaired(graph: ModelGraph, carried: Collection[str]) -> list[Begin]:
    """Where layers begin at inputs that are not among those ``carried``, and that do not only open and close
    the way of one which is."""
    if all(value.dtype.kind != "f" or value.name in carried for value in graph.inputs):
        return []
    found = begins(graph)
    held = {(begin.node.name, begin.place) for begin in found if begin.input in carried}
    return [
        begin for begin in found if begin.input not in carried and (begin.node.name, begin.place) not in held
    ]


def begins_at(node: Node, place: int) -> bool:
    """Whether one of a node's inputs, by its place, is where a recurrent layer begins."""
    if node.op == "Scan":
        return 0 <= place < len(node.inputs) - node.attributes["num_scan_inputs"]
    return place >= 0 and any(port == node.row.inputs[place].name for port, _ in node.row.state)
