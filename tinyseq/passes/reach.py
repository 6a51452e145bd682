"""Reach: which tensors what is in an input may come to, by the graph alone, whatever the sizes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import reduce
from operator import or_

from tinyseq.ir.model import ModelGraph, Node, captured

GATED = ("Mul", "Where")
"""Ops that may put an element back to zero, or to its start, on its way to a layer."""

SHIFTED = ("Add", "Sub", "Mul", "Div")
"""Ops whose result is one of their inputs where the other is a single number."""

Through = Callable[[Node, Sequence[int]], int]
"""The marks that go on to a node's outputs, of those on each of its inputs and, last, within its graphs."""


def reached(
    graph: ModelGraph, marks: Mapping[str, int], through: Through, stop: Collection[str] = ()
) -> dict[str, int]:
    """The marks that tensors come to have, each a bit, from those of some of them; none of those of
    ``stop``."""
    found = {name: mark for name, mark in marks.items() if name not in stop}
    for node in graph.nodes:
        own, inside = [found.get(name, 0) for name in node.inputs], 0
        for _, inner in node.graphs():
            if node.op == "If":
                within = reached(inner, found, through, stop)
                for name, end in zip(node.outputs, inner.outputs):
                    if name not in stop and (mark := within.get(end.name, 0)):
                        found[name] = found.get(name, 0) | mark
            else:
                inside |= _any(found.get(name, 0) for name in captured(inner))
        if not inside and not any(own):
            continue
        if mark := through(node, [*own, inside]):
            for name in node.outputs:
                if name and name not in stop:
                    found[name] = found.get(name, 0) | mark
    return found


def _any(marks: Iterable[int]) -> int:
    return reduce(or_, marks, 0)


def everything(node: Node, marks: Sequence[int]) -> int:
    """All marks: the outputs depend on what has them."""
    return _any(marks)


def moves(node: Node, marks: Sequence[int]) -> int:
    """The marks of inputs whose elements may come to a node's outputs as they are."""
    row, given = node.row, marks[:-1]
    if node.op in GATED:
        return _any(given)
    own = (0,) if recasts(node) else row.moves
    return _any(mark for place, mark in enumerate(given) if row.place(place) in own)


def recasts(node: Node) -> bool:
    """Whether a node's result is its first input, in another form."""
    return node.row.keeps_values and not node.row.moves


def moves_only(node: Node) -> bool:
    """Whether a node computes nothing: what only such lead to from the model's inputs is carried from
    outside."""
    row = node.row
    return (bool(row.moves) and (row.keeps_values or row.inputs[0].variadic)) or node.op == "ConstantOfShape"


class Begin:
    """An input where a layer begins, and where among the layer's inputs that is."""

    __slots__ = ("input", "node", "place")

    def __init__(self, input: str, node: Node, place: int) -> None:
        self.input = input
        self.node = node
        self.place = place


def begins(graph: ModelGraph, alike: frozenset[str] = frozenset()) -> list[Begin]:
    """The floating-point inputs that come to where recurrent layers begin by movement alone; of layers named
    in ``alike``, their data too."""
    names = [value.name for value in graph.inputs if value.dtype.kind == "f"]
    found: list[dict[tuple[str, int], Begin]] = [{} for _ in names]

    def through(node: Node, marks: Sequence[int]) -> int:
        if node.row.state or node.op == "Scan":
            for place, mark in enumerate(marks[:-1]):
                if mark and (begins_at(node, place) or (node.name in alike and not place)):
                    for number, name in enumerate(names):
                        if mark >> number & 1:
                            found[number].setdefault((node.name, place), Begin(name, node, place))
        return moves(node, marks)

    reached(graph, {name: 1 << number for number, name in enumerate(names)}, through)
    return [begin for own in found for begin in own.values()]


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
