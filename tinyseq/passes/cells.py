"""The forms in which exporters and people write recurrent cells, and how one is told from a graph.

``FORMS`` is the table of what is recognised. A form says how the next state is computed from activated
gates; that each gate is a sum of products of inputs and state with constants, split or stacked in
whatever way, is left to ``affine.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinyseq.passes.affine import Affine, Affines
from tinyseq.passes.patterns import AppliedActivation, Binding, matches


class CellForm(NamedTuple):
    """One way to write a cell.

    ``gates`` names the tensors before the activations in ONNX's order; ``-`` stands before a gate that the
    expression has as 1 - F(gate).
    """

    op: str
    root: str
    expression: str
    gates: str
    input_forget: int = 0


FORMS = (
    CellForm("LSTM", "Mul", "F(o) * H(y_c := F(f) * c + F(i) * G(g))", "i o f g"),
    CellForm("LSTM", "Mul", "F(o) * H(y_c := (1 - F(i)) * c + F(i) * G(g))", "i o i g", 1),
    CellForm("LSTM", "Mul", "F(o) * H(y_c := c + F(i) * (G(g) - c))", "i o i g", 1),
    CellForm("LSTM", "Mul", "F(o) * H(y_c := F(f) * c + (1 - F(f)) * G(g))", "-f o f g"),
    CellForm("GRU", "Add", "(1 - F(z)) * G(n) + F(z) * h", "z r n"),
    CellForm("GRU", "Add", "G(n) + F(z) * (h - G(n))", "z r n"),
    CellForm("GRU", "Add", "h + (1 - F(z)) * (G(n) - h)", "z r n"),
    CellForm("GRU", "Add", "(1 - F(z)) * h + F(z) * G(n)", "-z r n"),
    CellForm("GRU", "Add", "h + F(z) * (G(n) - h)", "-z r n"),
)
"""Cells with gates. A plain RNN, ``F(a)``, is told by its two products: see ``plain_cell``."""

RESET_STATE = "F(r) * h"
"""In the candidate of a GRU: the state that is multiplied by a matrix (linear_before_reset = 0)."""

RESET_PRODUCT = "F(r) * product"
"""In the candidate of a GRU: the product with the state, bias included (linear_before_reset = 1)."""


class FoundCell(NamedTuple):
    """A cell told from a graph: its gates in ONNX's order as sums of products, and its tensors.

    ``recurrent_bias`` is that of a GRU's candidate beside the state; ``states`` are the tensors that may be
    h, the first of them taken for it.
    """

    op: str
    gates: tuple[Affine, ...]
    recurrent_bias: np.ndarray
    states: tuple[str, ...]
    c: str
    y_h: str
    y_c: str
    attributes: dict[str, Any]

    @property
    def hidden(self) -> int:
        return len(self.recurrent_bias)

    @property
    def h(self) -> str:
        return self.states[0]

    @property
    def x(self) -> list[str]:
        """The tensors that the input consists of."""
        return [
            name for name in dict.fromkeys(n for gate in self.gates for n in gate.terms) if name != self.h
        ]

    @property
    def products(self) -> set[str]:
        """The results of the matrix products that the cell replaces."""
        return set().union(*(gate.products for gate in self.gates))

    def matrix(self, name: str) -> np.ndarray:
        """What a tensor is multiplied by, [G*H, F]."""
        width = next(len(gate.terms[name]) for gate in self.gates if name in gate.terms)
        none = np.zeros((width, self.hidden), np.float32)
        return np.concatenate([gate.terms.get(name, none) for gate in self.gates], 1).T

    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``w r b`` as ONNX has them."""
        recurrent = np.zeros((len(self.gates), self.hidden), np.float32)
        recurrent[-1] = self.recurrent_bias
        biases = [np.broadcast_to(gate.bias, self.hidden) for gate in self.gates]
        b = np.concatenate([*biases, recurrent.ravel()])
        w = np.concatenate([self.matrix(name) for name in self.x], 1)
        return tuple(np.ascontiguousarray(array[None], np.float32) for array in (w, self.matrix(self.h), b))

    def multiplied_alike(self, name: str, other: FoundCell, of: str) -> bool:
        """Whether a tensor is multiplied by what another one is multiplied by in another cell."""
        pairs = [(a.terms.get(name), b.terms.get(of)) for a, b in zip(self.gates, other.gates)]
        return all(_one(a, b) for a, b in pairs) or np.array_equal(self.matrix(name), other.matrix(of))

    def with_state(self, name: str) -> FoundCell:
        """The same cell with another of its tensors taken for h."""
        return self._replace(states=(name, *(other for other in self.states if other != name)))


