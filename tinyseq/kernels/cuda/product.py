"""The matrix product of packed weights; the twins of ``tinyseq.kernels.compute.product``.

A block computes a tile of y. Its threads bring the steps of k that come next into registers while they
multiply those in shared memory. Every element of y is its start and then the terms of k in ascending order,
one fma each: whatever the form of the tiles, the rows and the columns beside it, its bits are the same.
"""

from __future__ import annotations

import math
import operator
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import types
from numpy import float32, int64, uint32

from tinyseq.kernels.cuda import intrinsics
from tinyseq.kernels.cuda.intrinsics import barrier, block, blocks, registers, shared, thread, threads
from tinyseq.kernels.cuda.launch import Kernel, Launch, Tail
from tinyseq.kernels.formats import FLOAT32, WeightFormat
from tinyseq.kernels.instructions import GROUP, PANEL
from tinyseq.kernels.llvm.intrinsics import floats, fma, integers

BYTES = 4
WIDTH = GROUP * PANEL
THREADS = 128
"""Threads of a block of every form."""

ZERO, ONE = float32(0), float32(1)


class Tile(NamedTuple):
    """The rows and columns of a tile, how many of each a thread computes, and steps of k at a time."""

    rows: int
    columns: int
    rows_each: int
    columns_each: int
    steps: int


FEW, SOME, MANY = Tile(8, PANEL, 1, 1, 128), Tile(32, WIDTH, 4, 4, 16), Tile(128, WIDTH, 8, 8, 16)

ENOUGH = {SOME: 32, MANY: 128}
"""Blocks that a form must have to be worth more than the one before it."""


def tile_for(rows: int, n: int) -> Tile:
    """The form for a product of so many rows and columns."""
    fitting = [form for form, least in ENOUGH.items() if tiles_of(form, rows, n) >= least]
    return fitting[-1] if fitting and rows > FEW.rows else FEW


