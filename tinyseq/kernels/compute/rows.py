"""A cell over a row of units, in ways that compute the same.

With the default activations one loop does all of it; where the state has a c, one makes that and another one
h, so that many units are under way at once. Where activations are named at run time, a loop ends at each:
the numbers that it is given are left in memory, activated there all at once, and read by what follows. Both
are made from the cell's one function.

Units are computed in whole vectors. Those of a last one lie meanwhile in memory of their own, which has room
for it: so the units of a row have not to be a multiple of anything. Rows that are shorter than a vector are
put side by side, so that vectors are of several rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types

from tinyseq.kernels.activations import ACTIVATIONS
from tinyseq.kernels.cells import Variant
from tinyseq.kernels.compute import math
from tinyseq.kernels.compute.math import ZERO, bounded
from tinyseq.kernels.instructions import BYTES, HAS_LENGTHS, HAS_Y, PANEL
from tinyseq.kernels.llvm.intrinsics import (
    compiled,
    floats,
    fma,
    give,
    integers,
    lanes,
    stack,
    stay_apart,
    take,
)
from tinyseq.kernels.llvm.switch import switch


def _function_of(name: str) -> Callable:
    """The compiled formula of an activation: of x, alpha and beta."""
    scope = {**vars(math), "__name__": __name__}
    exec(f"def {name}(x, alpha, beta):\n    return {ACTIVATIONS[name].formula}", scope)
    return compiled()(scope[name])


FUNCTIONS = {name: _function_of(name) for name in ACTIVATIONS}


def default_of(name: str) -> Callable:
    """An activation without parameters, as cells call it."""
    function = FUNCTIONS[name]

    @compiled()
    def activation(x, options):
        return function(x, ZERO, ZERO)

    return activation


def taking(count: int, first: int = 0) -> Callable:
    """``take(row, stride, j)``: a tuple of ``count`` numbers of unit j, ``stride`` apart."""
    if first == count:
        return compiled()(lambda row, stride, j: ())
    rest = taking(count, first + 1)

    @compiled()
    def take(row, stride, j):
        return (row[first * stride + j],) + rest(row, stride, j)

    return take


def reading(count: int) -> Callable:
    """``taking`` by the address of a row, which need not be one if there is nothing to take."""
    take = taking(count)

    @compiled()
    def read(address, stride, j):
        return take(floats(address), stride, j)

    return read if count else take


@compiled()
def valid_row(lengths, n, t, flags):
    """Whether row n runs for frame t."""
    return flags & HAS_LENGTHS == 0 or t < integers(lengths)[n]


WIDEST = PANEL
"""No processor has vectors of more numbers."""

NARROW = 4
"""So many numbers, and those that are left behind whole vectors if they are fewer, make a narrow vector."""


def row_of(variant: Variant, formula: Callable, in_place: bool = True) -> Callable:
    """``row(gates, sums, before, h, c, constants, options, hidden)``: all units of a row, by addresses.

    The state is read at ``before`` and left at ``h``, which is the same if ``in_place``.
    """
    vectors = vectors_of(variant, formula, in_place)
    last = _last_vector(variant, vectors, in_place)

    @compiled()
    def row(gates, sums, before, h, c, constants, options, hidden):
        whole = hidden & -lanes()
        if hidden - whole == narrow():
            whole = hidden
        if whole:
            vectors(gates, sums, before, h, c, constants, options, hidden, whole)
        if whole < hidden:
            skip = whole * BYTES
            last(
                gates + skip, sums + skip, before + skip, h + skip, c + skip, constants + skip, options,
                hidden, hidden - whole,
            )  # fmt: skip

    return row


@cache
def vectors_of(variant: Variant, formula: Callable, in_place: bool) -> Callable:
    """``row_of`` for whole vectors: with ``stride``, how far apart rows are, and ``count`` units, instead of
    ``hidden``."""
    return (_in_passes if variant.general else _at_once)(variant, formula, in_place)


@compiled()
def narrow():
    """Of how many numbers the narrowest vectors are; what is computed are whole ones."""
    return min(lanes(), NARROW)


def _last_vector(variant: Variant, vectors: Callable, in_place: bool) -> Callable:
    """The last ``count`` units of rows that are ``stride`` apart, fewer than a vector has, by way of rows on
    the stack: those of the gates, the sums, the constants, c, the state and, if not ``in_place``, what it
    becomes."""
    gates_read, constants_read, cs_read = len(variant.cell.gates), variant.constants, int(variant.cell.has_c)
    sums_read = gates_read * variant.cell.apart
    size = WIDEST * BYTES
    at_sums = gates_read * size
    at_constants = at_sums + sums_read * size
    at_c = at_constants + constants_read * size
    at_old = at_c + size
    at_new = at_old if in_place else at_old + size
    rows = stack(types.float32, at_new // BYTES + WIDEST)

    @compiled()
    def last(gates, sums, before, h, c, constants, options, stride, count):
        stay_apart()
        own = rows()
        _take_rows(gates, own, gates_read, stride, count)
        _take_rows(sums, own + at_sums, sums_read, stride, count)
        _take_rows(constants, own + at_constants, constants_read, stride, count)
        _take_rows(c, own + at_c, cs_read, stride, count)
        take(before, own + at_old, count)
        vectors(
            own, own + at_sums, own + at_old, own + at_new, own + at_c, own + at_constants, options, WIDEST,
            narrow() if count <= narrow() else lanes(),
        )  # fmt: skip
        give(own + at_new, h, count)
        if cs_read:
            give(own + at_c, c, count)

    return last


XW, R, SECOND, BIAS, CONSTANTS, OPTIONS, H, C, Y, SCRATCH, ROUNDED, LENGTHS = range(12)
REVERSE, Y_FRAME, Y_ROW = range(12, 15)
"""Words of a layer: operands of ``recurrent``, by these names."""

T, ROW, SUMS, Y_PLACE = range(15, 19)
"""Words of a layer: a frame, and where its gates are, its products if they are kept apart, and its output."""

LAYER_WORDS = 19
"""How many words of a layer there are."""

BESIDE = 96
"""Units of rows that are put side by side at once: no fewer than ``MOST_ABREAST`` rows have that fill no
vector, and their numbers take less than a page of the stack, which Windows does not grow by more at once."""


def beside_of(variant: Variant, row: Callable) -> Callable:
    """``beside(layers, count, rows, hidden, options, flags)``: ``row`` for all rows of ``count`` layers, of
    fewer units than a vector has, and their output; there are no constants."""
    gates, cs = len(variant.cell.gates), int(variant.cell.has_c)
    sums = gates * variant.cell.apart
    room = stack(types.float32, (gates + sums + 2) * BESIDE + WIDEST)

    @compiled()
    def beside(layers, count, rows, hidden, options, flags):
        stay_apart()
        # Added to a literal, so that Numba compiles no twin for it.
        no = hidden - hidden
        own, width, most, first = room(), gates * hidden, rows, 0
        if count * rows * hidden > BESIDE:
            most = BESIDE // (count * hidden)
        while first < rows:
            held = min(most, rows - first)
            each, units = (count, first, held, hidden), count * held * hidden
            at_sums = own + gates * units * BYTES
            at_h = at_sums + sums * units * BYTES
            at_c = at_h + units * BYTES
            _put_side_by_side(layers, no + ROW, width, no + gates, each, own)
            if sums:
                _put_side_by_side(layers, no + SUMS, width, no + sums, each, at_sums)
            _put_side_by_side(layers, no + H, hidden, no + 1, each, at_h)
            if cs:
                _put_side_by_side(layers, no + C, hidden, no + 1, each, at_c)
            row(own, at_sums, at_h, at_h, at_c, own, options, units)
            _put_back(layers, no + H, hidden, each, at_h)
            if cs:
                _put_back(layers, no + C, hidden, each, at_c)
            if flags & HAS_Y:
                _put_back(layers, no + Y_PLACE, integers(layers)[Y_ROW], each, at_h)
            first += held

    return beside


@compiled()
def _put_side_by_side(layers, word, stride, parts, each, target):
    """Of each part of ``hidden`` numbers, one row behind the other; whole vectors are written."""
    stay_apart()
    count, first, rows, hidden = each
    for part in range(parts):
        for number in range(count):
            source = integers(layers)[number * LAYER_WORDS + word] + (first * stride + part * hidden) * BYTES
            for _ in range(rows):
                take(source, target, hidden)
                source += stride * BYTES
                target += hidden * BYTES


@compiled()
def _put_back(layers, word, stride, each, source):
    """Undoes ``_put_side_by_side`` of one part."""
    stay_apart()
    count, first, rows, hidden = each
    for number in range(count):
        target = integers(layers)[number * LAYER_WORDS + word] + first * stride * BYTES
        for _ in range(rows):
            give(source, target, hidden)
            source += hidden * BYTES
            target += stride * BYTES


@compiled()
def _take_rows(source, target, rows, stride, count):
    """The first ``count`` numbers of some rows, ``stride`` apart, for rows of ``WIDEST``."""
    for number in range(rows):
        take(source + number * stride * BYTES, target + number * WIDEST * BYTES, count)


def _at_once(variant: Variant, formula: Callable, in_place: bool) -> Callable:
    """``row_of`` for ``count`` units, whole vectors, of rows that are ``stride`` apart."""
    cell, gates = variant.cell, len(variant.cell.gates)
    activations = tuple(map(default_of, cell.activations))
    if cell.has_c:
        return _c_first(variant, activations)
    compute = compiled()(variant.made(formula, fma, activations))
    read_x, read_s = reading(gates), reading(gates * cell.apart)

    @compiled()
    def row(gates, sums, before, h, c, constants, options, stride, count):
        stay_apart()
        old = floats(before)
        new = old if in_place else floats(h)
        for j in range(count & -narrow()):
            x, s = read_x(gates, stride, j), read_s(sums, stride, j)
            new[j], _ = compute(x, s, old[j], ZERO, (), options)

    return row


def _c_first(variant: Variant, activations: tuple[Callable, ...]) -> Callable:
    new_c, new_h = (compiled()(variant.made(part, fma, activations)) for part in variant.cell.parts)
    read_x, read_k = reading(len(variant.cell.gates)), reading(variant.constants)

    @compiled()
    def row(gates, sums, before, h, c, constants, options, stride, count):
        stay_apart()
        h_row, c_row, units = floats(h), floats(c), count & -narrow()
        for j in range(units):
            x, k = read_x(gates, stride, j), read_k(constants, stride, j)
            c_row[j] = new_c(x, c_row[j], k, options)
        for j in range(units):
            x, k = read_x(gates, stride, j), read_k(constants, stride, j)
            h_row[j] = new_h(x, c_row[j], k, options)

    return row


class _Expression:
    """A number of each unit as source code, by which a cell's function shows what it computes.

    ``gates`` are the rows that it reads gates from which no activation has taken yet.
    """

    __array_ufunc__ = None

    def __init__(self, text: str, *gates: str) -> None:
        self.text = text
        self.gates = set(gates)

    def __add__(self, other: _Expression) -> _Expression:
        return _Expression(f"({self.text} + {other.text})", *self.gates, *other.gates)

    def __mul__(self, other: _Expression) -> _Expression:
        return _Expression(f"({self.text} * {other.text})", *self.gates, *other.gates)

    def __rsub__(self, number: np.float32) -> _Expression:
        return _Expression(f"(float32({float(number)}) - {self.text})", *self.gates)


def _fused(a: _Expression, b: _Expression, c: _Expression) -> _Expression:
    return _Expression(f"fma({a.text}, {b.text}, {c.text})", *a.gates, *b.gates, *c.gates)


class _Passes:
    """The source of a row's loops, from what a cell's function does with expressions.

    What is activated is left in the row of a gate that it is made of, or where h will be if there is none.
    """

    def __init__(self, variant: Variant, formula: Callable) -> None:
        self.loops: list[str] = []
        self.taken: set[str] = set()
        cell, gates = variant.cell, len(variant.cell.gates)
        self.rows = {
            "x": ("gates", gates),
            "s": ("sums", gates * cell.apart),
            "k": ("constants", variant.constants),
        }
        x = tuple(_Expression(f"x{place}[j]", f"x{place}") for place in range(gates))
        s, k = (tuple(_Expression(f"{row}{i}[j]") for i in range(self.rows[row][1])) for row in "sk")
        functions = tuple(map(self._activation, range(len(cell.activations))))
        own = _Expression("old[j]"), _Expression("c_row[j]")
        h, c = variant.made(formula, _fused, functions)(x, s, *own, k, None)
        results = [("new", h), ("c_row", c)][: 1 + cell.has_c]
        self._loop(", ".join(f"{row}[j]" for row, _ in results), *(value for _, value in results))

    def _loop(self, target: str, *values: _Expression) -> None:
        text = ", ".join(value.text for value in values)
        read = set().union(*(value.gates for value in values)) | ({"new"} if "old[j]" in text else set())
        if read & self.taken:
            raise TypeError(f"{text} reads what an activation has taken the place of")
        self.loops.append(f"{target} = {text}")

    def _activation(self, which: int) -> Callable:
        def activate(x: _Expression, options) -> _Expression:
            row = min(x.gates, default="new")
            if row in self.taken:
                raise TypeError(f"there is no place for the activation of {x.text}")
            self._loop(f"{row}[j]", _Expression(f"bounded({x.text}, -clip, clip)", *x.gates))
            self.loops.append(f"activate(at_{row}, count, options, {which})")
            self.taken |= {row}
            return _Expression(f"{row}[j]")

        return activate

    def source(self, in_place: bool) -> str:
        lines = ["stay_apart()", f"at_new = {'before' if in_place else 'h'}", "clip = floats(options)[0]"]
        for row, (operand, count) in self.rows.items():
            for place in range(count):
                lines.append(f"at_{row}{place} = {operand} + {place * BYTES} * stride")
                lines.append(f"{row}{place} = floats(at_{row}{place})")
        lines += ["new, old, c_row = floats(at_new), floats(before), floats(c)"]
        for loop in self.loops:
            lines += [loop] if loop.startswith("activate") else ["for j in range(count):", f"    {loop}"]
        head = "def row(gates, sums, before, h, c, constants, options, stride, count):"
        return "\n    ".join([head, *lines])


def _in_passes(variant: Variant, formula: Callable, in_place: bool) -> Callable:
    scope = {
        "__name__": __name__, "activate": _activate, "bounded": bounded, "floats": floats, "fma": fma,
        "float32": np.float32, "stay_apart": stay_apart,
    }  # fmt: skip
    exec(_Passes(variant, formula).source(in_place), scope)
    return compiled()(scope["row"])


def _activating(function: Callable) -> Callable:
    @compiled()
    def activate(x, count, alpha, beta):
        values = floats(x)
        for j in range(count):
            values[j] = function(values[j], alpha, beta)

    return activate


_activate_by_code = switch(
    "activate", [_activating(function) for function in FUNCTIONS.values()], ("x", "count", "alpha", "beta")
)


@compiled()
def _activate(x, count, options, which):
    """Applies activation ``which`` of the options to ``count`` numbers."""
    option = floats(options)
    first = 1 + 3 * which
    _activate_by_code(np.int64(option[first]), x, count, option[first + 1], option[first + 2])
