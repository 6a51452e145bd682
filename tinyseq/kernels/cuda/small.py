"""Recurrent layers that a block runs by itself, over the whole sequence in one launch.

Four threads side by side have a unit: each has a part of k, see ``sums.py``, and the recurrent weights of all
gates for it in registers; those that find no room there are in shared memory. So is the state, by parts. What
the four have summed they exchange so that each has a gate; then all of them make the cell, and keep its c for
themselves. A block meets once a frame, and once more where the cell resets the state. It may have several
rows, one after the other.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from numba import types
from numpy import int64, uint32

from tinyseq.kernels.cells import LATE, Variant
from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.compute.rows import taking, valid_row
from tinyseq.kernels.cuda.cells import early_of, ending
from tinyseq.kernels.cuda.intrinsics import (
    WARP,
    barrier,
    block,
    copied,
    copies,
    copy4,
    four,
    registers,
    shared,
    shuffle,
    thread,
    threads,
)
from tinyseq.kernels.cuda.launch import Facts, Kernel, Launch
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.sums import SHORT, order_of
from tinyseq.kernels.cuda.tiles import column_of
from tinyseq.kernels.cuda.warps import folding
from tinyseq.kernels.instructions import HAS_Y
from tinyseq.kernels.llvm.intrinsics import floats, fma

if TYPE_CHECKING:
    from tinyseq.kernels.cuda.recurrent import RecurrentOperands

PARTS = order_of(SHORT).parts

KEPT = {8: 84, 16: 84, 24: 72, 32: 84}
"""Weights that a thread has in registers at the most, by the numbers of its part."""

ROOMY, MOST_ELSEWHERE = (9, 10), 64
"""The major compute capabilities that have room for ``SHORT`` units, and how many units others have room
for."""

PITCH = 4
"""Numbers between the parts of a state, so that the threads of a unit read them at the same time."""

AHEAD = 3
"""How many frames before it is asked for a number of the input is brought; one less than a power of two."""

MOST_ROWS = 8
"""Rows of a block."""

_here = shared(types.float32, 0)


def _product_of(each: int, kept: int, gates: int, first: int, count: int):
    """``multiply(here, at, near, far, lane)``: of a unit, the sum of the lane's gate, by number, or of
    a lone gate; it takes ``count`` of all gates from ``first`` on.

    The state is ``at``; ``near`` are a thread's first weights, ``far`` the others.
    """
    sums, fold = registers(types.float32, PARTS), folding(1 if count == 1 else PARTS, PARTS // 2)
    states, weights = registers(types.float32, 4), registers(types.float32, 4)
    most = PARTS * PARTS * each

    def multiply(here, at, near, far, lane):
        total, state, w = sums(), states(), weights()
        own = at + lane % PARTS * (each + PITCH)
        for p in range(PARTS):
            total[p] = ZERO
        for start in range(0, kept, 4):
            state[0], state[1], state[2], state[3] = four(here, own + start)
            for j in range(4):
                for g in range(count):
                    total[g] = fma(state[j], near[(start + j) * gates + first + g], total[g])
        for start in range(kept, each, 4):
            state[0], state[1], state[2], state[3] = four(here, own + start)
            for j in range(4):
                w[0], w[1], w[2], w[3] = four(here, far + (start + j - kept) * PARTS * most)
                for g in range(count):
                    total[g] = fma(state[j], w[first + g], total[g])
        fold(total, lane)
        return total[0]

    return multiply


@cache
def small_of(variant: Variant, each: int, kept: int, alone: bool) -> Kernel:
    """The kernel of layers of up to ``PARTS * each`` units; threads have the weights of the first ``kept``
    numbers of their part in registers, and the state of their unit, if a block has one row ``alone``."""
    cell, gates = variant.cell, len(variant.cell.gates)
    apart, has_c, resets = cell.apart, cell.has_c, cell.reset is not None
    reach, most, summed = PARTS * (each + PITCH), PARTS * PARTS * each, gates - 1 if resets else gates
    compute, reset = ending(variant, cell.formula), ending(variant, cell.reset or cell.formula)
    early, lates = early_of(variant), tuple(number == LATE for number in cell.early)
    take, take_s = taking(gates), taking(gates * apart)
    multiply = _product_of(each, kept, gates, 0, summed)
    multiply_last = _product_of(each, kept, gates, summed, 1)
    weights = registers(types.float32, gates * kept)
    inputs, products = registers(types.float32, gates), registers(types.float32, gates)
    pending = copied(AHEAD - 1)

    def place_of(k):
        return k % PARTS * (each + PITCH) + k // PARTS

    def load(r, second, hidden, unit, part, near, here, far):
        for g in range(gates):
            last = resets and g >= summed
            matrix, columns = (second, hidden) if last else (r, summed * hidden)
            own = min(unit, hidden - 1) + (0 if last else g * hidden)
            base, stride = column_of(matrix, hidden, columns, own)
            column = floats(base)
            for i in range(kept):
                k = PARTS * i + part
                near[i * gates + g] = column[k * stride] if unit < hidden and k < hidden else ZERO
            for i in range(kept, each):
                k = PARTS * i + part
                there = unit < hidden and k < hidden
                here[far + (i - kept) * PARTS * most + g] = column[k * stride] if there else ZERO
            # Without it the compiler has more addresses in registers at once than there are.
            barrier()

    def exchange(own_x, value, gate, first, x, s):
        """The gates of a unit, each from the thread that has it."""
        made = early(own_x + value, gate)
        for g in range(gates):
            late = apart and lates[g]
            x[g] = shuffle(own_x if late else made, first + g)
            if apart:
                s[g] = shuffle(value, first + g) if late else ZERO

    def bring(here, place, next_x, next_n, frame_x, coming, count, row_x, frame_step):
        """Has the next number copied, if any are coming; what comes then."""
        if coming > 0:
            copy4(here, place, next_x)
        copies()
        next_x, next_n = next_x + row_x, next_n + 1
        if next_n == count:
            frame_x += frame_step
            next_x, next_n = frame_x, int64(0)
        return next_x, next_n, frame_x, coming - 1

    def small(
        xw, r, second, bias, h, c, y, lengths, frames, rows, hidden, reverse, y_frame, y_row, flags, room
    ):
        here, me, width = _here(), thread(), threads()
        unit, gate, first = me // PARTS, me % PARTS, me % WARP // PARTS * PARTS
        first_row = block() * room
        count, mine = 1 if alone else min(room, rows - first_row), unit < hidden and gate < gates
        far, states = PARTS * me, PARTS * (each - kept) * most
        cells = states + 2 * room * reach + me
        near, x, s, mine_at = weights(), inputs(), products(), place_of(unit)
        for i in range(me, 2 * room * reach, width):
            here[states + i] = ZERO
        barrier()
        for i in range(me, count * hidden, width):
            n, k = uint32(i) // uint32(hidden), uint32(i) % uint32(hidden)
            here[states + n * reach + place_of(k)] = floats(h)[first_row * hidden + i]
        if has_c and not alone:
            for n in range(count):
                row_c = floats(c + (first_row + n) * hidden * BYTES)
                here[cells + n * most] = row_c[unit] if unit < hidden else ZERO
        load(r, second, hidden, unit, gate, near, here, far)
        held_h = held_c = ZERO
        if alone and unit < hidden:
            held_h = floats(h)[first_row * hidden + unit]
            held_c = floats(c)[first_row * hidden + unit] if has_c else ZERO
        b = floats(bias)[gate * hidden + unit] if apart and mine else ZERO
        for g in range(gates):
            s[g] = ZERO
        ahead, row_x, row_y = 1 - 2 * reverse, gates * hidden * BYTES, y_row * BYTES
        first_t = (frames - 1) * reverse
        frame_x = xw + (first_t * rows + first_row) * row_x + (gate * hidden + unit) * BYTES
        frame_y = y + (first_t * y_frame + first_row * y_row + unit) * BYTES
        ring = cells + room * most
        next_x, next_n, coming, slot = frame_x, int64(0), frames * count if mine else int64(0), int64(0)
        for item in range(AHEAD):
            next_x, next_n, frame_x, coming = bring(
                here, ring + item * most, next_x, next_n, frame_x, coming, count, row_x, ahead * rows * row_x
            )
        barrier()
        for step in range(frames):
            t, turn, y_now = first_t + ahead * step, 0 if resets else step & 1, frame_y
            now, then = states + turn * room * reach, states + (1 - turn) * room * reach
            for n in range(count):
                row, at = first_row + n, n * reach
                own_h, own_c = held_h, held_c
                if not alone:
                    own_h = here[now + at + mine_at] if unit < hidden else ZERO
                    own_c = here[cells + n * most] if has_c else ZERO
                value = multiply(here, now + at, near, far, me)
                pending()
                own_x = here[ring + slot * most] if mine else ZERO
                next_x, next_n, frame_x, coming = bring(
                    here, ring + (slot + AHEAD & AHEAD) * most, next_x, next_n, frame_x, coming, count, row_x,
                    ahead * rows * row_x,
                )  # fmt: skip
                slot = slot + 1 & AHEAD
                exchange(own_x, value + b if apart else value, gate, first, x, s)
                if resets:
                    reset_h, _ = reset(take(x, 1, 0), (), own_h, own_c, (), 0)
                    if mine and gate == 0:
                        here[then + at + mine_at] = reset_h
                    barrier()
                    value = early(multiply_last(here, then + at, near, far, me) + own_x, gate)
                    x[summed] = shuffle(value, first + summed)
                new_h, new_c = compute(take(x, 1, 0), take_s(s, 1, 0), own_h, own_c, (), 0)
                valid = valid_row(lengths, row, t, flags)
                new_h, new_c = (new_h, new_c) if valid else (own_h, own_c)
                if alone:
                    held_h, held_c = new_h, new_c
                elif has_c:
                    here[cells + n * most] = new_c
                if mine and gate == 0:
                    here[(now if resets else then) + at + mine_at] = new_h
                    if flags & HAS_Y:
                        floats(y_now)[0] = new_h if valid else ZERO
                y_now += row_y
            frame_y += ahead * y_frame * BYTES
            barrier()
        now = states + (0 if resets else frames % 2) * room * reach
        if mine and gate == 0:
            for n in range(count):
                at = (first_row + n) * hidden + unit
                floats(h)[at] = held_h if alone else here[now + n * reach + mine_at]
                if has_c:
                    floats(c)[at] = held_c if alone else here[cells + n * most]

    return Kernel(small, most)


def fits_block(hidden: int, facts: Facts) -> bool:
    """Whether a block has room for a layer."""
    return hidden <= (SHORT if facts.capability[0] in ROOMY else MOST_ELSEWHERE)


def small(variant: Variant, layer: RecurrentOperands, facts: Facts) -> list[Launch] | None:
    """The launch of a layer, or None if a block has no room for it."""
    if not fits_block(layer.hidden, facts):
        return None
    each, gates = order_of(layer.hidden).each, len(variant.cell.gates)
    kept = min(each, KEPT[each] // gates // 4 * 4)
    width = -(-layer.hidden * PARTS // WARP) * WARP
    room = min(-(-layer.rows // facts.multiprocessors), MOST_ROWS)
    blocks = -(-layer.rows // room)
    most = PARTS * PARTS * each
    shared_floats = 2 * room * PARTS * (each + PITCH) + (room + PARTS * (each - kept) + AHEAD + 1) * most
    arguments = (
        *(layer.xw, layer.r, layer.second, layer.bias, layer.h, layer.c, layer.y, layer.lengths),
        *(layer.frames, layer.rows, layer.hidden, layer.reverse, layer.y_frame, layer.y_row, layer.flags),
        room,
    )  # fmt: skip
    return [Launch(small_of(variant, each, kept, room == 1), blocks, width, arguments, shared_floats * BYTES)]
