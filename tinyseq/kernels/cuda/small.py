"""Recurrent layers that a block runs by itself, over the whole sequence in one launch.

A thread has a gate of a unit, and the recurrent weights of that in registers; those that find no room there
are in shared memory. The state is in shared memory, too, where all threads read the same numbers of it at the
same time. The gates of a unit are neighbours, which tell each other their sums; each of them makes the cell.
A block meets once a frame, and once more where the cell resets the state. It may have several rows, one
after the other.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from numba import types

from tinyseq.kernels.cells import Variant
from tinyseq.kernels.cuda.cells import computing
from tinyseq.kernels.cuda.intrinsics import (
    WARP,
    barrier,
    block,
    four,
    registers,
    shared,
    shuffle,
    thread,
    threads,
)
from tinyseq.kernels.cuda.launch import Facts, Kernel, Launch
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.steps import column_of
from tinyseq.kernels.cuda.sums import SHORT, order_of, padded
from tinyseq.kernels.instructions import HAS_Y
from tinyseq.kernels.intrinsics import floats, fma
from tinyseq.kernels.math import ZERO
from tinyseq.kernels.rows import taking, valid_row

if TYPE_CHECKING:
    from tinyseq.kernels.cuda.recurrent import Layer

PARTS = order_of(SHORT).parts

KEPT = 20
"""Numbers of each of the parts whose weights a thread has in registers, where there are many threads."""

MOST_ROWS = 8
"""Rows of a block."""

_here = shared(types.float32, 0)


def _place(number, frames, reverse):
    return frames - 1 - number if reverse else number


def _product_of(each: int, kept: int):
    """``multiply(state, at, near, far, me, width)``: the sum of the numbers of the state from ``at`` on times
    a thread's weights, the first of which are ``near`` and the others ``far``, ``width`` threads apart."""
    sums = registers(types.float32, PARTS)

    def multiply(here, at, near, far, width):
        total = sums()
        for p in range(PARTS):
            total[p] = ZERO
        for i in range(kept):
            a, b, c, d = four(here, at + PARTS * i)
            total[0], total[1] = fma(a, near[4 * i], total[0]), fma(b, near[4 * i + 1], total[1])
            total[2], total[3] = fma(c, near[4 * i + 2], total[2]), fma(d, near[4 * i + 3], total[3])
        for i in range(kept, each):
            a, b, c, d = four(here, at + PARTS * i)
            e, f, g, h = four(here, far + (i - kept) * PARTS * width)
            total[0], total[1] = fma(a, e, total[0]), fma(b, f, total[1])
            total[2], total[3] = fma(c, g, total[2]), fma(d, h, total[3])
        return (total[0] + total[2]) + (total[1] + total[3])

    return multiply