def _one(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Whether two arrays are the same elements in memory, or both are absent."""
    if a is None or b is None or a.shape != b.shape or a.strides != b.strides:
        return a is b
    return a is b or a.__array_interface__["data"] == b.__array_interface__["data"]


def gated_cell(node_op: str, y_h: str, affines: Affines) -> FoundCell | None:
    """The LSTM or GRU cell whose hidden state a tensor is, if it is one."""
    for form in FORMS:
        if form.root == node_op:
            for bound in matches(form.expression, y_h, affines.view):
                cell = (_lstm if form.op == "LSTM" else _gru)(form, bound, y_h, affines)
                if cell is not None and _fits(cell, affines):
                    return cell
    return None


def _lstm(form: CellForm, bound: Binding, y_h: str, affines: Affines) -> FoundCell | None:
    gates = _gates(form, bound, affines)
    if gates is None:
        return None
    attributes = _activations([bound[name] for name in "FGH"]) | {"input_forget": form.input_forget}
    bias = np.zeros(affines.width(y_h) or 0, np.float32)
    states = _states(gates, y_h, affines)
    return FoundCell("LSTM", gates, bias, states, bound["c"], y_h, bound["y_c"], attributes)


def _gru(form: CellForm, bound: Binding, y_h: str, affines: Affines) -> FoundCell | None:
    h, candidate = bound["h"], affines.of(bound["n"])
    if candidate is None:
        return None
    for name in candidate.terms:
        own = Affine({n: m for n, m in candidate.terms.items() if n != name}, candidate.bias)
        for reset, inner in _resets(name, candidate, bound, affines):
            gates = _gates(form, bound | {"r": reset}, affines, own.plus(inner._replace(bias=np.float32(0))))
            if gates is None or set(inner.terms) != {h}:
                continue
            after = candidate.terms[name] is None
            bias = np.broadcast_to(inner.bias, affines.width(h) or 0)
            gates = (*gates[:2], gates[2]._replace(products=candidate.products | inner.products))
            attributes = _activations([bound["F"], bound["G"]]) | {"linear_before_reset": int(after)}
            return FoundCell("GRU", gates, bias, (h,), "", y_h, "", attributes)
    return None


def _resets(name: str, candidate: Affine, bound: Binding, affines: Affines) -> Iterator[tuple[str, Affine]]:
    """The reset gates that may act in a term of a GRU's candidate, each with what it lets pass of h."""
    matrix = candidate.terms[name]
    known = {key: bound[key] for key in ("F", "h")}
    if matrix is not None:
        for found in matches(RESET_STATE, name, affines.view, known):
            yield found["r"], Affine({bound["h"]: matrix}, np.float32(0))
        return
    for found in matches(RESET_PRODUCT, name, affines.view, known):
        inner = affines.of(found["product"])
        if inner is not None and not inner.whole and affines.shapes(found["product"]) == affines.shapes(name):
            yield found["r"], inner


def _gates(
    form: CellForm, bound: Binding, affines: Affines, last: Affine | None = None
) -> tuple[Affine, ...] | None:
    """The gates of a form in order; ``last`` stands for the last one."""
    gates = []
    for text in form.gates.split():
        gate = last if last is not None and text == form.gates.split()[-1] else affines.of(bound[text[-1]])
        if text[0] == "-":
            gate = gate and gate.times(-1) if _odd_about_half(bound["F"]) else None
        if gate is None:
            return None
        gates.append(gate)
    return tuple(gates)


def _odd_about_half(function: AppliedActivation) -> bool:
    """Whether 1 - F(x) = F(-x)."""
    return function.name == "Sigmoid" or (function.name == "HardSigmoid" and function.beta == 0.5)


def plain_cell(y_h: str, affines: Affines) -> FoundCell | None:
    """The RNN cell whose state a tensor is: one activation of two products, of which one may be of the
    state. Whether it is, only what the tensors are elsewhere can tell."""
    for bound in matches("F(a)", y_h, affines.view):
        gate = affines.of(bound["a"])
        if gate is None or gate.whole or len(gate.products) < 2:
            return None
        bias = np.zeros(affines.width(y_h) or 0, np.float32)
        states = _states((gate,), y_h, affines)
        cell = FoundCell("RNN", (gate,), bias, states, "", y_h, "", _activations([bound["F"]]))
        if _fits(cell, affines):
            return cell
    return None


def _states(gates: tuple[Affine, ...], y_h: str, affines: Affines) -> tuple[str, ...]:
    """The tensors among the gates' terms that are shaped as the state."""
    terms = dict.fromkeys(name for gate in gates for name in gate.terms)
    return tuple(name for name in terms if affines.shapes(name) == affines.shapes(y_h))


def _activations(functions: list[AppliedActivation]) -> dict[str, Any]:
    """The attributes of a layer's activations; none where they are the usual ones."""
    names = tuple(function.name for function in functions)
    if names in (("Sigmoid", "Tanh", "Tanh"), ("Sigmoid", "Tanh"), ("Tanh",)):
        return {}
    alphas = tuple(f.alpha for f in functions if f.alpha is not None)
    betas = tuple(f.beta for f in functions if f.beta is not None)
    return {"activations": names, "activation_alpha": alphas or None, "activation_beta": betas or None}


def _fits(cell: FoundCell, affines: Affines) -> bool:
    """Whether all tensors are rows of one number, so that the layer means what the nodes mean."""
    hidden, state = cell.hidden, affines.shapes(cell.y_h)
    if not hidden or not cell.states or any(gate.whole for gate in cell.gates) or not cell.x:
        return False
    if any(matrix.shape[1] != hidden for gate in cell.gates for matrix in gate.terms.values()):
        return False
    if any(affines.shapes(name) != state for name in (cell.h, cell.c, cell.y_c) if name):
        return False
    rows = [shape and shape[:-1] for shape in state]
    inputs = [[shape and shape[:-1] for shape in affines.shapes(name)] for name in cell.x]
    return all(len(row or ()) == 1 for row in rows) and all(found == rows for found in inputs)
