"""Recurrent layers whose weights stay in registers while one launch runs the whole sequence.

A warp keeps the recurrent weights of a few units, its lanes sharing k. In each frame it multiplies them
with the team's state, row by row; then each lane makes one unit of one row, publishes its state and meets
the team; see ``warps.py`` and ``exchange.py``. A row's bits depend on nothing but its layer and its own
numbers: not on the rows beside it, the frames, or how the blocks exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from numba import types

from tinyseq.kernels.cells import gru_cell, lstm_cell, rnn_cell, valid_row
from tinyseq.kernels.cuda.exchange import Exchange
from tinyseq.kernels.cuda.intrinsics import WARP, registers, shared, thread, threads
from tinyseq.kernels.cuda.launch import Kernel
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.warps import loading, recurrence
from tinyseq.kernels.instructions import HAS_Y
from tinyseq.kernels.intrinsics import floats
from tinyseq.kernels.math import ZERO, sigmoid, tanh

_buffers = shared(types.float32, 0)


class Kind(NamedTuple):
    """A layer's ``gates`` and its cell: (h, c) from four gates of the input, those of the state, h and c,
    gates that it lacks being zero. ``biased`` cells add a bias to the products with the state."""

    gates: int
    cell: Callable[..., tuple]
    biased: bool = False


def _rnn(a, b, c, d, ra, rb, rc, rd, h, cell):
    return rnn_cell(a + ra), cell


def _lstm(i, o, f, g, ri, ro, rf, rg, h, cell):
    return lstm_cell(i + ri, o + ro, f + rf, g + rg, cell)


def _gru_after(z, r, n, d, rz, rr, rn, rd, h, cell):
    candidate = tanh(n + sigmoid(r + rr) * rn)
    return gru_cell(sigmoid(z + rz), candidate, h), cell


RNN, LSTM, GRU_AFTER = Kind(1, _rnn), Kind(4, _lstm), Kind(3, _gru_after, True)


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
def sequence_of(kind: Kind, units: int, per_lane: int, at_once: int, exchange: Exchange, most: int) -> Kernel:
    """The kernel of a layer: ``units`` a warp, ``at_once`` rows, blocks of up to ``most`` threads.

    ``room`` is the rows of a team that its buffers have room for; ``bias`` and ``c`` are there for kinds
    that know them.
    """
    gates, cell, biased = kind
    _, member, team, begin, publish, arrive, wait, collect, end = exchange
    reach, has_c = per_lane * WARP, gates == 4
    load, recur = loading(units, gates, per_lane), recurrence(units, gates, per_lane, at_once)
    fetch = _fetching(gates)
    all_weights = registers(types.float32, units * gates * per_lane)
    inputs, products, biases = (registers(types.float32, 4) for _ in range(3))

    def sequence(
        xw, r, bias, h, c, y, lengths, frames, rows, hidden, reverse, y_frame, y_row, flags, room, meeting
    ):
        lane, width = thread() % WARP, gates * hidden
        first_unit = (member() * (threads() // WARP) + thread() // WARP) * units
        first_row = team() * room
        count = min(room, rows - first_row)
        own, unit = lane // units, first_unit + lane % units
        row, mine = first_row + own, own < count and unit < hidden
        state, weights, x, s, b = _buffers(), all_weights(), inputs(), products(), biases()
        _fill(state, h, first_row, count, room, hidden, reach)
        load(r, hidden, width, first_unit, lane, weights)
        for g in range(4):
            x[g], s[g], b[g] = ZERO, ZERO, ZERO
        own_h = floats(h)[row * hidden + unit] if mine else ZERO
        own_c = floats(c)[row * hidden + unit] if has_c and mine else ZERO
        if biased:
            fetch(bias, hidden, unit, mine, b)
        ticket = begin(meeting)
        here, there = 0, room * reach
        gates_row = xw + (_place(0, frames, reverse) * rows + row) * width * BYTES
        fetch(gates_row, hidden, unit, mine, x)
        for step in range(frames):
            t, more = _place(step, frames, reverse), step + 1 < frames
            published = xw + (t * rows + first_row) * width * BYTES
            valid = mine and valid_row(lengths, row, t, flags)
            recur(state, here, count, lane, weights, s)
            if biased:
                for g in range(gates):
                    s[g] += b[g]
            new_h, new_c = cell(x[0], x[1], x[2], x[3], s[0], s[1], s[2], s[3], own_h, own_c)
            own_h, own_c = (new_h, new_c) if valid else (own_h, own_c)
            if more:
                if mine:
                    publish(state, there + own * reach + unit, own_h, gates_row + unit * BYTES)
                gates_row = xw + (_place(step + 1, frames, reverse) * rows + row) * width * BYTES
                fetch(gates_row, hidden, unit, mine, x)
                arrive(meeting)
            if flags & HAS_Y and mine:
                floats(y)[t * y_frame + row * y_row + unit] = own_h if valid else ZERO
            if more:
                ticket = wait(meeting, ticket)
                collect(state, there, reach, published, width, count, hidden)
            here, there = there, here
        end(meeting, ticket, frames > 1)
        if mine:
            floats(h)[row * hidden + unit] = own_h
            if has_c:
                floats(c)[row * hidden + unit] = own_c

    return Kernel(sequence, most)


@cache
def reset_sequence_of(units: int, per_lane: int, at_once: int, exchange: Exchange, most: int) -> Kernel:
    """``sequence_of`` for the GRU whose candidate sees the reset state: two products and two meetings a
    frame. The team's second buffer takes the reset state."""
    _, member, team, begin, publish, arrive, wait, collect, end = exchange
    reach = per_lane * WARP
    load_gates, load_candidate = loading(units, 2, per_lane), loading(units, 1, per_lane)
    recur_gates = recurrence(units, 2, per_lane, at_once)
    recur_candidate = recurrence(units, 1, per_lane, at_once)
    fetch = _fetching(3)
    gate_weights = registers(types.float32, 2 * units * per_lane)
    candidate_weights = registers(types.float32, units * per_lane)
    inputs, products = registers(types.float32, 3), registers(types.float32, 2)

    def reset_sequence(
        xw, r_gates, r_hidden, h, y, lengths, frames, rows, hidden, reverse, y_frame, y_row, flags, room,
        meeting,
    ):  # fmt: skip
        lane, width = thread() % WARP, 3 * hidden
        first_unit = (member() * (threads() // WARP) + thread() // WARP) * units
        first_row = team() * room
        count = min(room, rows - first_row)
        own, unit = lane // units, first_unit + lane % units
        row, mine = first_row + own, own < count and unit < hidden
        state, w, w_candidate, x, s = _buffers(), gate_weights(), candidate_weights(), inputs(), products()
        _fill(state, h, first_row, count, room, hidden, reach)
        load_gates(r_gates, hidden, 2 * hidden, first_unit, lane, w)
        load_candidate(r_hidden, hidden, hidden, first_unit, lane, w_candidate)
        s[0], s[1] = ZERO, ZERO
        own_h = floats(h)[row * hidden + unit] if mine else ZERO
        ticket = begin(meeting)
        resets, place = room * reach, own * reach + unit
        gates_row = xw + (_place(0, frames, reverse) * rows + row) * width * BYTES
        fetch(gates_row, hidden, unit, mine, x)
        for step in range(frames):
            t, more = _place(step, frames, reverse), step + 1 < frames
            published = xw + (t * rows + first_row) * width * BYTES
            valid = mine and valid_row(lengths, row, t, flags)
            recur_gates(state, 0, count, lane, w, s)
            z, reset = sigmoid(x[0] + s[0]), sigmoid(x[1] + s[1])
            if mine:
                publish(state, resets + place, reset * own_h, gates_row + (hidden + unit) * BYTES)
            arrive(meeting)
            ticket = wait(meeting, ticket)
            collect(state, resets, reach, published + hidden * BYTES, width, count, hidden)
            recur_candidate(state, resets, count, lane, w_candidate, s)
            new_h = gru_cell(z, tanh(x[2] + s[0]), own_h)
            own_h = new_h if valid else own_h
            if more:
                if mine:
                    publish(state, place, own_h, gates_row + unit * BYTES)
                gates_row = xw + (_place(step + 1, frames, reverse) * rows + row) * width * BYTES
                fetch(gates_row, hidden, unit, mine, x)
                arrive(meeting)
            if flags & HAS_Y and mine:
                floats(y)[t * y_frame + row * y_row + unit] = own_h if valid else ZERO
            if more:
                ticket = wait(meeting, ticket)
                collect(state, 0, reach, published, width, count, hidden)
        end(meeting, ticket, True)
        if mine:
            floats(h)[row * hidden + unit] = own_h

    return Kernel(reset_sequence, most)
