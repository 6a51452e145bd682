"""What the steps of a frame are: their operands, the columns of weights that a block has, their end.

A block has ``COLUMNS`` columns of a packed matrix, all gates of a few units. What its threads have summed up
of them lies in shared memory at the end, where the cells begin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from numba import types
from numpy import int64, uint32

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.compute.rows import taking
from tinyseq.kernels.cuda.intrinsics import WARP, load4, registers
from tinyseq.kernels.cuda.sums import padded
from tinyseq.kernels.cuda.tiles import BYTES, column_of
from tinyseq.kernels.llvm.intrinsics import floats

COLUMNS = WARP
"""Columns of a block."""

QUADS = COLUMNS // 4
"""Threads side by side that load a block's columns of one k, four each."""


MOST_WEIGHTS = 2**32
"""Weights of a matrix whose places are counted in 32 bits."""


class Stage(NamedTuple):
    """What a step computes of a cell of ``known`` gates: the products of ``gates`` of them from ``first`` on,
    added to what the gates are or kept ``apart``; then ``finish(x, s, c, h, n, j, units, frame)``, which
    makes the state of unit j of row n, that was ``c`` and ``h``."""

    known: int
    apart: bool
    first: int
    gates: int
    finish: Callable[..., None]

    @property
    def keeps(self) -> bool:
        """Whether a later stage wants the gates as they are now."""
        return self.first == 0 and self.gates < self.known


class Product(NamedTuple):
    """A packed matrix of ``columns``, and rows ``start_stride`` and ``stride`` elements apart: where the sums
    start from and where they go."""

    r: int
    columns: int
    start: int
    start_stride: int
    sums: int
    stride: int


class Frame(NamedTuple):
    """What one frame's cells read and write; addresses of rows, and strides in elements.

    ``gates`` and, where products are kept apart, ``sums`` have rows alike. ``before`` and ``target`` are the
    state before and after, ``c_before`` and ``c`` likewise; 0 before stands for zeros.
    """

    gates: int
    stride: int
    sums: int
    before: int
    before_stride: int
    target: int
    target_stride: int
    c_before: int
    c: int
    constants: int
    options: int
    lengths: int
    t: int
    y: int
    y_row: int
    flags: int


class Feed(NamedTuple):
    """The input's product of a frame: rows of ``k`` numbers from x on, ``stride`` elements apart, a packed
    matrix ``w`` [k, columns of all gates], ``bias``."""

    x: int
    stride: int
    k: int
    w: int
    bias: int


NOTHING = Feed(0, 0, 0, 0, 0)


class Input(NamedTuple):
    """What ``linear`` multiplies: ``outer`` times ``inner`` rows of x, and a packed matrix; its bias."""

    x: int
    outer_stride: int
    inner: int
    inner_stride: int
    k: int
    w: int
    bias: int

    def fed(self, first: int, rows: int) -> Feed | None:
        """So many rows from one on; None if they lie in more than one distance."""
        o, i = divmod(first, self.inner)
        even = i + rows <= self.inner or self.outer_stride == self.inner * self.inner_stride
        if not even and self.inner > 1:
            return None
        start = self.x + (o * self.outer_stride + i * self.inner_stride) * BYTES
        stride = self.outer_stride if self.inner == 1 else self.inner_stride
        return Feed(start, stride, self.k, self.w, self.bias)


def state_before(n, j, units, frame: Frame):
    """c and h of unit j of row n before the frame; zero what there is none of."""
    c = h = ZERO
    if frame.c_before != 0:
        c = floats(frame.c_before)[n * units + j]
    if frame.before != 0:
        h = floats(frame.before)[n * frame.before_stride + j]
    return c, h


def units_of(stage: Stage, fed: bool) -> int:
    """Units of a block that has all gates of them."""
    return COLUMNS // padded(max(stage.gates, stage.known if fed else 0))


def quads_of(gates: int, units_each: int, wide: bool):
    """``find(k, columns, units, gate, unit, quad, at)``: where in a packed matrix four columns are of a block
    that has gates from that one on, of ``gates`` in all, ``at`` their places and strides; ``load(w, at, i,
    there, place, four)``: their weights of k = i, zeros unless ``there``."""
    across = units_each // 4

    def find(k, columns, units, gate, unit, quad, at):
        own, first = min(gate + quad // across, gates - 1), unit + quad % across * 4
        for i in range(1 if wide else 4):
            column = own * units + min(first + i, units - (4 if wide else 1))
            start, stride = column_of(0, k, columns, column)
            at[2 * i], at[2 * i + 1] = uint32(start // BYTES), uint32(stride)

    def load(w, at, i, there, place, four):
        if wide:
            a, b, c, d = (
                load4(w + int64(uint32(at[0] + uint32(i) * at[1])) * BYTES)
                if there
                else (ZERO, ZERO, ZERO, ZERO)
            )
            four[place], four[place + 1], four[place + 2], four[place + 3] = a, b, c, d
        else:
            for j in range(4):
                own = int64(uint32(at[2 * j] + uint32(i) * at[2 * j + 1]))
                four[place + j] = floats(w)[own] if there else ZERO

    return find, load


def folded_of(warps: int, across: int, row_step: int, column_step: int):
    """``folded(here, at, n, column)``: the sum of a row's column, of what warps have left from ``at`` on,
    ``across`` apart."""

    def folded(here, at, n, column):
        own = at + n * row_step + column * column_step
        if warps == 1:
            return here[own]
        a, b = here[own] + here[own + 4 * across], here[own + across] + here[own + 5 * across]
        c = here[own + 2 * across] + here[own + 6 * across]
        d = here[own + 3 * across] + here[own + 7 * across]
        return (a + c) + (b + d)

    return folded


def finishing(stage: Stage, input_of: Callable[..., object] | None, total_of: Callable[..., object]):
    """``end(n, row, unit, j, c, h, units, product, frame, here)``: the sums of a unit and its cell, whose
    state was ``c`` and ``h``. ``total_of(here, n, g, unit)`` is what the product of its gate has come to, and
    ``input_of`` what that of the input has, if it is computed here."""
    known, apart, first, gates, finish = stage
    keeps = stage.keeps
    inputs, sums = registers(types.float32, known), registers(types.float32, gates)
    take, take_s, fed = taking(known), taking(gates * apart), input_of is not None
    input_of = input_of or total_of

    def end(n, row, unit, j, c, h, units, product: Product, frame: Frame, here):
        x, s = inputs(), sums()
        for g in range(known):
            if fed:
                x[g] = input_of(here, n, g, unit)
            elif not apart and g >= first and g < first + gates:
                x[g] = floats(product.start)[row * product.start_stride + (g - first) * units + j]
            else:
                x[g] = floats(frame.gates)[row * frame.stride + g * units + j]
        for g in range(gates):
            total = total_of(here, n, g, unit)
            if apart:
                s[g] = floats(product.start)[row * product.start_stride + g * units + j] + total
            else:
                x[first + g] += total
        if keeps:
            for g in range(known):
                floats(frame.gates)[row * frame.stride + g * units + j] = x[g]
        finish(take(x, 1, 0), take_s(s, 1, 0), c, h, row, j, units, frame)

    return end
