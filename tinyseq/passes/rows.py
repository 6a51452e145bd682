"""How many rows a model was exported for, where that is fixed."""

from __future__ import annotations

from typing import NamedTuple

from tinyseq.ir.model import Model, Node
from tinyseq.passes.probe import probes


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
