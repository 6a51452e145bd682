"""A frame of many rows in one launch: tiles of the state and of the weights in shared memory.

The warps of a block share each tile's k; what they have summed is added up at the end, in pairs.
"""

from __future__ import annotations

from functools import cache

from numba import types
from numpy import int64, uint32

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.cuda.intrinsics import WARP, barrier, block, four, load4, registers, shared, thread
from tinyseq.kernels.cuda.launch import Kernel, Launch
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.stages import (
    COLUMNS,
    QUADS,
    Frame,
    Product,
    Stage,
    finishing,
    folded_of,
    quads_of,
    state_before,
    units_of,
)
from tinyseq.kernels.llvm.intrinsics import floats, fma

STEPS = 64
"""Steps of k that a block of many rows has in shared memory at a time."""

THREADS = 256

ROWS = 32
"""Rows of a block. Two blocks or more that a multiprocessor has at a time wait for memory by turns."""

PITCH = 4
"""Numbers between the rows of one column and those of the next, so that threads do not queue up."""

_here = shared(types.float32, 0)


ROOM = max(2 * STEPS * (ROWS + COLUMNS), THREADS // WARP * COLUMNS * (ROWS + PITCH))
"""Numbers in the shared memory of a block."""


@cache
def many_rows_of(stage: Stage, wide: bool) -> Kernel:
    """The kernel whose blocks take ``ROWS`` rows, of which a thread has an eighth and eight columns, for
    an eighth of the steps that are in shared memory.

    There the state lies with the rows of a step side by side, in fours that are swapped by the step, so that
    neither those who write it nor those who read it wait for each other.
    """
    gates, units_each = stage.gates, units_of(stage, False)
    warps, each = THREADS // WARP, ROWS // 8
    own_steps, halves = STEPS // warps, each // 4
    h_each, w_each = ROWS * STEPS // (4 * THREADS), STEPS * QUADS // THREADS
    find, load = quads_of(gates, units_each, wide)
    pitch = ROWS + PITCH
    folded = folded_of(warps, COLUMNS * pitch, 1, pitch)
    accumulators, places = registers(types.float32, each * 8), registers(types.uint32, 8)
    weights, states = registers(types.float32, 4 * w_each), registers(types.float32, 4 * h_each)
    left_of, right_of = registers(types.float32, each), registers(types.float32, 8)

    def total_of(here, n, g, unit):
        return folded(here, 0, n, g * units_each + unit)

    end = finishing(stage, None, total_of)

    def fetch(first, me, r, source, stride, first_row, rows, k, at, w, h):
        for i in range(h_each):
            item = me + i * THREADS
            row = source + min(first_row + item // 8 % ROWS, rows - 1) * stride * BYTES
            step = first + (item % 8 + item // (8 * ROWS) * 8) * 4
            if wide:
                there = step < k and source != 0
                a, b, c, d = load4(row + step * BYTES) if there else (ZERO, ZERO, ZERO, ZERO)
                h[4 * i], h[4 * i + 1], h[4 * i + 2], h[4 * i + 3] = a, b, c, d
            else:
                for j in range(4):
                    h[4 * i + j] = floats(row)[step + j] if step + j < k and source != 0 else ZERO
        for i in range(w_each):
            step = first + me // QUADS + i * (THREADS // QUADS)
            load(r, at, step, step < k, 4 * i, w)

    def keep(me, w, h, here, hs, ws):
        for i in range(h_each):
            item = me + i * THREADS
            row, swap = item // 8 % ROWS, item % 8
            step = (swap + item // (8 * ROWS) * 8) * 4
            for j in range(4):
                here[hs + (step + j) * ROWS + (row // 4 ^ swap) * 4 + row % 4] = h[4 * i + j]
        for i in range(w_each):
            for c in range(4):
                step = me // QUADS + i * (THREADS // QUADS)
                here[ws + step * COLUMNS + me % QUADS * 4 + c] = w[4 * i + c]

    def multiply(me, here, hs, ws, total, left, right):
        warp, group, across = me // WARP, me % 8, me % WARP // 8
        for number in range(own_steps // 4):
            swap = (warp * own_steps // 4 + number) & 7
            for i in range(4):
                step = warp * own_steps + 4 * number + i
                for half in range(halves):
                    own = hs + step * ROWS + ((group + 8 * half) ^ swap) * 4
                    left[4 * half], left[4 * half + 1], left[4 * half + 2], left[4 * half + 3] = four(
                        here, own
                    )
                for half in range(2):
                    own, at = ws + step * COLUMNS + half * 16 + across * 4, 4 * half
                    right[at], right[at + 1], right[at + 2], right[at + 3] = four(here, own)
                for n in range(each):
                    for c in range(8):
                        total[n * 8 + c] = fma(left[n], right[c], total[n * 8 + c])

    def leave(me, here, total):
        warp, group, across = me // WARP, me % 8, me % WARP // 8
        for c in range(8):
            column = c // 4 * 16 + across * 4 + c % 4
            for n in range(each):
                row = (group + n // 4 * 8) * 4 + n % 4
                here[(warp * COLUMNS + column) * pitch + row] = total[n * 8 + c]

    def many(source, source_stride, k, rows, units, product: Product, frame: Frame):
        me, here = thread(), _here()
        across = uint32((units + units_each - 1) // units_each)
        first_row = int64(uint32(block()) // across) * ROWS
        unit = int64(uint32(block()) % across) * units_each
        total, w, h, at, left, right = accumulators(), weights(), states(), places(), left_of(), right_of()
        for i in range(each * 8):
            total[i] = ZERO
        find(k, product.columns, units, 0, unit, me % QUADS, at)
        fetch(0, me, product.r, source, source_stride, first_row, rows, k, at, w, h)
        for first in range(0, k, STEPS):
            turn = first // STEPS % 2
            hs = turn * STEPS * (ROWS + COLUMNS)
            ws = hs + STEPS * ROWS
            keep(me, w, h, here, hs, ws)
            barrier()
            fetch(first + STEPS, me, product.r, source, source_stride, first_row, rows, k, at, w, h)
            multiply(me, here, hs, ws, total, left, right)
        barrier()
        leave(me, here, total)
        barrier()
        for i in range(me, ROWS * units_each, THREADS):
            n, u = i // units_each, i % units_each
            if first_row + n < rows and unit + u < units:
                c, h = state_before(first_row + n, unit + u, units, frame)
                end(n, first_row + n, u, unit + u, c, h, units, product, frame, here)

    return Kernel(many, THREADS)


def many_rows(
    stage: Stage, source: tuple[int, int], k: int, rows: int, units: int, frame: Frame, product: Product,
    wide: bool,
) -> Launch:  # fmt: skip
    """The launch of a frame; see ``steps.step``."""
    across = -(-units // units_of(stage, False))
    arguments = (*source, k, rows, units, *product, *frame)
    kernel = many_rows_of(stage, wide)
    return Launch(kernel, across * -(-rows // ROWS), THREADS, arguments, ROOM * BYTES)
