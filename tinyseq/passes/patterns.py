"""Patterns: expressions over tensors that are found in a graph, whatever order its sums and products have.

A pattern is written as a Python expression and matched against the tensor that it computes::

    F(o) * H(y_c := F(f) * c + F(i) * G(g))

``+``, ``-`` and ``*`` are Add, Sub and Mul; a number is a constant of that value; a capital letter
applied to something is any activation function; another name with a capital, as ``Clip``, is the op of
that name; small letters are any tensors. A name stands for one thing throughout, and ``:=`` names the tensor
in between.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from tinyseq.ir.model import ModelGraph, Node
from tinyseq.ir.ops import OPS
from tinyseq.ir.weights import Constant
from tinyseq.kernels import activations

Binding = dict[str, Any]
"""What names stand for: tensors by name, activation functions as ``Activation``."""

COMMUTATIVE = ("Add", "Max", "Min", "Mul")
OPERATORS = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}


class AppliedActivation(NamedTuple):
    """An activation function as recurrent layers name them; alpha and beta are None where it has none."""

    name: str
    alpha: float | None = None
    beta: float | None = None


ACTIVATIONS = {name: tuple(row.parameters) for name, row in activations.ACTIVATIONS.items() if name in OPS}
"""The ops that are activation functions of recurrent layers, and the parameters of each."""

SPELLINGS = (
    ("HardSigmoid", "Clip(alpha * x + beta, 0, 1)"),
    ("HardSigmoid", "Min(Max(alpha * x + beta, 0), 1)"),
    ("Sigmoid", "0.5 * Tanh(0.5 * x) + 0.5"),
)
"""Activation functions that exporters write in several ops; ``alpha`` and ``beta`` are constants."""


FUNCTION_ENDS = {*ACTIVATIONS, "Add", "Clip", "Min"}
"""The ops that activation functions end with, however they are written."""


class GraphView:
    """A graph as patterns look at it: which node makes a tensor, which tensor is a constant."""

    def __init__(self, graph: ModelGraph) -> None:
        self.constants = graph.constants
        self.makers = {name: node for node in graph.nodes for name in node.outputs if name}
        self._sources: dict[str, str] = {}
        self._numbers: dict[str, float | None] = {}
        for node in graph.nodes:
            if node.op == "Identity":
                self._sources[node.outputs[0]] = self.source(node.inputs[0])

    def source(self, name: str) -> str:
        """The tensor that a tensor is a copy of."""
        return self._sources.get(name, name)

    def maker(self, name: str) -> Node | None:
        """The node that makes a tensor, copies passed over."""
        return self.makers.get(self.source(name))

    def number(self, name: str) -> float | None:
        """The value of a tensor that is one number, or the same everywhere."""
        name = self.source(name)
        if name not in self._numbers:
            array = self.constants.get(name)
            self._numbers[name] = None if array is None else _number(array)
        return self._numbers[name]


def _number(constant: Constant) -> float | None:
    array = np.asarray(constant)
    if array.size == 0 or array.dtype.kind != "f":
        return None
    first = array.flat[0]
    return float(first) if array.size == 1 or (array == first).all() else None


def matches(pattern: str, tensor: str, view: GraphView, bound: Binding | None = None) -> Iterator[Binding]:
    """Every way in which a tensor is what a pattern says, given what is bound already."""
    yield from _matches(_parsed(pattern), tensor, view, bound or {})


@cache
def _parsed(pattern: str) -> ast.expr:
    return ast.parse(pattern, mode="eval").body


def _matches(pattern: ast.expr, tensor: str, view: GraphView, bound: Binding) -> Iterator[Binding]:
    tensor = view.source(tensor)
    if isinstance(pattern, ast.Name):
        if bound.get(pattern.id, tensor) == tensor:
            yield bound | {pattern.id: tensor}
    elif isinstance(pattern, ast.NamedExpr):
        for found in _matches(pattern.value, tensor, view, bound):
            yield from _matches(pattern.target, tensor, view, found)
    elif isinstance(pattern, ast.Constant):
        if view.number(tensor) == pattern.value:
            yield bound
    elif isinstance(pattern, ast.BinOp):
        yield from _matches_op(
            OPERATORS[type(pattern.op)], [pattern.left, pattern.right], tensor, view, bound
        )
    elif len(pattern.func.id) > 1:
        yield from _matches_op(pattern.func.id, pattern.args, tensor, view, bound)
    else:
        for function, argument in _activations(tensor, view):
            if bound.get(pattern.func.id, function) == function:
                yield from _matches(pattern.args[0], argument, view, bound | {pattern.func.id: function})


def _matches_op(op: str, arguments: list[ast.expr], tensor: str, view: GraphView, bound: Binding):
    node = view.makers.get(tensor)
    if node is None or node.op != op or len(node.inputs) != len(arguments):
        return
    orders = [node.inputs, node.inputs[::-1]] if op in COMMUTATIVE else [node.inputs]
    for inputs in orders:
        found = [bound]
        for argument, name in zip(arguments, inputs):
            found = [more for one in found for more in _matches(argument, name, view, one)]
        yield from found


def _activations(tensor: str, view: GraphView) -> Iterator[tuple[AppliedActivation, str]]:
    """The activation function that makes a tensor, and of what."""
    node = view.makers.get(tensor)
    if node is None:
        return
    if node.op in ACTIVATIONS:
        parameters = {name: float(node.attributes[name]) for name in ACTIVATIONS[node.op]}
        yield AppliedActivation(node.op, **parameters), node.inputs[0]
        return
    for name, spelling in SPELLINGS:
        for bound in matches(spelling, tensor, view):
            parameters = {key: view.number(bound[key]) for key in ACTIVATIONS[name]}
            if None not in parameters.values():
                yield AppliedActivation(name, **parameters), bound["x"]
                return
