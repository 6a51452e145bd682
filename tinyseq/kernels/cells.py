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


LATE = -1
"""The activation of a gate that is something else first."""


class Cell:
    """One row of the table.

    ``gates`` in ONNX's order and the default ``activations`` in that of its specification; whether products
    are kept ``apart``. ``formula(fma, activations, peepholes, coupled)`` makes the cell; where the state has
    a ``c``, ``parts`` make its two halves, functions ``(x, c, k, options)`` of the old c that give the new
    one, and of the new c that give h; ``reset``, where the last gate's product is one with a reset state, the
    function that makes it of the others. ``optional`` says whether there may be peepholes and coupled gates.
    ``early`` has for each gate the number of the activation that is all that becomes of it by itself, or
    ``LATE``.
    """

    __slots__ = ("activations", "apart", "early", "formula", "gates", "optional", "parts", "reset")

    def __init__(
        self,
        gates: str,
        activations: tuple[str, ...],
        early: tuple[int, ...],
        formula: Callable[..., Callable],
        parts: tuple[Callable[..., Callable], ...] = (),
        apart: bool = False,
        reset: Callable[..., Callable] | None = None,
        optional: bool = False,
    ) -> None:
        self.gates = gates
        self.activations = activations
        self.early = early
        self.formula = formula
        self.parts = parts
        self.apart = apart
        self.reset = reset
        self.optional = optional

    @property
    def has_c(self) -> bool:
        """Whether the state has a c."""
        return bool(self.parts)


def _rnn(fma, activations, peepholes, coupled):
    (f,) = activations

    def rnn(x, s, h, c, k, options):
        return f(x[0], options), c

    return rnn


def _lstm_c(fma, activations, peepholes, coupled):
    """Constants are the peepholes of i, o and f; coupled, f = 1 - i."""
    f, g, _ = activations

    def lstm_c(x, c, k, options):
        i, _, forget, new = x
        if peepholes:
            i, forget = fma(k[0], c, i), fma(k[2], c, forget)
        i = f(i, options)
        forget = ONE - i if coupled else f(forget, options)
        return fma(forget, c, i * g(new, options))

    return lstm_c


def _lstm_h(fma, activations, peepholes, coupled):
    f, _, h_function = activations

    def lstm_h(x, c, k, options):
        o = fma(k[1], c, x[1]) if peepholes else x[1]
        return f(o, options) * h_function(c, options)

    return lstm_h


def _lstm(fma, activations, peepholes, coupled):
    new_c, new_h = (part(fma, activations, peepholes, coupled) for part in (_lstm_c, _lstm_h))

    def lstm(x, s, h, c, k, options):
        c = new_c(x, c, k, options)
        return new_h(x, c, k, options), c

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
    "RNN": Cell("h", ("Tanh",), (0,), _rnn),
    "LSTM": Cell("iofc", ("Sigmoid", "Tanh", "Tanh"), (0, 0, 0, 1), _lstm, (_lstm_c, _lstm_h), optional=True),
    "GRU, reset after": Cell("zrh", ("Sigmoid", "Tanh"), (0, 0, LATE), _gru_after, apart=True),
    "GRU, reset before": Cell("zrh", ("Sigmoid", "Tanh"), (0, 0, 1), _gru_before, reset=_reset),
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
