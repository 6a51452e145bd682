"""Recurrent layers whose weights stay in registers while one launch runs the whole sequence.

A warp keeps the recurrent weights of a few units, its lanes sharing k. In each frame it multiplies them
with the team's state, row by row; then each lane makes one unit of one row, publishes its state and meets
the team; see ``warps.py`` and ``exchange.py``. A row's bits depend on nothing but its layer and its own
numbers: not on the rows beside it, the frames, or how the blocks exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from numba import types

from tinyseq.kernels.cells import Variant
from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.compute.rows import taking, valid_row
from tinyseq.kernels.cuda.cells import computing
from tinyseq.kernels.cuda.exchange import Exchange
from tinyseq.kernels.cuda.intrinsics import WARP, registers, shared, thread, threads
from tinyseq.kernels.cuda.launch import Kernel
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.warps import loading, recurrence
from tinyseq.kernels.instructions import HAS_Y
from tinyseq.kernels.llvm.intrinsics import floats

_buffers = shared(types.float32, 0)


def _place(number, frames, reverse):
    return frames - 1 - number if reverse else number


def _fill(state, h, first_row, rows, room, hidden, reach):
    """The first buffer holds the rows of h, all else is zero."""
    for i in range(thread(), 2 * room * reach, threads()):
        n, k = i // reach, i % reach
        there = n < rows and k < hidden
        state[i] = floats(h)[(first_row + n) * hidden + k] if there else ZERO


def _fetching(gates: int) -> Callable[..., None]:
    """``fetch(row, hidden, unit, mine, numbers)``: a unit's gates in a row of them; zeros unless ``mine``."""

    def fetch(row, hidden, unit, mine, numbers):
        for g in range(gates):
            numbers[g] = floats(row)[g * hidden + unit] if mine else ZERO

    return fetch


@cache
def sequence_of(
    variant: Variant, units: int, per_lane: int, at_once: int, exchange: Exchange, most: int
) -> Kernel:
    """The kernel of a layer: ``units`` a warp, ``at_once`` rows, blocks of up to ``most`` threads.

    ``room`` is the rows of a team that its buffers have room for; ``bias``, ``second`` and ``c`` are there
    for cells that know them. A cell that resets the state has two products and two meetings a frame, and the
    team's second buffer takes the reset state.
    """
    cell, gates = variant.cell, len(variant.cell.gates)
    apart, has_c, resets = cell.apart, cell.has_c, cell.reset is not None
    summed = gates - 1 if resets else gates
    compute, reset = computing(variant, cell.formula), computing(variant, cell.reset or cell.formula)
    _, member, team, begin, publish, arrive, wait, collect, end = exchange
    reach, take, take_s = per_lane * WARP, taking(gates), taking(gates * apart)
    load, recur = loading(units, summed, per_lane), recurrence(units, summed, per_lane, at_once)
    load_last, recur_last = loading(units, 1, per_lane), recurrence(units, 1, per_lane, at_once)
    fetch = _fetching(gates)
    all_weights, last_weights = (registers(types.float32, units * count * per_lane) for count in (summed, 1))
    inputs, products, biases = (registers(types.float32, gates) for _ in range(3))

    def sequence(
        xw, r, second, bias, h, c, y, lengths, frames, rows, hidden, reverse, y_frame, y_row, flags, room,
        meeting,
    ):  # fmt: skip
        lane, width = thread() % WARP, gates * hidden
        first_unit = (member() * (threads() // WARP) + thread() // WARP) * units
        first_row = team() * room
        count = min(room, rows - first_row)
        own, unit = lane // units, first_unit + lane % units
        row, mine = first_row + own, own < count and unit < hidden
        state, weights, x, s = _buffers(), all_weights(), inputs(), products()
        _fill(state, h, first_row, count, room, hidden, reach)
        load(r, hidden, summed * hidden, first_unit, lane, weights)
        if resets:
            w_last = last_weights()
            load_last(second, hidden, hidden, first_unit, lane, w_last)
        for g in range(gates):
            s[g] = ZERO
        own_h = floats(h)[row * hidden + unit] if mine else ZERO
        own_c = floats(c)[row * hidden + unit] if has_c and mine else ZERO
        if apart:
            b = biases()
            fetch(bias, hidden, unit, mine, b)
        ticket = begin(meeting)
        here, there, place = 0, room * reach, own * reach + unit
        gates_row = xw + (_place(0, frames, reverse) * rows + row) * width * BYTES
        fetch(gates_row, hidden, unit, mine, x)
        for step in range(frames):
            t, more = _place(step, frames, reverse), step + 1 < frames
            published = xw + (t * rows + first_row) * width * BYTES
            valid = mine and valid_row(lengths, row, t, flags)
            recur(state, here, count, lane, weights, s)
            for g in range(summed):
                if apart:
                    s[g] += b[g]
                else:
                    x[g] += s[g]
            if resets:
                reset_h, _ = reset(take(x, 1, 0), (), own_h, own_c, (), 0)
                if mine:
                    publish(state, there + place, reset_h, gates_row + (hidden + unit) * BYTES)
                arrive(meeting)
                ticket = wait(meeting, ticket)
                collect(state, there, reach, published + hidden * BYTES, width, count, hidden)
                recur_last(state, there, count, lane, w_last, s)
                x[summed] += s[0]
            else:
                here, there = there, here
            new_h, new_c = compute(take(x, 1, 0), take_s(s, 1, 0), own_h, own_c, (), 0)
            own_h, own_c = (new_h, new_c) if valid else (own_h, own_c)
            if more:
                if mine:
                    publish(state, here + place, own_h, gates_row + unit * BYTES)
                gates_row = xw + (_place(step + 1, frames, reverse) * rows + row) * width * BYTES
                fetch(gates_row, hidden, unit, mine, x)
                arrive(meeting)
            if flags & HAS_Y and mine:
                floats(y)[t * y_frame + row * y_row + unit] = own_h if valid else ZERO
            if more:
                ticket = wait(meeting, ticket)
                collect(state, here, reach, published, width, count, hidden)
        end(meeting, ticket, resets or frames > 1)
        if mine:
            floats(h)[row * hidden + unit] = own_h
            if has_c:
                floats(c)[row * hidden + unit] = own_c

    return Kernel(sequence, most)
