"""Kinds: what a graph's tensors hold, as far as what makes them tells."""

from __future__ import annotations

from collections.abc import Mapping

from tinyseq.ir.model import ModelGraph, Node

YES_OR_NO = {
    "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor", "Not", "IsNaN", "IsInf",
}  # fmt: skip
"""Ops whose results are truth values."""

INTEGERS = ("QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "NonZero")
"""Ops whose results are integers."""


def kind_of(name: str, graph: ModelGraph, makers: Mapping[str, Node]) -> str:
    """In words what a tensor holds: "numbers" if they are floating-point."""
    while True:
        given = {value.name: value.dtype for value in graph.inputs}
        given |= {name: array.dtype for name, array in graph.constants.items()}
        if name in given:
            return "numbers" if given[name].kind == "f" else given[name].name
        node = makers[name]
        if node.op in YES_OR_NO:
            return "truth values"
        if node.op in ("Cast", *INTEGERS) or node.op.startswith("Arg"):
            dtype = node.attributes.get("to")
            return "numbers" if dtype is not None and dtype.kind == "f" else "integers"
        if node.op == "DequantizeLinear" or not any(node.inputs):
            return "numbers"
        name = node.inputs[1 if node.op == "Where" else 0]
