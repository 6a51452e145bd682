"""The matrix product of packed weights; the twins of ``tinyseq.kernels.product``.

A block computes a tile of y. The steps of k that come next are on their way into shared memory while its
threads multiply those that are there. Every element of y is its start and then the terms of k in ascending
order, one fma each: whatever the form of the tiles, the rows and columns beside it, its bits are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from numba import types
from numpy import float32, int64, uint32

from tinyseq.kernels.cuda.intrinsics import (
    WARP,
    again,
    barrier,
    block,
    blocks,
    copied,
    copies,
    copy4,
    copy16,
    read4,
    registers,
    shared,
    thread,
    threads,
    write4,
)
from tinyseq.kernels.cuda.launch import Kernel, Launch, Tail
from tinyseq.kernels.instructions import GROUP, PANEL
from tinyseq.kernels.intrinsics import floats, fma, integers

BYTES = 4
WIDTH = GROUP * PANEL
RUN = 4
"""Most rows and columns beside each other that a thread computes: so many are read at once."""
ALONG = 8
"""Steps of k that neighbouring threads bring of a row."""

UNROLLED = 16
"""Most steps of k whose code is written one behind the other."""

ZERO, ONE = float32(0), float32(1)


class Form(NamedTuple):
    """A tile: its rows and columns, how many of each a thread computes, in how many rows the lanes of a warp
    lie, steps of k at a time and how many times as many there is room for, blocks that a multiprocessor is
    to hold at once, and how fast it is beside other forms, as a share of the fastest."""

    rows: int
    columns: int
    rows_each: int
    columns_each: int
    lanes: int
    steps: int
    stages: int
    resident: int
    rate: float

    @property
    def threads(self) -> int:
        return self.rows * self.columns // (self.rows_each * self.columns_each)


FEW = Form(8, PANEL, 1, 1, 2, 64, 4, 1, 0.02)
FORMS = (
    Form(32, 64, 4, 4, 4, 16, 3, 1, 0.5),
    Form(64, 64, 4, 4, 4, 16, 3, 1, 0.7),
    Form(128, 128, 8, 8, 4, 8, 4, 2, 1.0),
)
"""Forms for more rows than ``FEW`` has, the smallest tiles first."""


MULTIPROCESSORS = 128
"""Among how many tiles are thought to be shared out; large devices have about so many."""


def form_for(rows: int, n: int, matrices: int = 1) -> Form:
    """The form by which products of so many rows and columns are soonest done."""
    if rows <= FEW.rows:
        return FEW

    def effort(form: Form) -> float:
        in_turn = -(-matrices * tiles_of(form, rows, n) // MULTIPROCESSORS)
        return in_turn * form.rows * form.columns / form.rate

    return min(FORMS, key=effort)


def tiles_of(form: Form, rows: int, n: int) -> int:
    return -(-rows // form.rows) * -(-n // form.columns)


def _spread(form: Form):
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


class Cores(NamedTuple):
    """How a warp multiplies matrices of 16 rows and 8 columns, ``depth`` steps of k at once.

    ``rounded(first, second)`` makes one operand of the ``per`` steps of k that it holds; ``multiply`` takes
    four operands of x, two of w and four sums, and gives the sums.
    """

    depth: int
    per: int
    rounded: Callable
    multiply: Callable


class Kind(NamedTuple):
    """What is multiplied: ``element`` holds ``per`` steps of k, ``size`` are a step's bytes in x.

    An element of x is on its way to a place in shared memory by ``value = fetch(target, place, address,
    left)``, a row having so many steps ``left`` from it on, and there after ``keep(target, place, value)``.
    ``begin(start)`` begins a sum, start being an address, to which ``add`` adds terms, and ``finish(total,
    row_total, column, w, k, n, start, scale, zero_point)`` makes of it what ``put`` puts to an address of y.
    Those that are ``plain`` begin with four float32 and end as four. Where they are ``summed``, row totals
    are the row of x times ``one``. Where ``cores`` are given, a warp multiplies together and rounds first.
    """

    element: types.Type
    per: int
    size: int
    zero: object
    one: object
    summed: bool
    plain: bool
    fetch: Callable
    keep: Callable
    add: Callable
    begin: Callable
    finish: Callable
    put: Callable
    cores: Cores | None = None


def _fetch(target, place, address, left):
    copy4(target, place, address)
    return ZERO


def _keep(target, place, value):
    return


def _begin(start):
    return floats(start)[0]


def _finish(total, row_total, column, w, k, n, start, scale, zero_point):
    return total


def _put(y, value):
    floats(y)[0] = value


FLOATS = Kind(types.float32, 1, BYTES, ZERO, ONE, False, True, _fetch, _keep, fma, _begin, _finish, _put)


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


def _share(lines: int, steps: int, count: int) -> Share:
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
def packed(form: Form, padded: bool = False) -> Source:
    """Panels, by sixteen bytes; strides are not asked for. Zeros come after the last step if it is
    ``padded``."""
    quads, pitch, count = form.columns // 4, form.columns + 4, form.threads
    each = form.steps * quads // count

    def begin(me, w, depth, n, corner, k_stride, n_stride):
        column = corner + me % quads * 4
        there = column < (n + PANEL - 1) // PANEL * PANEL
        at, stride = column_of(w, depth, n, column if there else 0)
        return at + me // quads * stride * BYTES, stride * BYTES, there

    def fetch(me, target, start, left, at, stride, there, n_stride):
        for i in range(each):
            step = me // quads + i * (count // quads)
            place = start + step * pitch + me % quads * 4
            if there and step < left:
                copy16(target, place, at + i * (count // quads) * stride)
            elif padded:
                for j in range(4):
                    target[place + j] = ZERO

    return Source(begin, fetch)


def _along_n(form: Form) -> Share:
    """Neighbouring threads bring columns."""
    passes, jump = max(1, form.columns // form.threads), max(1, form.threads // form.columns)

    def line(me, i):
        return me % form_columns + i % passes * count

    def step(me, i):
        return me // form_columns + i // passes * jump

    form_columns, count = form.columns, form.threads
    return Share(form.columns * form.steps // count, passes, line, step)


@cache
def strided(form: Form, along_k: bool, padded: bool = False) -> Source:
    """A matrix of float32 as it lies in memory, read along k or along its columns; see ``packed``."""
    pitch = form.columns + 4
    each, _, line, step_of = _share(form.columns, form.steps, form.threads) if along_k else _along_n(form)

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


def _repeated(function: Callable, count: int, further: int) -> Callable:
    """``function(me, step, ...)`` ``count`` times, a power of two, without a loop, each so many steps
    further."""
    if count == 1:
        return function
    half = count // 2 * further
    part = _repeated(function, count // 2, further)

    def both(me, step, xs, ws, x_from, w_from, total, row_total, left, right):
        part(me, step, xs, ws, x_from, w_from, total, row_total, left, right)
        part(me, step + half, xs, ws, x_from, w_from, total, row_total, left, right)

    return both


def _threads_multiply(kind: Kind, form: Form, row_of: Callable, column_of: Callable) -> Callable:
    """One step of k, each thread by itself."""
    rows_each, columns_each, add, one, summed = (
        form.rows_each,
        form.columns_each,
        kind.add,
        kind.one,
        kind.summed,
    )
    x_pitch, w_pitch = form.rows + 4, form.columns + 4

    def multiply(me, step, xs, ws, x_from, w_from, total, row_total, left, right):
        for i in range(rows_each):
            left[i] = xs[x_from + step * x_pitch + row_of(me, i)]
            if summed:
                row_total[i] = add(left[i], one, row_total[i])
        for j in range(columns_each):
            right[j] = ws[w_from + step * w_pitch + column_of(me, j)]
        for i in range(rows_each):
            for j in range(columns_each):
                total[i * columns_each + j] = add(left[i], right[j], total[i * columns_each + j])

    return multiply


def _core_spread(form: Form):
    """``_spread`` as tensor cores have it: a thread has every eighth row and pairs of columns."""
    warp_rows, warp_columns = 8 * form.rows_each, 4 * form.columns_each
    across = form.columns // warp_columns

    def row_of(me, i):
        return me // WARP // across * warp_rows + i * 8 + me % WARP // 4

    def column_of(me, j):
        return me // WARP % across * warp_columns + j // 2 * 8 + me % 4 * 2 + j % 2

    return row_of, column_of


def _warps_multiply(cores: Cores, form: Form) -> Callable:
    """``cores.depth`` steps of k, the threads of a warp together.

    Which steps an operand holds is the same for x and w, and else free: here those that lanes find in
    different banks of shared memory.
    """
    depth, per, rounded, core = cores
    rows_each, columns_each = form.rows_each, form.columns_each
    x_pitch, w_pitch = form.rows + 4, form.columns + 4
    row_of, column_of = _core_spread(form)
    lefts, rights = registers(types.int32, 2 * rows_each), registers(types.int32, columns_each)
    halves = depth // 2 if per == 2 else 1

    def operand(here, start, pitch):
        return rounded(here[start], here[start + (per - 1) * pitch])

    def multiply(me, step, xs, ws, x_from, w_from, total, row_total, left, right):
        a, b = lefts(), rights()
        first = step + me % 4 * 2
        for half in range(2):
            for i in range(rows_each):
                a[2 * i + half] = operand(
                    xs, x_from + (first + half * halves) * x_pitch + row_of(me, i), x_pitch
                )
            for j in range(columns_each // 2):
                column = column_of(me, 2 * j) - me % 4 * 2 + me % WARP // 4
                b[2 * j + half] = operand(ws, w_from + (first + half * halves) * w_pitch + column, w_pitch)
        for i in range(0, rows_each, 2):
            for j in range(0, columns_each, 2):
                upper, lower = i * columns_each + j, (i + 1) * columns_each + j
                total[upper], total[upper + 1], total[lower], total[lower + 1] = core(
                    a[2 * i], a[2 * i + 2], a[2 * i + 1], a[2 * i + 3], b[j], b[j + 1],
                    total[upper], total[upper + 1], total[lower], total[lower + 1],
                )  # fmt: skip

    return multiply


@cache
def _tile_of(kind: Kind, form: Form, source: Source):
    """``tile``: one tile, computed by all threads of a block."""
    element, per, size, zero, fetch, keep = (
        kind.element,
        kind.per,
        kind.size,
        kind.zero,
        kind.fetch,
        kind.keep,
    )
    begin, finish, put, cores = kind.begin, kind.finish, kind.put, kind.cores
    rows, columns, rows_each, columns_each, _, steps, stages, _, _ = form
    count, x_pitch, w_pitch = form.threads, rows + 4, columns + 4
    begin_w, fetch_w = source
    x_each, x_passes, x_line, x_step = _share(rows, steps, count)
    row_of, column_of = _spread(form) if cores is None else _core_spread(form)
    wide = kind.plain and columns_each % RUN == 0 and cores is None
    padded, at_once = (False, 1) if cores is None else (True, cores.depth)
    cells = rows_each * columns_each
    x_here, w_here = shared(element, stages * steps * x_pitch), shared(element, stages * steps * w_pitch)
    x_places, x_mine = registers(types.int64, x_passes), registers(element, x_each)
    row_totals, totals = registers(element, rows_each), registers(element, cells)
    lefts, rights = registers(element, rows_each), registers(element, columns_each)
    pending = copied(stages - 2)

    def fetch_x(me, target, start, left, at, values):
        for i in range(x_each):
            step, further = x_step(me, i), (x_step(0, i) - x_step(0, 0)) * per
            if step * per < left:
                place = start + step * x_pitch + x_line(me, i)
                values[i] = fetch(target, place, at[i % x_passes] + further * size, left - step * per)
            elif padded:
                target[start + step * x_pitch + x_line(me, i)] = zero

    def bring(me, xs, ws, x_to, w_to, left, x_at, values, w_at, w_stride, there, n_stride):
        fetch_w(me, ws, w_to, (left + per - 1) // per, w_at, w_stride, there, n_stride)
        fetch_x(me, xs, x_to, left, x_at, values)
        copies()

    def advance(x_at, w_at, w_stride):
        for i in range(x_passes):
            x_at[i] += steps * per * size
        return w_at + steps * w_stride

    def keep_x(me, target, start, values):
        for i in range(x_each):
            keep(target, start + x_step(me, i) * x_pitch + x_line(me, i), values[i])

    multiply = (
        _threads_multiply(kind, form, row_of, column_of) if cores is None else _warps_multiply(cores, form)
    )
    unrolled = min(steps, UNROLLED)
    multiply_all = _repeated(multiply, unrolled // at_once, at_once)

    def corner_of(number, n):
        across = uint32((n + columns - 1) // columns)
        return int64(uint32(number) // across) * rows, int64(uint32(number) % across) * columns

    def begin_all(me, top, corner, height, n, start, start_stride, alike, total, row_total):
        row, column = top + row_of(me, 0), corner + column_of(me, 0)
        below, beside = height - row, n - column
        at = start + (row * start_stride + column) * BYTES
        for i in range(rows_each):
            row_total[i] = zero
        if wide and (start | start_stride * BYTES | alike | n * BYTES) % 16 == 0:
            for i in range(rows_each):
                for j in range(0, columns_each, RUN):
                    down, right, cell = row_of(0, i), column_of(0, j), i * columns_each + j
                    a, b, c, d = zero, zero, zero, zero
                    if down < below and right < beside:
                        a, b, c, d = read4(at + (down * start_stride + right) * BYTES)
                    total[cell], total[cell + 1], total[cell + 2], total[cell + 3] = a, b, c, d
        else:
            for i in range(rows_each):
                for j in range(columns_each):
                    down, right = row_of(0, i), column_of(0, j)
                    there = down < below and right < beside
                    value = begin(at + (down * start_stride + right) * BYTES) if there else zero
                    total[i * columns_each + j] = value

    def end_all(
        me, number, height, n, start, start_stride, y, y_stride, total, row_total, w, k, scale, zero_point
    ):  # fmt: skip
        top, corner = corner_of(number, n)
        row, column = top + row_of(me, 0), corner + column_of(me, 0)
        below, beside = height - row, n - column
        at, source = y + (row * y_stride + column) * BYTES, start + (row * start_stride + column) * BYTES
        if wide and (start | start_stride * BYTES | y | y_stride * BYTES | n * BYTES) % 16 == 0:
            for i in range(rows_each):
                for j in range(0, columns_each, RUN):
                    down, right, cell = row_of(0, i), column_of(0, j), i * columns_each + j
                    if down < below and right < beside:
                        target = at + (down * y_stride + right) * BYTES
                        write4(target, total[cell], total[cell + 1], total[cell + 2], total[cell + 3])
        else:
            for i in range(rows_each):
                for j in range(columns_each):
                    down, right = row_of(0, i), column_of(0, j)
                    if down < below and right < beside:
                        value, begun = (
                            total[i * columns_each + j],
                            source + (down * start_stride + right) * BYTES,
                        )
                        value = finish(value, row_total[i], column + right, w, k, n, begun, scale, zero_point)
                        put(at + (down * y_stride + right) * BYTES, value)

    def tile(
        number, x, outer, outer_stride, inner, inner_stride, k, w, n, start, start_stride, y, y_stride,
        scale, zero_point, k_stride, n_stride,
    ):  # fmt: skip
        """Tile ``number`` of y[m, :] = start[m, :] + x[m, :] @ w; strides of x count steps of k.

        Arguments are those of the CPU's product, addresses that some kinds need, and strides of a w that is
        not packed. Tiles below y do nothing.
        """
        me, xs, ws = thread(), x_here(), w_here()
        height, (top, corner) = outer * inner, corner_of(number, n)
        if top >= height:
            return
        x_at, values = x_places(), x_mine()
        for i in range(x_passes):
            row = uint32(min(top + x_line(me, i), height - 1))
            o, r = int64(row // uint32(inner)), int64(row % uint32(inner))
            x_at[i] = x + (o * outer_stride + r * inner_stride + x_step(me, 0) * per) * size
        depth = (k + per - 1) // per
        w_at, w_stride, there = begin_w(me, w, depth, n, corner, k_stride, n_stride)
        total, row_total, left, right = totals(), row_totals(), lefts(), rights()
        for stage in range(stages - 1):
            x_to, w_to = stage * steps * x_pitch, stage * steps * w_pitch
            bring(
                me, xs, ws, x_to, w_to, k - stage * steps * per, x_at, values, w_at, w_stride, there, n_stride
            )
            keep_x(me, xs, x_to, values)
            w_at = advance(x_at, w_at, w_stride)
        begin_all(me, top, corner, height, n, start, start_stride, y | y_stride * BYTES, total, row_total)
        here, rest = 0, k
        while rest > 0:
            pending()
            barrier()
            to = here - 1 if here > 0 else stages - 1
            x_to, w_to = to * (steps * x_pitch), to * (steps * w_pitch)
            x_from, w_from = here * (steps * x_pitch), here * (steps * w_pitch)
            ahead = rest - (stages - 1) * steps * per
            bring(me, xs, ws, x_to, w_to, ahead, x_at, values, w_at, w_stride, there, n_stride)
            w_at = advance(x_at, w_at, w_stride)
            if rest >= steps * per:
                for step in range(0, steps, unrolled):
                    multiply_all(me, step, xs, ws, x_from, w_from, total, row_total, left, right)
            else:
                for step in range(0, (rest + per - 1) // per, at_once):
                    multiply(me, step, xs, ws, x_from, w_from, total, row_total, left, right)
            keep_x(me, xs, x_to, values)
            here, rest = here + 1 if here + 1 < stages else 0, rest - steps * per
        end_all(
            again(me), again(number), height, n, start, start_stride, y, y_stride, total, row_total, w, k,
            scale, zero_point,
        )  # fmt: skip

    return tile


@cache
def product_of(kind: Kind, form: Form):
    """``product``: the tile of a number, of packed weights."""
    tile = _tile_of(kind, form, packed(form))

    def product(
        number, x, outer, outer_stride, inner, inner_stride, k, w, n, start, start_stride, y, y_stride,
        scale, zero_point,
    ):  # fmt: skip
        tile(
            number, x, outer, outer_stride, inner, inner_stride, k, w, n, start, start_stride, y, y_stride,
            scale, zero_point, 0, 0,
        )  # fmt: skip

    return product


@cache
def _linear_of(form: Form) -> Kernel:
    product = product_of(FLOATS, form)

    def linear(x, outer, outer_stride, inner, inner_stride, k, w, n, bias, y, y_stride):
        product(block(), x, outer, outer_stride, inner, inner_stride, k, w, n, bias, 0, y, y_stride, 0, 0)

    return Kernel(linear, form.threads, form.resident)


def linear(
    x: int, outer: int, outer_stride: int, inner: int, inner_stride: int, k: int, w: int, n: int, bias: int,
    y: int, y_stride: int,
) -> list[Launch]:  # fmt: skip
    rows = outer * inner
    form = form_for(rows, n)
    arguments = (x, outer, outer_stride, inner, inner_stride, k, w, n, bias, y, y_stride)
    return launched(_linear_of(form), tiles_of(form, rows, n), arguments)


def launched(kernel: Kernel, tiles: int, arguments: tuple[int, ...]) -> list[Launch]:
    """A block for each tile."""
    return [Launch(kernel, tiles, kernel.threads, arguments)] if tiles else []


def _corner(x, w, rest, rank, sizes):
    """The addresses of a pair of matrices, by its number."""
    for d in range(rank - 1, -1, -1):
        place = int64(rest % uint32(sizes[d]))
        x += place * sizes[rank + d] * BYTES
        w += place * sizes[2 * rank + d] * BYTES
        rest //= uint32(sizes[d])
    return x, w


def _products(x, w, y, m, k, n, m_stride, k_stride, n_stride, matrices, rank, dims):
    """A thread computes elements of y, by their number there."""
    for index in range(block() * threads() + thread(), matrices * m * n, blocks() * threads()):
        cell, column = uint32(index) // uint32(n), int64(uint32(index) % uint32(n))
        row = int64(cell % uint32(m))
        a, b = _corner(x, w, cell // uint32(m), rank, integers(dims))
        left, right = floats(a + row * m_stride * BYTES), floats(b + column * n_stride * BYTES)
        total = ZERO
        for i in range(k):
            total = fma(left[i], right[i * k_stride], total)
        floats(y)[index] = total


@cache
def _products_of(form: Form, along_k: bool) -> Kernel:
    """The kernel for more rows; w is read along k or along its columns."""
    tile = _tile_of(FLOATS, form, strided(form, along_k))

    def products(x, w, y, zeros, m, k, n, m_stride, k_stride, n_stride, tiles, rank, dims):
        pair = uint32(block()) // uint32(tiles)
        number = block() - int64(pair) * tiles
        target = y + int64(pair) * m * n * BYTES
        a, b = _corner(x, w, pair, rank, integers(dims))
        tile(number, a, 1, 0, m, m_stride, k, b, n, zeros, 0, target, n, 0, 0, k_stride, n_stride)

    return Kernel(products, form.threads, form.resident)


_one_each = Kernel(_products)


def products(
    x: int, w: int, y: int, packed: int, zeros: int, m: int, k: int, n: int, m_stride: int, k_stride: int,
    n_stride: int, rank: int, dims: Tail,
) -> list[Launch]:  # fmt: skip
    matrices = math.prod(dims.values[:rank])
    strides = m_stride, k_stride, n_stride
    if m < FEW.rows:
        return _one_each.over(matrices * m * n, x, w, y, m, k, n, *strides, matrices, rank, dims.address)
    form = form_for(m, n, matrices)
    tiles = tiles_of(form, m, n)
    kernel = _products_of(form, k_stride == 1 and n_stride != 1)
    arguments = (x, w, y, zeros, m, k, n, *strides, tiles, rank, dims.address)
    return launched(kernel, matrices * tiles, arguments)


def _pack(x, w, k, n, k_stride, n_stride):
    """Each thread packs elements of w, by their number there."""
    source, target = floats(x), floats(w)
    padded = (n + PANEL - 1) // PANEL * PANEL
    for index in range(block() * threads() + thread(), k * padded, blocks() * threads()):
        first = int64(uint32(index) // uint32(WIDTH * k)) * WIDTH
        width = min(padded - first, WIDTH)
        rest = uint32(index - first * k)
        row, column = int64(rest // uint32(width)), first + int64(rest % uint32(width))
        target[index] = source[row * k_stride + column * n_stride] if column < n else ZERO


_packing = Kernel(_pack)


def pack(x: int, w: int, k: int, n: int, k_stride: int, n_stride: int) -> list[Launch]:
    return _packing.over(k * -(-n // PANEL) * PANEL, x, w, k, n, k_stride, n_stride)
