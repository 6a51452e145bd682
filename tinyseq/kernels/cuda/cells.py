"""The cells of ``tinyseq.kernels.cells`` for a device: over numbers, and as the end of a frame's step."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from tinyseq.kernels.cells import LATE, Variant
from tinyseq.kernels.compute.math import (
    BEYOND,
    ONE,
    SIGMOID_MAX,
    SIGMOID_MIN,
    TANH_MAX,
    ZERO,
    bounded,
    exponential_parts,
)
from tinyseq.kernels.compute.rows import FUNCTIONS, default_of, reading, valid_row
from tinyseq.kernels.cuda.stages import Stage
from tinyseq.kernels.instructions import HAS_Y
from tinyseq.kernels.llvm.intrinsics import floats, fma, power_of_two, quotient


def _chosen(functions: list[Callable], first: int = 0) -> Callable:
    """One function that applies the one of a code."""
    own = functions[0]
    if len(functions) == 1:
        return lambda code, x, alpha, beta: own(x, alpha, beta)
    others = _chosen(functions[1:], first + 1)

    def choose(code, x, alpha, beta):
        return own(x, alpha, beta) if code == first else others(code, x, alpha, beta)

    return choose


_apply = _chosen([*FUNCTIONS.values()])


def _named(which: int) -> Callable:
    """Activation ``which`` of the options, which clips what it is given."""
    first = 1 + 3 * which

    def activation(x, options):
        option = floats(options)
        x = bounded(x, -option[0], option[0])
        return _apply(int(option[first]), x, option[first + 1], option[first + 2])

    return activation


def computing(variant: Variant, formula: Callable) -> Callable:
    """The cell that a formula of a variant makes."""
    names = variant.cell.activations
    own = map(_named, range(len(names))) if variant.general else map(default_of, names)
    return variant.made(formula, fma, tuple(own))


THREE = np.float32(3)


def _unchanged(x, options):
    return x


def ending(variant: Variant, formula: Callable) -> Callable:
    """``computing`` of gates to which ``early_of`` has been applied; apart from them, products are zero."""
    cell = variant.cell
    names = enumerate(cell.activations)
    own = (_unchanged if number in cell.early else default_of(name) for number, name in names)
    return variant.made(formula, fma, tuple(own))


def early_of(variant: Variant) -> Callable[..., object]:
    """``early(x, gate)``: what becomes of a gate by itself, for threads of a warp that have one each.

    Sigmoid and tanh are one computation here, whose numbers differ; see ``tinyseq.kernels.compute.math``.
    """
    cell = variant.cell
    tanhs = tuple(number != LATE and cell.activations[number] == "Tanh" for number in cell.early)
    lates = tuple(number == LATE for number in cell.early)
    gates = len(cell.gates)

    def early(x, gate):
        tanh = late = False
        for g in range(gates):
            tanh, late = tanh or (tanhs[g] and gate == g), late or (lates[g] and gate == g)
        high, lower, low = SIGMOID_MAX, SIGMOID_MIN, BEYOND
        # Of one number, as each takes a register for as long as the loop around it.
        offset = -ONE if tanh else ZERO
        factor, more = fma(offset, -THREE, -ONE), ONE - offset
        if tanh:
            high, lower, low = TANH_MAX, -TANH_MAX, -TANH_MAX
        held = high if x > high else x
        held = low if held < lower else held
        t, p = exponential_parts(held * factor)
        scale = power_of_two(t)
        e = fma(scale, p, scale + offset)
        return x if late else quotient(e if tanh else ONE, e + more)

    return early


def _keep(n, j, h, before, frame):
    """Makes ``h`` the state of unit j of row n and its output, if the row runs for this frame."""
    valid = valid_row(frame.lengths, n, frame.t, frame.flags)
    floats(frame.target)[n * frame.target_stride + j] = h if valid else before
    if frame.flags & HAS_Y:
        floats(frame.y)[n * frame.y_row + j] = h if valid else ZERO


def _leave(n, j, h, before, frame):
    """Leaves ``h`` for the next step of the same frame."""
    floats(frame.target)[n * frame.target_stride + j] = h


def _finishing(variant: Variant, formula: Callable, deliver: Callable[..., None]) -> Callable[..., None]:
    compute, has_c = computing(variant, formula), variant.cell.has_c
    read_k = reading(variant.constants)

    def finish(x, s, c, before, n, j, units, frame):
        h, new_c = compute(x, s, before, c, read_k(frame.constants, units, j), frame.options)
        if has_c:
            valid = valid_row(frame.lengths, n, frame.t, frame.flags)
            floats(frame.c)[n * units + j] = new_c if valid else c
        deliver(n, j, h, before, frame)

    return finish


def _finish_projection(x, s, c, before, n, j, units, frame):
    """The product is h."""
    _keep(n, j, x[0], before, frame)


PROJECTION = Stage(1, False, 0, 1, _finish_projection)


class Stages(NamedTuple):
    """The steps of a cell: of a frame by one product, what is left for a projection, and the two of a cell
    that resets the state."""

    whole: Stage
    unprojected: Stage
    reset: Stage | None
    candidate: Stage


@cache
def stages_of(variant: Variant) -> Stages:
    """Made once for each variant, as kernels are told apart by their functions."""
    cell, gates = variant.cell, len(variant.cell.gates)

    def stage(first: int, count: int, formula: Callable, deliver: Callable[..., None]) -> Stage:
        return Stage(gates, cell.apart, first, count, _finishing(variant, formula, deliver))

    whole, unprojected = (stage(0, gates, cell.formula, deliver) for deliver in (_keep, _leave))
    reset = cell.reset and stage(0, gates - 1, cell.reset, _leave)
    return Stages(whole, unprojected, reset, stage(gates - 1, 1, cell.formula, _keep))
