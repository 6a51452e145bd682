"""Recurrent cells taken apart: every form of the table of cells, written in many ways."""

from __future__ import annotations

import ast
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from onnx import helper

from tests.models import Case, model, value
from tinyseq.passes.cells import FORMS, CellForm
from tinyseq.passes.patterns import COMMUTATIVE

STEEP = ["Sigmoid", "HardSigmoid", "Clip of a line", "Min and Max of a line", "Tanh of a half"]
ROUND = ["Tanh", "Relu", "Softsign", "Elu"]
"""Activations of gates and of candidates, as they may be written."""


class Writer:
    """The nodes of one cell. ``draw`` decides what may be written in several ways."""

    def __init__(self, draw, features: int, hidden: int) -> None:
        self.draw = draw
        self.nodes, self.constants = [], {}
        self.features, self.hidden = features, hidden
        self.rng = np.random.default_rng(draw(st.integers(0, 99)))

    def node(self, op: str, *inputs, outputs: int = 1, **attributes):
        names = [f"{op.lower()}{len(self.nodes)}.{place}" for place in range(outputs)]
        if op in COMMUTATIVE and self.draw(st.booleans()):
            inputs = inputs[::-1]
        self.nodes.append(helper.make_node(op, inputs, names, f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array) -> str:
        self.constants[name := f"k{len(self.constants)}"] = np.asarray(array)
        return name

    def number(self, number: float) -> str:
        return self.constant(np.float32(number))

    def weights(self, *shape: int) -> np.ndarray:
        return (self.rng.uniform(-1, 1, shape) / np.sqrt(self.hidden)).astype(np.float32)

    # Products.

    def product(self, x: str, size: int, width: int, bias: bool) -> str:
        """``x @ w (+ b)`` of new weights."""
        w = self.weights(size, width)
        b = [self.constant(self.weights(width))] if bias else []
        kind = self.draw(st.sampled_from(["MatMul", "Gemm", "Gemm, transposed"]))
        if kind == "MatMul":
            y = self.node("MatMul", x, self.constant(w))
            return self.node("Add", y, *b) if b else y
        if kind == "Gemm":
            return self.node("Gemm", x, self.constant(w), *b)
        return self.node("Gemm", x, self.constant(np.ascontiguousarray(w.T)), *b, transB=1)

    def parts(self, whole: str, count: int) -> list[str]:
        """``count`` parts of a row, in any order."""
        size, order = self.hidden, self.draw(st.permutations(range(count)))
        if count == 1:
            return [whole]
        if self.draw(st.booleans()):
            sizes = self.constant(np.full(count, size, np.int64))
            parts = self.node("Split", whole, sizes, outputs=count, axis=self.draw(st.sampled_from([1, -1])))
        else:
            starts = [np.array([bound], np.int64) for bound in range(0, (count + 1) * size, size)]
            axis = np.array([1], np.int64)
            bounds = [tuple(map(self.constant, (a, b, axis))) for a, b in pairwise(starts)]
            parts = [self.node("Slice", whole, *each) for each in bounds]
        return [parts[place] for place in order]

    def gates(self, count: int, sides: tuple[tuple[str, int], ...]) -> list[str]:
        """Sums of products with each side, for ``count`` gates."""
        width = self.hidden
        way = self.draw(st.sampled_from(["together", "side by side", "apart"]))
        if way == "apart":
            return [self.sum([self.product(x, size, width, True) for x, size in sides]) for _ in range(count)]
        if way == "side by side" and len(sides) > 1:
            row = self.node("Concat", *(x for x, _ in sides), axis=1)
            sides = ((row, sum(size for _, size in sides)),)
        return self.parts(self.sum([self.product(x, n, count * width, True) for x, n in sides]), count)

    def sum(self, terms: list[str]) -> str:
        total, *rest = terms
        for term in rest:
            total = self.node("Add", total, term)
        return total

    # Expressions.

    def activation(self, kind: str, x: str) -> str:
        if kind.endswith("of a line"):
            line = self.node("Add", self.node("Mul", x, self.number(0.25)), self.number(0.5))
            if kind == "Clip of a line":
                return self.node("Clip", line, self.number(0), self.number(1))
            return self.node("Min", self.node("Max", line, self.number(0)), self.number(1))
        if kind == "Tanh of a half":
            half = self.node("Tanh", self.node("Mul", x, self.number(0.5)))
            return self.node("Add", self.node("Mul", half, self.number(0.5)), self.number(0.5))
        return self.node(kind, x)

    def expression(self, tree: ast.expr, names: dict[str, str]) -> str:
        """The nodes of a pattern, ``names`` saying what its names stand for."""
        if isinstance(tree, ast.Name):
            return names[tree.id]
        if isinstance(tree, ast.Constant):
            return self.number(tree.value)
        if isinstance(tree, ast.NamedExpr):
            names[tree.target.id] = self.expression(tree.value, names)
            return names[tree.target.id]
        if isinstance(tree, ast.Call):
            return self.activation(names[tree.func.id], self.expression(tree.args[0], names))
        op = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}[type(tree.op)]
        return self.node(op, self.expression(tree.left, names), self.expression(tree.right, names))

    def candidate(self, names: dict[str, str], after: bool) -> str:
        """What a GRU's candidate is the activation of."""
        reset = self.activation(names["F"], names["r"])
        inside = self.product("x", self.features, self.hidden, True)
        if after:
            product = self.product("h", self.hidden, self.hidden, True)
            return self.node("Add", inside, self.node("Mul", reset, product))
        state = self.node("Mul", reset, "h")
        return self.node("Add", inside, self.product(state, self.hidden, self.hidden, False))


@st.composite
def decomposed_cells(draw, form: CellForm) -> Case:
    """A cell of a form over any number of rows."""
    features, hidden, rows = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    writer = Writer(draw, features, hidden)
    steep = STEEP if "-" not in form.gates else ["Sigmoid", "HardSigmoid"]
    names = {"F": draw(st.sampled_from(steep))} | {name: draw(st.sampled_from(ROUND)) for name in "GH"}
    sides = (("x", features), ("h", hidden))
    gates = sorted(set(form.gates.replace("-", "").split()) - {"n"})
    names |= dict(zip(gates, writer.gates(len(gates), sides))) | {"h": "h", "c": "c"}
    if form.op == "GRU":
        names["n"] = writer.candidate(names, draw(st.booleans()))
    y_h = writer.expression(ast.parse(form.expression, mode="eval").body, names)
    states = ["h", "c"] if form.op == "LSTM" else ["h"]
    shape = ("rows", hidden)
    outputs = [y_h, *([names["y_c"]] if form.op == "LSTM" else [])]
    data = model(
        writer.nodes,
        [value("x", shape=("rows", features)), *(value(name, shape=shape) for name in states)],
        [value(name, shape=shape) for name in outputs],
        writer.constants,
    )
    feeds = {"x": (rows, features), **{name: (rows, hidden) for name in states}}
    normal = {name: writer.rng.standard_normal(size).astype(np.float32) for name, size in feeds.items()}
    return Case(data, normal)


FORMS_BY_EXPRESSION = {form.expression: form for form in FORMS}
