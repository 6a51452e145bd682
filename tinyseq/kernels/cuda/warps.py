"""What a warp does of a matrix product whose weights stay in its registers.

The 32 threads of a warp, its lanes, share k: of a state each takes up to ``RUN`` numbers in a row, then as
many 32 runs further, so that a shared buffer is read in whole lines. What they have summed they add up
across the warp, in one order for every row and every number of rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable

from numba import types

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.cuda.intrinsics import WARP, barrier, registers, shuffle, shuffle_xor
from tinyseq.kernels.cuda.tiles import column_of
from tinyseq.kernels.llvm.intrinsics import floats, fma

RUN = 4
"""Most numbers in a row that a lane takes."""


def _done(sums, lane):
    return


def _folding(width: int, mask: int) -> Callable[..., None]:
    """Adds ``width`` numbers up across the lanes that bits up to ``mask`` tell apart.

    Each exchange halves the numbers that a lane has left to sum: the number of the sum that it ends with,
    in ``sums[0]``, is that of the lane, by its top bits.
    """
    half = width // 2
    rest = _folding(max(half, 1), mask // 2) if mask > 1 else _done

    def fold(sums, lane):
        upper = lane & mask != 0
        for i in range(half):
            own = sums[i + half] if upper else sums[i]
            other = sums[i] if upper else sums[i + half]
            sums[i] = own + shuffle_xor(other, mask)
        if half == 0:
            sums[0] += shuffle_xor(sums[0], mask)
        rest(sums, lane)

    return fold


def padded(values: int) -> int:
    """The power of two from which a warp folds so many sums."""
    return 1 << (values - 1).bit_length()


def recurrence(units: int, gates: int, per_lane: int, at_once: int) -> Callable[..., None]:
    """``recur(state, start, rows, lane, weights, mine)``: rows of state times the warp's columns.

    Rows are 32 * ``per_lane`` apart from ``start`` on and taken ``at_once``. Lane n * ``units`` + u gets the
    sums of unit u of row n, one for each gate, in ``mine``.
    """
    values = units * gates
    wide, run = padded(values), min(RUN, per_lane)
    fold, spread = _folding(wide * at_once, WARP // 2), WARP // (wide * at_once)
    totals = registers(types.float32, wide * at_once)

    def recur(state, start, rows, lane, weights, mine):
        sums = totals()
        for first in range(0, rows, at_once):
            for i in range(wide * at_once):
                sums[i] = ZERO
            for number in range(per_lane // run):
                for n in range(at_once):
                    at = start + ((first + n) * per_lane + number * run) * WARP + lane * run
                    for i in range(run):
                        x = state[at + i]
                        for v in range(values):
                            w = weights[v * per_lane + number * run + i]
                            sums[n * wide + v] = fma(x, w, sums[n * wide + v])
            fold(sums, lane)
            own = lane // units - first
            for g in range(gates):
                place = (own & (at_once - 1)) * wide + lane % units * gates + g
                value = shuffle(sums[0], place * spread)
                if own >= 0 and own < at_once:
                    mine[g] = value

    return recur


def loading(units: int, gates: int, per_lane: int) -> Callable[..., None]:
    """``load(r, hidden, columns, first_unit, lane, weights)``: a lane's weights of a warp's units, from a
    packed matrix [hidden, columns] of ``gates`` gates; zeros outside of it."""

    run = min(RUN, per_lane)

    def load(r, hidden, columns, first_unit, lane, weights):
        for u in range(units):
            unit = min(first_unit + u, hidden - 1)
            for g in range(gates):
                base, stride = column_of(r, hidden, columns, g * hidden + unit)
                column = floats(base)
                for i in range(per_lane):
                    k = i // run * run * WARP + lane * run + i % run
                    there = k < hidden and first_unit + u < hidden
                    weights[(u * gates + g) * per_lane + i] = column[k * stride] if there else ZERO
            # Without it the compiler has the addresses of all units in registers at once, and too few.
            barrier()

    return load
