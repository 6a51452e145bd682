"""Recurrent layers on tensor cores: one launch for the whole sequence, its weights rounded and in registers.

A block makes ``UNITS`` units of all rows. Its warps share k: each keeps the weights of all gates of those
units for its part, multiplies them with the state of eight rows at a time, and leaves its sums in shared
memory. There a thread adds up those of one unit of one row, in the order of the warps, and makes the cell.
The state itself and what is done with it by element stay float32: rounded is what is multiplied. A row's
bits depend on nothing but its layer and its own numbers.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from numba import types

from tinyseq.kernels.cells import Variant
from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.compute.rows import taking, valid_row
from tinyseq.kernels.cuda import recurrent_cluster
from tinyseq.kernels.cuda.cells import computing
from tinyseq.kernels.cuda.cores import CORES
from tinyseq.kernels.cuda.exchange import GRID
from tinyseq.kernels.cuda.intrinsics import (
    WARP,
    barrier,
    load_fresh4,
    load_fresh4_integers32,
    registers,
    shared,
    shuffle_xor,
    thread,
)
from tinyseq.kernels.cuda.launch import Facts, Kernel, Launch
from tinyseq.kernels.cuda.persistent import _fetching, _place
from tinyseq.kernels.cuda.tiles import BYTES, column_of
from tinyseq.kernels.instructions import HAS_Y, PROJECTED
from tinyseq.kernels.llvm.intrinsics import floats, integers32

if TYPE_CHECKING:
    from tinyseq.kernels.cuda.recurrent import RecurrentOperands

UNITS = 8
"""Units of a block."""

WARPS = 8
THREADS = WARPS * WARP

TILE_ROWS = 8
"""Rows of the state that a warp multiplies at once."""

MOST_ROWS, MOST_HIDDEN = 64, 1024

NEWER, MOST_HIDDEN_BEFORE = (9, 0), 512
"""Code for devices before that compute capability takes more registers."""

GROUP = 32
"""Steps of k of which a lane keeps eight in a row."""

MOST_AHEAD = 8
"""Groups of a lane's states that are on their way at once."""

PER_ROUND = 4
"""Lanes that share a row's group."""


SPARE = 8
"""Numbers between lines of sums in shared memory."""

NARROW = ("bfloat16", "float16")