def tiles_of(form: Tile, rows: int, n: int) -> int:
    return -(-rows // form.rows) * -(-n // form.columns)


def _spread(form: Tile):
    """Which rows and columns of a tile a thread computes: runs of four, so that four are read at once."""
    across, row_run, column_run = (
        form.columns // form.columns_each,
        min(form.rows_each, 4),
        min(form.columns_each, 4),
    )
    row_jump, column_jump = row_run * (form.rows // form.rows_each), column_run * across

    def row_of(me, i):
        return i // row_run * row_jump + me // across * row_run + i % row_run

    def column_of(me, j):
        return j // column_run * column_jump + me % across * column_run + j % column_run

    return row_of, column_of


class Kind(NamedTuple):
    """What is multiplied: weights of a ``format`` with x, of which an ``element`` holds as many steps of k;
    ``size`` are a step's bytes there.

    ``read(row, index, k)`` takes element ``index`` of a row of x, zero behind its end. ``begin(start)``
    begins a sum, start being an address, to which ``add`` adds terms, and
    ``finish(total, row_total, column, w, k, n, start, y, scale, zero_point)`` makes of it what goes to the
    address y. Where they are ``summed``, row totals are the row of x times ``one``.
    """

    format: WeightFormat
    element: types.Type
    size: int
    zero: object
    one: object
    summed: bool
    read: object
    add: object
    begin: object
    finish: object


def _read(row, index, k):
    return floats(row)[index] if index < k else ZERO


def _begin(start):
    return floats(start)[0]


def _finish(total, row_total, column, w, k, n, start, y, scale, zero_point):
    floats(y)[0] = total


FLOATS = Kind(FLOAT32, types.float32, BYTES, ZERO, ONE, False, _read, fma, _begin, _finish)


@cache
def product_of(kind: Kind, form: Tile):
    """``product``: one tile, computed by all ``THREADS`` threads of a block."""
    of, element, size, zero, one, summed, read, add, begin, finish = kind
    per, w_size, load = of.per, of.size, getattr(intrinsics, of.load4)
    rows, columns, rows_each, columns_each, steps = form
    pitch = rows + (4 if rows_each > 1 else 1)
    x_each, w_each, quads = rows * steps // THREADS, columns * steps // (4 * THREADS), columns // 4
    row_of, column_of = _spread(form)
    x_here, w_here = shared(element, steps * pitch), shared(element, steps * columns)
    places = shared(types.int64, rows)
    x_next, w_next = registers(element, x_each), registers(element, 4 * w_each)
    row_totals = registers(element, rows_each)
    totals, x_step, w_step = (
        registers(element, rows_each * columns_each),
        registers(element, rows_each),
        registers(element, columns_each),
    )

    def fetch(me, first, depth, k, at, stride, usable, table, x_mine, w_mine):
        for i in range(x_each):
            place = me + i * THREADS
            x_mine[i] = read(table[place // steps], first + place % steps, k)
        for i in range(w_each):
            place = me + i * THREADS
            step, column = first + place // quads, place % quads * 4
            if step < depth and column < usable:
                a, b, c, d = load(at + (step * stride + column) * w_size)
            else:
                a, b, c, d = zero, zero, zero, zero
            w_mine[4 * i], w_mine[4 * i + 1], w_mine[4 * i + 2], w_mine[4 * i + 3] = a, b, c, d

    def keep(me, x_mine, w_mine, xs, ws):
        for i in range(x_each):
            place = me + i * THREADS
            xs[place % steps * pitch + place // steps] = x_mine[i]
        for i in range(w_each):
            place = 4 * (me + i * THREADS)
            for j in range(4):
                ws[place + j] = w_mine[4 * i + j]

    def multiply(me, step, xs, ws, total, row_total, left, right):
        for i in range(rows_each):
            left[i] = xs[step * pitch + row_of(me, i)]
            if summed:
                row_total[i] = add(left[i], one, row_total[i])
        for j in range(columns_each):
            right[j] = ws[step * columns + column_of(me, j)]
        for i in range(rows_each):
            for j in range(columns_each):
                total[i * columns_each + j] = add(left[i], right[j], total[i * columns_each + j])

    def product(
        number, x, outer, outer_stride, inner, inner_stride, k, w, n, start, start_stride, y, y_stride,
        scale, zero_point,
    ):  # fmt: skip
        """Tile ``number`` of y[m, :] = start[m, :] + x[m, :] @ w; strides of x count steps of k.

        Arguments are those of the CPU's product, and addresses that some kinds need. Tiles below y do
        nothing.
        """
        me, table, xs, ws = thread(), places(), x_here(), w_here()
        across, count = uint32((n + columns - 1) // columns), outer * inner
        top = int64(uint32(number) // across) * rows
        corner = int64(uint32(number) % across) * columns
        if top >= count:
            return
        for r in range(me, rows, THREADS):
            row = uint32(min(top + r, count - 1))
            o, i = int64(row // uint32(inner)), int64(row % uint32(inner))
            table[r] = x + (o * outer_stride + i * inner_stride) * size
        depth, in_group = (k + per - 1) // per, corner % WIDTH
        stride = min((n - corner + in_group + PANEL - 1) // PANEL * PANEL, WIDTH)
        usable, at = stride - in_group, w + ((corner - in_group) * depth + in_group) * w_size
        total, row_total, left, right = totals(), row_totals(), x_step(), w_step()
        x_mine, w_mine = x_next(), w_next()
        for i in range(rows_each):
            row, row_total[i] = top + row_of(me, i), zero
            for j in range(columns_each):
                column = corner + column_of(me, j)
                there = row < count and column < n
                source = start + (row * start_stride + column) * BYTES
                total[i * columns_each + j] = begin(source) if there else zero
        barrier()
        for first in range(-steps, depth, steps):
            if first >= 0:
                barrier()
                keep(me, x_mine, w_mine, xs, ws)
                barrier()
            fetch(me, first + steps, depth, k, at, stride, usable, table, x_mine, w_mine)
            if first >= 0 and first + steps <= depth:
                for step in range(steps):
                    multiply(me, step, xs, ws, total, row_total, left, right)
            elif first >= 0:
                for step in range(depth - first):
                    multiply(me, step, xs, ws, total, row_total, left, right)
        for i in range(rows_each):
            row = top + row_of(me, i)
            for j in range(columns_each):
                column = corner + column_of(me, j)
                if row < count and column < n:
                    source = start + (row * start_stride + column) * BYTES
                    target = y + (row * y_stride + column) * BYTES
                    value = total[i * columns_each + j]
                    finish(value, row_total[i], column, w, k, n, source, target, scale, zero_point)

    return product


@cache
def _linear_of(form: Tile) -> Kernel:
    product = product_of(FLOATS, form)

    def linear(x, outer, outer_stride, inner, inner_stride, k, w, n, bias, y, y_stride):
        product(block(), x, outer, outer_stride, inner, inner_stride, k, w, n, bias, 0, y, y_stride, 0, 0)

    return Kernel(linear, THREADS)


def linear(
    x: int, outer: int, outer_stride: int, inner: int, inner_stride: int, k: int, w: int, n: int, bias: int,
    y: int, y_stride: int,
) -> list[Launch]:  # fmt: skip
    rows = outer * inner
    form = tile_for(rows, n)
    arguments = (x, outer, outer_stride, inner, inner_stride, k, w, n, bias, y, y_stride)
    return launched(_linear_of(form), tiles_of(form, rows, n), arguments)


def launched(kernel: Kernel, tiles: int, arguments: tuple[int, ...]) -> list[Launch]:
    """A block for each tile."""
    return [Launch(kernel, tiles, THREADS, arguments)] if tiles else []


def _products(x, w, y, m, k, n, m_stride, k_stride, n_stride, batch, rank, dims):
    """A thread computes elements of y, by their number there."""
    left, right, target, sizes = floats(x), floats(w), floats(y), integers(dims)
    for index in range(block() * threads() + thread(), batch * m * n, blocks() * threads()):
        cell, column = uint32(index) // uint32(n), int64(uint32(index) % uint32(n))
        rest, row = cell // uint32(m), int64(cell % uint32(m))
        a, b = row * m_stride, column * n_stride
        for d in range(rank - 1, -1, -1):
            place = int64(rest % uint32(sizes[d]))
            a += place * sizes[rank + d]
            b += place * sizes[2 * rank + d]
            rest //= uint32(sizes[d])
        total = ZERO
        for i in range(k):
            total = fma(left[a + i], right[b + i * k_stride], total)
        target[index] = total


_one_each = Kernel(_products)


def products(
    x: int, w: int, y: int, packed: int, zeros: int, m: int, k: int, n: int, m_stride: int, k_stride: int,
    n_stride: int, rank: int, dims: Tail,
) -> list[Launch]:  # fmt: skip
    sizes, steps, others = (dims.values[start * rank : (start + 1) * rank] for start in range(3))
    if m < FEW.rows:
        batch = math.prod(sizes)
        strides = m_stride, k_stride, n_stride
        return _one_each.over(batch * m * n, x, w, y, m, k, n, *strides, batch, rank, dims.address)
    launches = []
    for number, place in enumerate(np.ndindex(*sizes)):
        left, right = (
            start + BYTES * sum(map(operator.mul, place, own)) for start, own in ((x, steps), (w, others))
        )
        launches += pack(right, packed, k, n, k_stride, n_stride)
        launches += linear(left, 1, 0, m, m_stride, k, packed, n, zeros, y + BYTES * number * m * n, n)
    return launches


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