@cache
def small_of(variant: Variant, each: int, kept: int) -> Kernel:
    """The kernel of layers of up to ``PARTS * each`` units; ``kept`` as ``KEPT``."""
    cell, gates = variant.cell, len(variant.cell.gates)
    apart, has_c, resets = cell.apart, cell.has_c, cell.reset is not None
    beside, reach = padded(gates), PARTS * each
    summed = gates - 1 if resets else gates
    compute, reset = computing(variant, cell.formula), computing(variant, cell.reset or cell.formula)
    take, take_s, multiply = taking(gates), taking(gates * apart), _product_of(each, kept)
    weights = registers(types.float32, PARTS * kept)
    inputs, products = registers(types.float32, gates), registers(types.float32, gates)

    def load(r, second, hidden, unit, gate, near, here, far, width):
        there = unit < hidden and gate < gates
        last = resets and gate >= summed
        base, stride = column_of(
            r, hidden, summed * hidden, min(gate, summed - 1) * hidden + min(unit, hidden - 1)
        )
        if last:
            base, stride = column_of(second, hidden, hidden, min(unit, hidden - 1))
        column = floats(base)
        for i in range(PARTS * kept):
            near[i] = column[i * stride] if there and i < hidden else ZERO
        for i in range(kept, each):
            for p in range(PARTS):
                k = PARTS * i + p
                here[far + (i - kept) * PARTS * width + p] = (
                    column[k * stride] if there and k < hidden else ZERO
                )

    def small(
        xw, r, second, bias, h, c, y, lengths, frames, rows, hidden, reverse, y_frame, y_row, flags, room
    ):
        here, me, width = _here(), thread(), threads()
        unit, gate, first = me // beside, me % beside, me % WARP // beside * beside
        first_row = block() * room
        count, mine = min(room, rows - first_row), unit < hidden and gate < gates
        far, states = PARTS * me, PARTS * (each - kept) * width
        cells = states + 2 * room * reach + me
        near, x, s = weights(), inputs(), products()
        for i in range(me, 2 * room * reach, width):
            n, k = i // reach, i % reach
            there = n < count and k < hidden
            here[states + i] = floats(h)[(first_row + n) * hidden + k] if there else ZERO
        if has_c:
            for n in range(count):
                here[cells + n * width] = floats(c)[(first_row + n) * hidden + unit] if mine else ZERO
        load(r, second, hidden, unit, gate, near, here, far, width)
        b = floats(bias)[gate * hidden + unit] if apart and mine else ZERO
        for g in range(gates):
            s[g] = ZERO
        own = gate * hidden + unit
        row_at = xw + (_place(0, frames, reverse) * rows + first_row) * gates * hidden * BYTES
        coming = floats(row_at)[own] if mine else ZERO
        barrier()
        for step in range(frames):
            t, turn = _place(step, frames, reverse), 0 if resets else step % 2
            now, then = states + turn * room * reach, states + (1 - turn) * room * reach
            for n in range(count):
                row, at, own_x = first_row + n, n * reach, coming
                later = step + 1 if n + 1 == count else step
                if later < frames and mine:
                    following = first_row + (0 if n + 1 == count else n + 1)
                    row_at = xw + (_place(later, frames, reverse) * rows + following) * gates * hidden * BYTES
                    coming = floats(row_at)[own]
                own_h = here[now + at + unit] if unit < hidden else ZERO
                own_c = here[cells + n * width] if has_c else ZERO
                value = multiply(here, now + at, near, far, width)
                if apart:
                    value += b
                    for g in range(gates):
                        x[g], s[g] = shuffle(own_x, first + g), shuffle(value, first + g)
                else:
                    value += own_x
                    for g in range(gates):
                        x[g] = shuffle(value, first + g)
                if resets:
                    reset_h, _ = reset(take(x, 1, 0), (), own_h, own_c, (), 0)
                    if mine and gate == 0:
                        here[then + at + unit] = reset_h
                    barrier()
                    value = multiply(here, then + at, near, far, width) + own_x
                    x[summed] = shuffle(value, first + summed)
                new_h, new_c = compute(take(x, 1, 0), take_s(s, 1, 0), own_h, own_c, (), 0)
                valid = valid_row(lengths, row, t, flags)
                new_h = new_h if valid else own_h
                if has_c and valid:
                    here[cells + n * width] = new_c
                if mine and gate == 0:
                    here[(now if resets else then) + at + unit] = new_h
                    if flags & HAS_Y:
                        floats(y)[t * y_frame + row * y_row + unit] = new_h if valid else ZERO
            barrier()
        now = states + (0 if resets else frames % 2) * room * reach
        if mine and gate == 0:
            for n in range(count):
                floats(h)[(first_row + n) * hidden + unit] = here[now + n * reach + unit]
                if has_c:
                    floats(c)[(first_row + n) * hidden + unit] = here[cells + n * width]

    return Kernel(small, max(WARP, beside * reach))


def small(variant: Variant, layer: Layer, facts: Facts) -> list[Launch]:
    """The launch of a layer."""
    each, beside = order_of(layer.hidden).each, padded(len(variant.cell.gates))
    kept = min(each, KEPT) if beside > 2 else each
    width = -(-layer.hidden * beside // WARP) * WARP
    room = min(-(-layer.rows // facts.multiprocessors), MOST_ROWS)
    blocks = -(-layer.rows // room)
    shared_floats = room * (2 * PARTS * each + width) + PARTS * (each - kept) * width
    arguments = (
        *(layer.xw, layer.r, layer.second, layer.bias, layer.h, layer.c, layer.y, layer.lengths),
        *(layer.frames, layer.rows, layer.hidden, layer.reverse, layer.y_frame, layer.y_row, layer.flags),
        room,
    )  # fmt: skip
    return [Launch(small_of(variant, each, kept), blocks, width, arguments, shared_floats * BYTES)]
