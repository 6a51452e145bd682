"""The rows of a streaming model: along which axes they are fed, and how many where that is fixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from tinyseq.ir.model import Model, Node
from tinyseq.ir.streaming import Streaming
from tinyseq.ir.types import of_tensors
from tinyseq.passes.axes import FEW, NO_RULE, Sizes
from tinyseq.passes.probe import Probe, probes

Fed = tuple[tuple[str, int], ...]
"""Inputs and their axes that are of one size."""


class FixedRows(NamedTuple):
    """A recurrent layer that runs on so many rows, whatever a model is fed."""

    node: Node
    count: int


def fixed_rows(model: Model) -> FixedRows | None:
    """What fixes the rows of a streaming model; None where its states with open rows get what is fed."""
    carried = {pair.input for pair in model.state}
    opened = {
        value.name
        for value in model.graph.inputs
        if value.name in carried and any(isinstance(size, str) for size in value.shape or ())
    }
    layers = [
        node for node in model.graph.nodes if node.row.state and not opened.isdisjoint(node.inputs[5:7])
    ]
    if layers:
        one, other = probes(model.graph)
        for node in layers:
            axis = 0 if node.attributes["layout"] else 1
            shapes = [probe.shapes.get(node.inputs[0]) for probe in (one, other)]
            if None not in shapes and shapes[0][axis] == shapes[1][axis]:
                return FixedRows(node, shapes[0][axis])
    return None


def rows_fed(streaming: Streaming) -> tuple[Fed, ...]:
    """Where rows are fed: the inputs' axes that are as long as the states have rows. Without a state, these
    may be any that are open and not of frames: a group of inputs and axes for each size."""
    graph = streaming.model.graph
    carried = {pair.input for pair in streaming.model.state}
    states = {size for value in graph.inputs if value.name in carried for size in value.shape or ()}
    places = [
        (value.name, axis, size)
        for value in graph.inputs
        for axis, size in enumerate(value.shape or ())
        if value.name not in carried and isinstance(size, str) and streaming.inputs.get(value.name) != axis
    ]
    if streaming.rows:
        groups = _groups((name, axis, "rows") for name, axis, _ in places if streaming.rows.get(name) == axis)
    elif any(size in states for *_, size in places):
        groups = _groups(place for place in places if place[2] in states)
    else:
        one = Sizes(graph).one
        ones = {one(size) for size in states if isinstance(size, str)}
        placed = [(name, axis, one(size)) for name, axis, size in places]
        groups = _groups(
            place for place in placed if isinstance(place[2], str) and (not carried or place[2] in ones)
        )
    return tuple(groups.values())


def meeting(streaming: Streaming, fed: tuple[Fed, ...]) -> Node | None:
    """A node of a step that computes a floating number of several rows, or of how many there are, by what
    shapes tell; None where there is none. ``fed`` is what ``rows_fed`` says. Dynamically quantised numbers
    are left out: that their rows meet is what they are defined as."""
    graph = streaming.model.graph
    sizes, kinds = Sizes(graph, FEW), of_tensors(graph)
    shapes = {value.name: value.shape or () for value in graph.inputs}
    names = {sizes.one(shapes[name][axis]) for group in fed for name, axis in group}
    nodes = [node for node in graph.nodes if not node.row.rows_meet and not node.graphs()]
    for size in names.intersection(sizes.distinct):
        shared: set[str] = set()
        tried = [*sizes.along(size), *sizes.others(size)]
        for node in nodes:
            if _meets(node, size, sizes, kinds, "f") or _reads(node, shared, kinds, "f"):
                return node
            of_rows = _reads(node, shared, kinds, "iub") or _meets(node, size, sizes, kinds, "iub")
            shared.update(name for name in node.outputs if name and _is_shared(name, tried, of_rows))
    return None


def _reads(node: Node, shared: set[str], kinds: Mapping[str, np.dtype], results: str) -> bool:
    """Whether a node makes results of some kinds of what rows share, but for sizes."""
    made = any(name in kinds and kinds[name].kind in results for name in node.outputs)
    return made and any(
        name in shared and not node.row.port(index).known for index, name in enumerate(node.inputs)
    )


def _is_shared(name: str, tried: list[Probe], of_rows: bool) -> bool:
    """Whether all rows have to do with a tensor: their number decides it, or it is made ``of_rows``."""
    first, *others = (probe.values.get(name) for probe in tried)
    if first is None or any(other is None or other.shape != first.shape for other in others):
        return of_rows
    return not all(np.array_equal(first, other) for other in others)


def _meets(node: Node, size: str, sizes: Sizes, kinds: Mapping[str, np.dtype], of: str) -> bool:
    """Whether a node computes with numbers of several rows at once that are of some kinds."""
    probe = sizes.along(size)[0]
    grown = {
        index: sizes.growing(size, name)
        for index, name in enumerate(node.inputs)
        if name in kinds and kinds[name].kind in of and not (of != "f" and node.row.port(index).known)
    }
    if not any(grown.values()):
        return False
    shapes = [probe.shapes.get(name) if name else None for name in node.inputs]
    values = [probe.values.get(name) if name else None for name in node.inputs]
    try:
        looks = node.row.looks(node.attributes, shapes, values)
    except NO_RULE:
        return False
    if any(len(axes) > 1 or (axes and axes[0] in looks.get(index, ())) for index, axes in grown.items()):
        return True
    made = [name for name in node.outputs if name in probe.shapes]
    return not node.row.sizes_only and any(len(sizes.growing(size, name)) != 1 for name in made)


def _groups(places: Iterable[tuple[str, int, str | int]]) -> dict[str | int, Fed]:
    """Inputs and axes by their size."""
    groups: dict[str | int, Fed] = {}
    for name, axis, size in places:
        groups[size] = (*groups.get(size, ()), (name, axis))
    return groups