def _lines(gates: int) -> int:
    """Gates of a block's units, up to whole operands."""
    return -(-gates * UNITS // 16) * 16


def _weights(gates: int, groups: int, rounded):
    """``load(r, hidden, first_unit, weights)``: a lane's operands; see PTX's mma.m16n8k16.

    Which steps of k are in which place is free, as long as the state's are the same: a lane has eight in a
    row.
    """
    tiles = _lines(gates) // 16

    def load(r, hidden, first_unit, weights):
        lane, first = thread() % WARP, thread() // WARP * groups * GROUP
        for tile in range(tiles):
            for lower in range(2):
                line = tile * 16 + lower * 8 + lane // PER_ROUND
                gate, unit = line // UNITS, first_unit + line % UNITS
                there = gate < gates and unit < hidden
                base, stride = column_of(r, hidden, gates * hidden, gate * hidden + unit if there else 0)
                column = floats(base)
                for group in range(groups):
                    k = first + group * GROUP + lane % PER_ROUND * 8
                    inside = there and k < hidden
                    for j in range(4):
                        a = column[(k + 2 * j) * stride] if inside else ZERO
                        b = column[(k + 2 * j + 1) * stride] if inside else ZERO
                        weights[(tile * groups + group) * 8 + 2 * j + lower] = rounded(a, b)
                # Without it the compiler has the addresses of all of them in registers at once.
                barrier()

    return load


def _multiplying(read, groups: int, tiles: int, tiles_of_rows: int, pitch: int, core):
    """``multiply(source, stride, rows, hidden, weights, part)``: a warp's sums of all rows of a state, whose
    eight numbers from k on of the row at an address are ``read(at, k, state, first)``.

    What lies behind k is read as something else of the row; its weights are zero.
    """
    at_once = min(tiles_of_rows, max(1, MOST_AHEAD // groups))
    states, accumulators = registers(types.int32, at_once * groups * 4), registers(types.float32, tiles * 4)

    def product(group, number, state, weights, total):
        for half in range(2):
            first = (number * groups + group) * 4 + 2 * half
            for tile in range(tiles):
                w, sums = (tile * groups + group) * 8 + 4 * half, 4 * tile
                a, b, c, d = core(
                    weights[w], weights[w + 1], weights[w + 2], weights[w + 3],
                    state[first], state[first + 1],
                    total[sums], total[sums + 1], total[sums + 2], total[sums + 3],
                )  # fmt: skip
                total[sums], total[sums + 1], total[sums + 2], total[sums + 3] = a, b, c, d

    def multiply(source, stride, rows, hidden, weights, part):
        lane, warp = thread() % WARP, thread() // WARP
        line, column = lane // PER_ROUND, lane % PER_ROUND * 2
        for start in range(0, tiles_of_rows, at_once):
            state = states()
            for number in range(at_once):
                at = source + min((start + number) * TILE_ROWS + line, rows - 1) * stride
                for group in range(groups):
                    k = (warp * groups + group) * GROUP + lane % PER_ROUND * 8
                    read(at, min(k, hidden - 8), state, (number * groups + group) * 4)
            for number in range(at_once):
                total = accumulators()
                for i in range(tiles * 4):
                    total[i] = ZERO
                for group in range(groups):
                    product(group, number, state, weights, total)
                for half_tile in range(2 * tiles):
                    place = (warp * tiles * 16 + half_tile * 8 + line) * pitch + column
                    place += (start + number) * TILE_ROWS
                    part[place], part[place + 1] = total[2 * half_tile], total[2 * half_tile + 1]

    return multiply


@cache
def sequence_of(variant: Variant, precision: str, groups: int, tiles_of_rows: int) -> Kernel:
    """The kernel of a layer whose warps take ``groups`` of k, for up to so many tiles of rows."""
    cell, gates = variant.cell, len(variant.cell.gates)
    apart, has_c = cell.apart, cell.has_c
    compute, cores = computing(variant, cell.formula), CORES[precision]
    rounded, core = cores.rounded, cores.multiply
    take, take_s, fetch = taking(gates), taking(gates * apart), _fetching(gates)
    load = _weights(gates, groups, rounded)
    lines, room = _lines(gates), TILE_ROWS * tiles_of_rows
    tiles, pitch = lines // 16, room + SPARE
    each = max(1, UNITS * room // THREADS)
    operands = registers(types.int32, tiles * groups * 8)
    inputs, next_inputs = registers(types.float32, each * gates), registers(types.float32, each * gates)
    biases = registers(types.float32, gates)
    sums, numbers = registers(types.float32, gates), registers(types.float32, gates)
    hs, cs = registers(types.float32, each), registers(types.float32, each)
    parts = shared(types.float32, 0)
    member, begin, arrive, wait, end = GRID.member, GRID.begin, GRID.arrive, GRID.wait, GRID.end

    def read_rounded(at, k, state, first):
        a, b, c, d = load_fresh4_integers32(at + k * 2)
        state[first], state[first + 1], state[first + 2], state[first + 3] = a, b, c, d

    def read_floats(at, k, state, first):
        a, b, c, d = load_fresh4(at + k * BYTES)
        state[first], state[first + 1] = rounded(a, b), rounded(c, d)
        a, b, c, d = load_fresh4(at + (k + 4) * BYTES)
        state[first + 2], state[first + 3] = rounded(a, b), rounded(c, d)

    multiply_rounded, multiply_floats = (
        _multiplying(read, groups, tiles, tiles_of_rows, pitch, core) for read in (read_rounded, read_floats)
    )

    def sequence(
        xw, r, bias, h0, c0, h, c, y, lengths, frames, rows, all_rows, hidden, reverse, y_frame, y_row,
        flags, meeting,
    ):  # fmt: skip
        """The state begins with h0 and c0, or zeros where these are 0, and ends in h and c."""
        width, first_unit = gates * hidden, member() * UNITS
        unit = first_unit + thread() % UNITS
        part, weights, x, x_next = parts(), operands(), inputs(), next_inputs()
        own_h, own_c, s, b, one = hs(), cs(), sums(), biases(), numbers()
        load(r, hidden, first_unit, weights)
        for i in range(each):
            row = thread() // UNITS + i * (THREADS // UNITS)
            mine = row < rows and unit < hidden
            own_h[i] = floats(h0)[row * hidden + unit] if mine and h0 != 0 else ZERO
            own_c[i] = floats(c0)[row * hidden + unit] if has_c and mine and c0 != 0 else ZERO
            fetch(xw + (_place(0, frames, reverse) * all_rows + row) * width * BYTES, hidden, unit, mine, one)
            for g in range(gates):
                x[i * gates + g] = one[g]
        if apart:
            fetch(bias, hidden, unit, unit < hidden, b)
        ticket = begin(meeting)
        source, stride = h0, hidden * BYTES
        for step in range(frames):
            t, more = _place(step, frames, reverse), step + 1 < frames
            for i in range(each):
                row = thread() // UNITS + i * (THREADS // UNITS)
                gates_row = xw + (_place(step + 1, frames, reverse) * all_rows + row) * width * BYTES
                fetch(gates_row, hidden, unit, more and row < rows and unit < hidden, one)
                for g in range(gates):
                    x_next[i * gates + g] = one[g]
            if step > 1:
                multiply_rounded(source, stride, rows, hidden, weights, part)
            elif source == 0:
                for i in range(thread(), WARPS * lines * pitch, THREADS):
                    part[i] = ZERO
            else:
                multiply_floats(source, stride, rows, hidden, weights, part)
            barrier()
            source, stride = xw + t * all_rows * width * BYTES, width * BYTES
            for i in range(each):
                row = thread() // UNITS + i * (THREADS // UNITS)
                mine = row < rows and unit < hidden
                valid = mine and valid_row(lengths, row, t, flags)
                for g in range(gates):
                    value = ZERO
                    for warp in range(WARPS):
                        value += part[
                            (warp * lines + g * UNITS + thread() % UNITS) * pitch + min(row, room - 1)
                        ]
                    if apart:
                        s[g], one[g] = value + b[g], x[i * gates + g]
                    else:
                        s[g], one[g] = ZERO, x[i * gates + g] + value
                new_h, new_c = compute(take(one, 1, 0), take_s(s, 1, 0), own_h[i], own_c[i], (), 0)
                own_h[i], own_c[i] = (new_h, new_c) if valid else (own_h[i], own_c[i])
                if more:
                    other = shuffle_xor(own_h[i], 1)
                    at = source + row * stride
                    if step == 0:
                        # Others may not have read their numbers of this row yet.
                        if mine:
                            floats(at)[unit] = own_h[i]
                    elif mine and unit % 2 == 0:
                        integers32(at)[unit // 2] = rounded(own_h[i], other)
            for i in range(each * gates):
                x[i] = x_next[i]
            if more:
                arrive(meeting)
            if flags & HAS_Y:
                for i in range(each):
                    row = thread() // UNITS + i * (THREADS // UNITS)
                    if row < rows and unit < hidden:
                        valid = valid_row(lengths, row, t, flags)
                        floats(y)[t * y_frame + row * y_row + unit] = own_h[i] if valid else ZERO
            if more:
                ticket = wait(meeting, ticket)
        end(meeting, ticket, frames > 1)
        for i in range(each):
            row = thread() // UNITS + i * (THREADS // UNITS)
            if row < rows and unit < hidden:
                floats(h)[row * hidden + unit] = own_h[i]
                if has_c:
                    floats(c)[row * hidden + unit] = own_c[i]

    return Kernel(sequence, THREADS)


def sequence(variant: Variant, layer: RecurrentOperands, facts: Facts) -> list[Launch] | None:
    """The launches of a layer on tensor cores, or None if it has none: of a cluster, or of the grid, of up to
    ``MOST_ROWS`` rows each.

    TF32 has none: its weights take twice the registers.
    """
    plain = not (variant.general or variant.constants or variant.cell.reset is not None)
    if facts.precision not in NARROW or not plain or layer.rounds or layer.flags & PROJECTED:
        return None
    if layer.frames == 0:
        return []
    if recurrent_cluster.cluster_for(layer.hidden, facts):
        return recurrent_cluster.sequence(variant, layer, facts)
    blocks = -(-layer.hidden // UNITS)
    most = MOST_HIDDEN if facts.capability >= NEWER else MOST_HIDDEN_BEFORE
    if layer.hidden % 8 or layer.hidden > most or blocks > facts.multiprocessors:
        return None
    return [_rows(variant, layer, facts, first) for first in range(0, layer.rows, MOST_ROWS)]


def _rows(variant: Variant, layer: RecurrentOperands, facts: Facts, first: int) -> Launch:
    """The launch of some rows, from the first one on."""
    rows, gates = min(MOST_ROWS, layer.rows - first), len(variant.cell.gates)
    tiles = next(tiles for tiles in (1, 2, 4, 8) if rows <= tiles * TILE_ROWS)
    kernel = sequence_of(variant, facts.precision, -(-layer.hidden // (GROUP * WARPS)), tiles)
    skip = first * layer.hidden * BYTES
    state = layer.h + skip, layer.c + skip
    arguments = (
        *(layer.xw + gates * skip, layer.r, layer.bias, *state, *state),
        *(layer.y + first * layer.y_row * BYTES, layer.lengths + 8 * first, layer.frames, rows, layer.rows),
        *(layer.hidden, layer.reverse, layer.y_frame, layer.y_row, layer.flags, facts.meeting),
    )
    size = WARPS * _lines(gates) * (tiles * TILE_ROWS + SPARE) * BYTES
    return Launch(kernel, -(-layer.hidden // UNITS), THREADS, arguments, size, together=True)
