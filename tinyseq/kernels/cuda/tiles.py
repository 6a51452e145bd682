"""Tiles: how a block's threads share out what is multiplied, what they bring of it, and from where."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from numpy import float32

from tinyseq.kernels.cuda.intrinsics import WARP, copy4, copy16
from tinyseq.kernels.instructions import GROUP, PANEL

BYTES = 4
WIDTH = GROUP * PANEL
RUN = 4
"""Most rows and columns beside each other that a thread computes: so many are read at once."""
ALONG = 8
"""Steps of k that neighbouring threads bring of a row."""
SPARE = 4
"""Elements between the lines of a tile in shared memory."""

ZERO = float32(0)


class Tile(NamedTuple):
    """A tile: its rows and columns, how many of each a thread computes, in how many rows the lanes of a warp
    lie, steps of k at a time and how many times as many there is room for, blocks that a multiprocessor is
    to hold at once, and how fast it is beside the fastest of the forms: with a tile or two for each
    multiprocessor, and with many."""

    rows: int
    columns: int
    rows_each: int
    columns_each: int
    lanes: int
    steps: int
    stages: int
    resident: int
    alone: float
    rate: float

    @property
    def threads(self) -> int:
        return self.rows * self.columns // (self.rows_each * self.columns_each)


def tiles_of(form: Tile, rows: int, n: int) -> int:
    return -(-rows // form.rows) * -(-n // form.columns)


def spread(form: Tile):
    """Which rows and columns of a tile a thread computes.

    Lanes lie in a grid such that the neighbours of a lane have its row or its column: what they load alike
    from shared memory is loaded once.
    """
    down, across = form.lanes, WARP // form.lanes
    row_run, column_run = min(form.rows_each, RUN), min(form.columns_each, RUN)
    warp_rows, warp_columns = down * form.rows_each, across * form.columns_each
    warps = form.columns // warp_columns
    half = across // 2

    def lane_row(lane):
        return lane // across if half == 0 or down == 1 else lane // 2 % 2 + lane // (2 * across) * 2

    def lane_column(lane):
        return lane % across if half == 0 or down == 1 else lane % 2 + lane // 4 % half * 2

    def row_of(me, i):
        first = me // WARP // warps * warp_rows + lane_row(me % WARP) * row_run
        return first + i // row_run * row_run * down + i % row_run

    def column_of(me, j):
        first = me // WARP % warps * warp_columns + lane_column(me % WARP) * column_run
        return first + j // column_run * column_run * across + j % column_run

    return row_of, column_of


def core_spread(form: Tile):
    """``spread`` as tensor cores have it: a thread has every eighth row, and runs of columns.

    Which columns a matrix of eight is made of is free. These are such that a thread loads those of
    ``core_run`` matrices side by side, and has twice as many side by side of its sums.
    """
    warp_rows, warp_columns = 8 * form.rows_each, 4 * form.columns_each
    across, run = form.columns // warp_columns, 2 * core_run(form)

    def row_of(me, i):
        return me // WARP // across * warp_rows + i * 8 + me % WARP // 4

    def column_of(me, j):
        return me // WARP % across * warp_columns + j // run * (4 * run) + me % 4 * run + j % run

    return row_of, column_of


def core_run(form: Tile) -> int:
    """Matrices of eight columns whose columns a thread loads at once."""
    return min(4, form.columns_each // 2)


def column_of(w, k, columns, column):
    """The address of a packed matrix' column and how many elements apart its elements are."""
    group = column - column % WIDTH
    width = min(columns - group, WIDTH)
    width = (width + PANEL - 1) // PANEL * PANEL
    return w + (group * k + column - group) * BYTES, width


class Share(NamedTuple):
    """What a thread brings of ``lines`` of k into shared memory: element (``line``, ``step``) by its copy
    number i. The first ``passes`` copies are of different lines, and then they repeat."""

    each: int
    passes: int
    line: Callable
    step: Callable


def share(lines: int, steps: int, count: int) -> Share:
    """Neighbouring threads bring ``ALONG`` steps."""
    passes, reach = max(1, lines * ALONG // count), max(ALONG, count // lines)

    def line(me, i):
        return me // ALONG % lines + i % passes * (count // ALONG)

    def step(me, i):
        return me % ALONG + me // (ALONG * lines) * ALONG + i // passes * reach

    return Share(lines * steps // count, passes, line, step)


class Source(NamedTuple):
    """How a tile's columns of w come into shared memory: ``at, stride, there = begin(me, w, depth, n, corner,
    k_stride, n_stride)`` once, then ``fetch(me, target, start, left, at, stride, there, n_stride)``,
    ``stride`` bytes further for each step of k. So many steps are ``left``."""

    begin: Callable
    fetch: Callable


@cache
def packed(form: Tile, padded: bool = False) -> Source:
    """Panels, by sixteen bytes; strides are not asked for. Zeros come after the last step if it is
    ``padded``."""
    quads, pitch, count, steps = form.columns // 4, form.columns + SPARE, form.threads, form.steps
    each = steps * quads // count

    def begin(me, w, depth, n, corner, k_stride, n_stride):
        column = corner + me % quads * 4
        there = column < (n + PANEL - 1) // PANEL * PANEL
        at, stride = column_of(w, depth, n, column if there else 0)
        return at + me // quads * stride * BYTES, stride * BYTES, there

    def fetch_some(me, target, start, left, at, stride, there):
        for i in range(each):
            step = me // quads + i * (count // quads)
            place = start + step * pitch + me % quads * 4
            if there and step < left:
                copy16(target, place, at + i * (count // quads) * stride)
            elif padded:
                for j in range(4):
                    target[place + j] = ZERO

    def fetch(me, target, start, left, at, stride, there, n_stride):
        # Where sums are in float32, there are no registers for both.
        if padded and there and left >= steps:
            for i in range(each):
                place = start + (me // quads + i * (count // quads)) * pitch + me % quads * 4
                copy16(target, place, at + i * (count // quads) * stride)
        else:
            fetch_some(me, target, start, left, at, stride, there)

    return Source(begin, fetch)


def _along_n(form: Tile) -> Share:
    """Neighbouring threads bring columns."""
    passes, jump = max(1, form.columns // form.threads), max(1, form.threads // form.columns)

    def line(me, i):
        return me % form_columns + i % passes * count

    def step(me, i):
        return me // form_columns + i // passes * jump

    form_columns, count = form.columns, form.threads
    return Share(form.columns * form.steps // count, passes, line, step)


@cache
def strided(form: Tile, along_k: bool, padded: bool = False) -> Source:
    """A matrix of float32 as it lies in memory, read along k or along its columns; see ``packed``."""
    pitch = form.columns + SPARE
    each, _, line, step_of = share(form.columns, form.steps, form.threads) if along_k else _along_n(form)

    def begin(me, w, depth, n, corner, k_stride, n_stride):
        return w + corner * n_stride * BYTES, k_stride * BYTES, n - corner

    def fetch(me, target, start, left, at, stride, there, n_stride):
        for i in range(each):
            step, column = step_of(me, i), line(me, i)
            place = start + step * pitch + column
            if column < there and step < left:
                copy4(target, place, at + step * stride + column * n_stride * BYTES)
            elif padded:
                target[place] = ZERO

    return Source(begin, fetch)
