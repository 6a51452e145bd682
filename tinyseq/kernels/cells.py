"""The recurrent cells: one table for the planner, for the CPU's time loop and for CUDA's.

A cell is a function ``(x, s, h, c, k, options) -> (h, c)`` of one unit of one row: the gates ``x`` of the
input, the products ``s`` with the state where they are kept apart (added to the gates elsewhere), the state
``h`` and ``c``, constants ``k`` of the unit, and an address of ``options`` that activations may read. It is
made by a function of what it is computed with: ``fma`` and activations ``(number, options) -> number``.
So every loop computes the same formula, whatever its numbers are.

Formulas are those of the ONNX operator specification of RNN, LSTM and GRU.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np

ONE = np.float32(1)


class Cell:
    """One row of the table.

    ``gates`` in ONNX's order and the default ``activations`` in that of its specification; whether the state
    has a ``c``, and products are kept ``apart``. ``formula(fma, activations, peepholes, coupled)`` makes the
    cell; ``reset``, where the last gate's product is one with a reset state, the function that makes it of
    the others. ``optional`` says whether there may be peepholes and coupled gates.
    """

    __slots__ = ("activations", "apart", "formula", "gates", "has_c", "optional", "reset")

    def __init__(
        self,
        gates: str,
        activations: tuple[str, ...],
        formula: Callable[..., Callable],
        has_c: bool = False,
        apart: bool = False,
        reset: Callable[..., Callable] | None = None,
        optional: bool = False,
    ) -> None:
        self.gates = gates
        self.activations = activations
        self.formula = formula
        self.has_c = has_c
        self.apart = apart
        self.reset = reset
        self.optional = optional


def _rnn(fma, activations, peepholes, coupled):
    (f,) = activations

    def rnn(x, s, h, c, k, options):
        return f(x[0], options), c

    return rnn


def _lstm(fma, activations, peepholes, coupled):
    """Constants are the peepholes of i, o and f; coupled, f = 1 - i."""
    f, g, h_function = activations

    def lstm(x, s, h, c, k, options):
        i, o, forget, new = x
        if peepholes:
            i, forget = fma(k[0], c, i), fma(k[2], c, forget)
        i = f(i, options)
        forget = ONE - i if coupled else f(forget, options)
        c = fma(forget, c, i * g(new, options))
        if peepholes:
            o = fma(k[1], c, o)
        return f(o, options) * h_function(c, options), c

    return lstm


def _gru_after(fma, activations, peepholes, coupled):
    """linear_before_reset = 1: the reset gate scales the product with the state, bias included."""
    f, g = activations

    def gru_after(x, s, h, c, k, options):
        z, reset = f(x[0] + s[0], options), f(x[1] + s[1], options)
        candidate = g(x[2] + reset * s[2], options)
        return fma(z, h, (ONE - z) * candidate), c

    return gru_after


def _gru_before(fma, activations, peepholes, coupled):
    """linear_before_reset = 0: the candidate has the product with the reset state."""
    f, g = activations

    def gru_before(x, s, h, c, k, options):
        z, candidate = f(x[0], options), g(x[2], options)
        return fma(z, h, (ONE - z) * candidate), c

    return gru_before


def _reset(fma, activations, peepholes, coupled):
    f = activations[0]

    def reset(x, s, h, c, k, options):
        return f(x[1], options) * h, c

    return reset


CELLS = {
    "RNN": Cell("h", ("Tanh",), _rnn),
    "LSTM": Cell("iofc", ("Sigmoid", "Tanh", "Tanh"), _lstm, has_c=True, optional=True),
    "GRU, reset after": Cell("zrh", ("Sigmoid", "Tanh"), _gru_after, apart=True),
    "GRU, reset before": Cell("zrh", ("Sigmoid", "Tanh"), _gru_before, reset=_reset),
}

PEEPHOLES = 3
"""How many there are for each unit."""


class Variant(NamedTuple):
    """The cell of a ``name`` with its options: whether it is ``general``, its activations being named at run
    time and clipping what they are given, or has the default ones; whether there are ``peepholes``; whether
    its gates are ``coupled``."""

    name: str
    general: bool = False
    peepholes: bool = False
    coupled: bool = False

    @property
    def cell(self) -> Cell:
        return CELLS[self.name]

    @property
    def constants(self) -> int:
        """How many constants a unit has."""
        return PEEPHOLES if self.peepholes else 0

    def made(self, formula: Callable, fma: Callable, activations: tuple[Callable, ...]) -> Callable:
        """The cell that a formula of its row makes."""
        return formula(fma, activations, self.peepholes, self.coupled)


VARIANTS = tuple(
    Variant(name, *options)
    for name, cell in CELLS.items()
    for options in product((False, True), repeat=3)
    if cell.optional or not any(options[1:])
)
"""What an instruction may ask for, by code."""

VARIANT_CODES = {variant: code for code, variant in enumerate(VARIANTS)}
