"""Kinds: what a graph's tensors hold, as far as what makes them tells."""

from __future__ import annotations

from collections.abc import Mapping

from tinyseq.ir.model import ModelGraph, Node
from tinyseq.ir.types import NUMBERS

_KINDS = {dtype.name: "numbers" if dtype.kind == "f" else "integers" for dtype in NUMBERS} | {
    "b": "truth values"
}
"""In words, by what the op table says of an output."""


def kind_of(name: str, graph: ModelGraph, makers: Mapping[str, Node]) -> str:
    """In words what a tensor holds: "numbers" if they are floating-point."""
    while True:
        given = {value.name: value.dtype for value in graph.inputs}
        given |= {name: array.dtype for name, array in graph.constants.items()}
        if name in given:
            return "numbers" if given[name].kind == "f" else given[name].name
        node = makers[name]
        ports = node.row.outputs
        made = ports[min(node.outputs.index(name), len(ports) - 1)].type.rpartition("/")[2]
        if made == "@to":
            return "numbers" if node.attributes["to"].kind == "f" else "integers"
        if made in _KINDS:
            return _KINDS[made]
        if not any(node.inputs):
            return "numbers"
        alike = [name for index, name in enumerate(node.inputs) if node.row.port(index).type == made]
        name = next(filter(None, alike), node.inputs[0])
