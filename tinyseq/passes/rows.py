"""The rows of a streaming model: along which axes they are fed, and how many where that is fixed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tinyseq.ir.model import Model, Node
from tinyseq.ir.streaming import Streaming
from tinyseq.passes.axes import Sizes
from tinyseq.passes.probe import probes

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


def _groups(places: Iterable[tuple[str, int, str | int]]) -> dict[str | int, Fed]:
    """Inputs and axes by their size."""
    groups: dict[str | int, Fed] = {}
    for name, axis, size in places:
        groups[size] = (*groups.get(size, ()), (name, axis))
    return groups
