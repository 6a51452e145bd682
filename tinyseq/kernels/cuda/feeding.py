"""The product of few rows with weights that pass by once, summed as ``linear`` does it, in ascending order.

``FEEDERS`` threads bring the weights of a block's columns into shared memory, ``CHUNK`` steps of k at a time,
where a warp has a row, and each of its threads a column.
"""

from __future__ import annotations

from functools import cache

from numba import types
from numpy import int64, uint32

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.cuda.intrinsics import WARP, barrier_of, block, four, registers, shared, thread
from tinyseq.kernels.cuda.launch import Kernel, Launch
from tinyseq.kernels.cuda.stages import COLUMNS, QUADS, Feed, quads_of
from tinyseq.kernels.cuda.tiles import BYTES
from tinyseq.kernels.llvm.intrinsics import floats, fma

FEEDERS = 256
"""Threads that bring in the weights of the input."""

CHUNK = 256
"""Steps of the input's k in shared memory at a time."""

LINKS = 32
"""Terms of a column's sum that a thread reads ahead."""


def summing(gates: int, units_each: int, rows_each: int, wide: bool):
    """``summed(total, me, feed, first_row, rows, at, w, x, here, xs)``: ``total`` and the terms of the row
    and column of feeder ``me``, if a block has as many rows; ``w`` and ``x`` are registers, from ``xs`` on
    there is room for inputs."""
    _, load = quads_of(gates, units_each, wide)
    apart, each = FEEDERS // QUADS, CHUNK * QUADS // FEEDERS

    def bring(chunk, me, feed: Feed, first_row, rows, at, w, x):
        for i in range(each):
            step = chunk * CHUNK + me // QUADS + i * apart
            load(feed.w, at, step, step < feed.k, 4 * i, w)
        for n in range(rows_each):
            row = uint32(feed.row + min(first_row + n, rows - 1))
            o, i = int64(row // uint32(feed.inner)), int64(row % uint32(feed.inner))
            source = floats(feed.x + (o * feed.outer_stride + i * feed.inner_stride) * BYTES)
            for i in range(CHUNK // FEEDERS):
                step = chunk * CHUNK + me + i * FEEDERS
                x[n * (CHUNK // FEEDERS) + i] = source[step] if step < feed.k else ZERO

    def keep(me, w, x, here, ws, xs):
        for i in range(each):
            for c in range(4):
                here[ws + (me // QUADS + i * apart) * COLUMNS + me % QUADS * 4 + c] = w[4 * i + c]
        for n in range(rows_each):
            for i in range(CHUNK // FEEDERS):
                here[xs + n * CHUNK + me + i * FEEDERS] = x[n * (CHUNK // FEEDERS) + i]

    def chain(total, here, ws, xs, count):
        count = min(count, CHUNK)
        whole = count // LINKS * LINKS
        for first in range(0, whole, LINKS):
            for i in range(0, LINKS, 4):
                a, b, c, d = four(here, xs + first + i)
                at = ws + (first + i) * COLUMNS
                total = fma(a, here[at], total)
                total = fma(b, here[at + COLUMNS], total)
                total = fma(c, here[at + 2 * COLUMNS], total)
                total = fma(d, here[at + 3 * COLUMNS], total)
        for i in range(whole, count):
            total = fma(here[xs + i], here[ws + i * COLUMNS], total)
        return total

    def summed(total, me, feed: Feed, first_row, rows, at, w, x, here, xs):
        column, own = me % WARP, me // WARP
        bring(0, me, feed, first_row, rows, at, w, x)
        for chunk in range((feed.k + CHUNK - 1) // CHUNK):
            ws_now, xs_now = chunk % 2 * CHUNK * COLUMNS, xs + chunk % 2 * CHUNK * rows_each
            keep(me, w, x, here, ws_now, xs_now)
            barrier_of(FEEDERS)
            bring(chunk + 1, me, feed, first_row, rows, at, w, x)
            if own < rows_each:
                left = feed.k - chunk * CHUNK
                total = chain(total, here, ws_now + column, xs_now + own * CHUNK, left)
        return total

    return summed


MOST_ROWS = FEEDERS // WARP
"""Rows of which a block of its own sums up a product."""

_here = shared(types.float32, 0)


@cache
def _few_rows_of(rows_each: int) -> Kernel:
    """The kernel whose blocks take up to ``rows_each`` rows."""
    find, _ = quads_of(1, COLUMNS, True)
    summed = summing(1, COLUMNS, rows_each, True)
    weights = registers(types.float32, 4 * CHUNK * QUADS // FEEDERS)
    values = registers(types.float32, CHUNK // FEEDERS * rows_each)
    places = registers(types.uint32, 8)
    xs = 2 * CHUNK * COLUMNS

    def linear(feed: Feed, rows, n, y, y_stride):
        me, here = thread(), _here()
        first, column, own = block() * COLUMNS, thread() % WARP, thread() // WARP
        w, x, at = weights(), values(), places()
        total = floats(feed.bias)[min(first + column, n - 1)]
        # Panels are whole: their last columns are there, whatever n is.
        find(feed.k, n, (n + 3) // 4 * 4, 0, first, me % QUADS, at)
        total = summed(total, me, feed, 0, rows, at, w, x, here, xs)
        if own < rows and first + column < n:
            floats(y)[own * y_stride + first + column] = total

    return Kernel(linear, FEEDERS)


def few_rows_linear(feed: Feed, rows: int, n: int, y: int, y_stride: int) -> Launch:
    """The launch of a product with up to ``MOST_ROWS`` rows."""
    each = 1 if rows == 1 else 4 if rows <= 4 else MOST_ROWS
    room = 2 * CHUNK * (COLUMNS + each) * BYTES
    arguments = (*feed, rows, n, y, y_stride)
    return Launch(_few_rows_of(each), -(-n // COLUMNS), FEEDERS, arguments, room)
