"""The product of few rows with weights that pass by once, summed as ``linear`` does it, in ascending order.

A warp of a block has a row, and each of its threads a column.
"""

from __future__ import annotations

from functools import cache

from numba import types

from tinyseq.kernels.cuda.intrinsics import WARP, barrier, block, copies, registers, shared, thread
from tinyseq.kernels.cuda.launch import Kernel, Launch
from tinyseq.kernels.cuda.passing import (
    BRINGERS,
    STAGES,
    STEPS,
    arriving,
    bringing,
    chained,
    rows_from,
    stage_floats,
    stages_of,
)
from tinyseq.kernels.cuda.stages import COLUMNS, QUADS, Feed, quads_of
from tinyseq.kernels.cuda.tiles import BYTES
from tinyseq.kernels.llvm.intrinsics import floats

MOST_ROWS = BRINGERS // WARP
"""Rows of which a block of its own sums up a product."""

_here = shared(types.float32, 0)


@cache
def _few_rows_of(rows_each: int) -> Kernel:
    """The kernel whose blocks take up to ``rows_each`` rows."""
    find, _ = quads_of(1, COLUMNS, True)
    bring, stage, arrived = bringing(rows_each, True), stage_floats(rows_each), arriving(STAGES)
    places, addresses = registers(types.uint32, 8), registers(types.int64, rows_each)

    def linear(feed: Feed, rows, n, y, y_stride):
        me, here = thread(), _here()
        first, column, own = block() * COLUMNS, thread() % WARP, thread() // WARP
        at, lines = places(), addresses()
        # Panels are whole: their last columns are there, whatever n is.
        find(feed.k, n, (n + 3) // 4 * 4, 0, first, me % QUADS, at)
        rows_from(feed.x, feed.stride, 0, rows, rows_each, lines)
        total = floats(feed.bias)[min(first + column, n - 1)]
        for turn in range(1 - STAGES, (feed.k + STEPS - 1) // STEPS):
            if turn >= 0:
                arrived()
                barrier()
            number = turn + STAGES - 1
            if number * STEPS < feed.k:
                bring(number, me, feed.w, at, lines, feed.k, here, number % STAGES * stage)
            copies()
            if turn >= 0 and own < rows_each:
                left = feed.k - turn * STEPS
                total = chained(total, column, own, here, turn % STAGES * stage, left)
        if own < rows and first + column < n:
            floats(y)[own * y_stride + first + column] = total

    return Kernel(linear, BRINGERS)


def few_rows_linear(feed: Feed, rows: int, n: int, y: int, y_stride: int) -> Launch:
    """The launch of a product with up to ``MOST_ROWS`` rows."""
    each = 1 if rows == 1 else 4 if rows <= 4 else MOST_ROWS
    room = min(STAGES, stages_of(feed.k)) * stage_floats(each) * BYTES
    return Launch(_few_rows_of(each), -(-n // COLUMNS), BRINGERS, (*feed, rows, n, y, y_stride), room)
