"""The cells of ``tinyseq.kernels.cells`` for a device: over numbers, and as the end of a frame's step."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from tinyseq.kernels.cells import Variant
from tinyseq.kernels.compute.math import ZERO, bounded
from tinyseq.kernels.compute.rows import FUNCTIONS, default_of, reading, valid_row
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.steps import Stage
from tinyseq.kernels.instructions import HAS_Y
from tinyseq.kernels.llvm.intrinsics import floats, fma


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
    cell, gates = variant.cell, len(variant.cell.gates)
    compute, has_c = computing(variant, formula), cell.has_c
    read_x, read_s, read_k = reading(gates), reading(gates * cell.apart), reading(variant.constants)

    def finish(n, j, units, frame):
        skip, own_c = n * frame.stride * BYTES, ZERO
        if has_c:
            own_c = floats(frame.c)[n * units + j]
        x, s = read_x(frame.gates + skip, units, j), read_s(frame.sums + skip, units, j)
        before = floats(frame.before)[n * frame.before_stride + j]
        h, new_c = compute(x, s, before, own_c, read_k(frame.constants, units, j), frame.options)
        if has_c and valid_row(frame.lengths, n, frame.t, frame.flags):
            floats(frame.c)[n * units + j] = new_c
        deliver(n, j, h, before, frame)

    return finish


def _finish_projection(n, j, units, frame):
    """The product is h."""
    h = floats(frame.sums)[n * units + j]
    _keep(n, j, h, floats(frame.before)[n * frame.before_stride + j], frame)


PROJECTION = Stage(1, _finish_projection)


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
    finish = _finishing(variant, cell.formula, _keep)
    leave = _finishing(variant, cell.formula, _leave)
    reset = cell.reset and Stage(gates - 1, _finishing(variant, cell.reset, _leave))
    return Stages(Stage(gates, finish), Stage(gates, leave), reset, Stage(1, finish))
