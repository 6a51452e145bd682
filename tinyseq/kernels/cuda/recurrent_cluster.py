"""Recurrent layers on tensor cores whose state goes round a cluster: the rounded weights of up to 256 units
stay in registers, the rounded state of eight rows in the shared memory of each block.

A warp makes ``UNITS`` units: a line of its products is one gate of one of them, so that with one exchange
between its lanes each has all gates of a unit of a row. It makes that cell and publishes it to all blocks
of the cluster. The state itself and what is done with it by element stay float32. A row's bits depend on
nothing but its layer and its own numbers.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from numba import types
from numpy import int32, int64, uint32

from tinyseq.kernels.cells import Variant
from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.compute.rows import taking, valid_row
from tinyseq.kernels.cuda.cells import computing
from tinyseq.kernels.cuda.clusters import (
    CLUSTERS_SINCE,
    cluster_arrive,
    cluster_rank,
    cluster_wait,
    neighbour,
)
from tinyseq.kernels.cuda.cores import CORES
from tinyseq.kernels.cuda.intrinsics import (
    WARP,
    again,
    barrier,
    block,
    registers,
    settled,
    shared,
    shuffle_xor,
    thread,
)
from tinyseq.kernels.cuda.launch import Facts, Kernel, Launch
from tinyseq.kernels.cuda.multiplying import repeated
from tinyseq.kernels.cuda.persistent import _fetching, _place
from tinyseq.kernels.cuda.tiles import BYTES, column_of
from tinyseq.kernels.instructions import HAS_Y
from tinyseq.kernels.llvm.intrinsics import floats

if TYPE_CHECKING:
    from tinyseq.kernels.cuda.recurrent import RecurrentOperands

UNITS = 4
"""Units of a warp, each with up to four gates."""

WARPS = 8
THREADS = WARPS * WARP

ROWS = 8
"""Rows of a cluster."""

DEPTH = 16
"""Steps of k of a product on tensor cores."""

CLUSTERS = (1, 2, 4, 8)

QUAD = 4
"""Rounded numbers in an element of the shared state."""

SPARE = 4
"""Elements by which a row's place in the shared state moves on to other banks."""


def _weights(gates: int, depth: int, rounded):
    """``load(r, hidden, first_unit, weights)``: a lane's operands; see PTX's mma.m16n8k16.

    Line 4 * gate + unit of a warp's sixteen is a unit's gate. A lane has four steps of k in a row of each
    sixteen, as in the state.
    """

    def sixteen(number, column, stride, there, hidden, lower, lane, weights):
        for half in range(2):
            k = uint32(number * DEPTH + lane % 4 * QUAD + half * 2)
            a = column[int64(k * stride)] if there and k < hidden else ZERO
            b = column[int64((k + uint32(1)) * stride)] if there and k + uint32(1) < hidden else ZERO
            weights[4 * number + 2 * half + lower] = settled(rounded(a, b))

    sixteens = repeated(sixteen, depth)

    def lines(lower, r, hidden, first_unit, weights):
        lane = thread() % WARP
        line = lower * 8 + lane // 4
        gate, unit = line // UNITS, first_unit + line % UNITS
        there = gate < gates and unit < hidden
        base, stride = column_of(r, hidden, gates * hidden, gate * hidden + unit if there else 0)
        sixteens(0, floats(base), uint32(again(stride)), there, uint32(again(hidden)), lower, lane, weights)
        # Without it the compiler has all addresses in registers at once.
        barrier()

    both = repeated(lines, 2)

    def load(r, hidden, first_unit, weights):
        both(0, r, hidden, first_unit, weights)

    return load


@cache
def sequence_of(variant: Variant, precision: str, cluster: int) -> Kernel:
    """The kernel of a layer whose units fit ``cluster`` blocks."""
    cell, gates = variant.cell, len(variant.cell.gates)
    apart, has_c = cell.apart, cell.has_c
    compute, cores = computing(variant, cell.formula), CORES[precision]
    rounded, core = cores.rounded, cores.multiply
    take, take_s, fetch = taking(gates), taking(gates * apart), _fetching(gates)
    depth = cluster * WARPS * UNITS // DEPTH
    load = _weights(gates, depth, rounded)
    pitch = -(-depth * DEPTH // QUAD // 16) * 16 + SPARE
    operands, accumulators = registers(types.int32, depth * 4), registers(types.float32, 8)
    inputs, next_inputs, biases = (registers(types.float32, gates) for _ in range(3))
    products, sums = registers(types.float32, 4), registers(types.float32, gates)
    states = shared(types.int64, 2 * ROWS * pitch)

    def quad(a, b, c, d):
        lower, upper = uint32(rounded(a, b)), uint32(rounded(c, d))
        return int64(int64(upper) << 32 | int64(lower))

    def number(h, there, row, k, hidden):
        return floats(h)[row * hidden + k] if there and k < hidden and h != 0 else ZERO

    def fill(state, h, first_row, rows, hidden):
        """The first buffer holds the rows of h."""
        for i in range(thread(), ROWS * pitch, THREADS):
            row, k = first_row + i // pitch, i % pitch * QUAD
            there = row < rows
            state[i] = quad(
                number(h, there, row, k, hidden), number(h, there, row, k + 1, hidden),
                number(h, there, row, k + 2, hidden), number(h, there, row, k + 3, hidden),
            )  # fmt: skip
            state[ROWS * pitch + i] = 0

    def multiply(state, start, lane, weights, product):
        """The four gates of this lane's unit of its row."""
        total = accumulators()
        for i in range(8):
            total[i] = ZERO
        for place in range(depth):
            four = state[start + lane // 4 * pitch + place * QUAD + lane % 4]
            first, w = place % 2 * 4, place * 4
            a, b, c, d = core(
                weights[w], weights[w + 1], weights[w + 2], weights[w + 3],
                int32(four), int32(four >> 32),
                total[first], total[first + 1], total[first + 2], total[first + 3],
            )  # fmt: skip
            total[first], total[first + 1], total[first + 2], total[first + 3] = a, b, c, d
        upper = lane >= WARP // 2
        for half in range(2):
            own, other = total[2 * half] + total[4 + 2 * half], total[2 * half + 1] + total[5 + 2 * half]
            got = shuffle_xor(own if upper else other, WARP // 2)
            product[2 * half], product[2 * half + 1] = (got, other) if upper else (own, got)

    def publish(state, there, lane, unit, h):
        """The state of four units of a row, by each lane that has one of them, to some blocks."""
        beside = shuffle_xor(h, 4)
        odd = lane & 4 != 0
        pair = int64(uint32(rounded(beside if odd else h, h if odd else beside)))
        third, fourth = shuffle_xor(h, 8), shuffle_xor(beside, 8)
        other = int64(uint32(rounded(fourth if odd else third, third if odd else fourth)))
        four = int64(other << 32 | pair) if lane & 8 == 0 else int64(pair << 32 | other)
        row = lane % 4 * 2 + lane // 16
        place = there + row * pitch + unit // QUAD
        for i in range((cluster + 3) // 4):
            member = i * 4 + lane // 4 % 4
            if member < cluster:
                neighbour(state, member)[place] = four

    def sequence(
        xw, r, bias, h0, c0, h, c, y, lengths, frames, rows, hidden, reverse, y_frame, y_row, flags
    ):  # fmt: skip
        """The state begins with h0 and c0, or zeros where these are 0, and ends in h and c."""
        state, weights, x, x_next = states(), operands(), inputs(), next_inputs()
        product, s, b = products(), sums(), biases()
        lane, width, first_row = thread() % WARP, gates * hidden, block() // cluster * ROWS
        first_unit = (cluster_rank() * WARPS + thread() // WARP) * UNITS
        unit, row = first_unit + lane // 4 % 4, first_row + lane % 4 * 2 + lane // 16
        mine = row < rows and unit < hidden
        fill(state, h0, first_row, rows, hidden)
        load(r, hidden, first_unit, weights)
        own_h = number(h0, mine, row, unit, hidden)
        own_c = number(c0, has_c and mine, row, unit, hidden)
        fetch(xw + (_place(0, frames, reverse) * rows + row) * width * BYTES, hidden, unit, mine, x)
        if apart:
            fetch(bias, hidden, unit, mine, b)
        barrier()
        cluster_arrive()
        cluster_wait()
        here, there = 0, ROWS * pitch
        for step in range(frames):
            t, more = _place(step, frames, reverse), step + 1 < frames
            gates_row = xw + (_place(step + 1, frames, reverse) * rows + row) * width * BYTES
            fetch(gates_row, hidden, unit, more and mine, x_next)
            valid = mine and valid_row(lengths, row, t, flags)
            multiply(state, here, lane, weights, product)
            for g in range(gates):
                if apart:
                    s[g] = product[g] + b[g]
                else:
                    x[g] += product[g]
            new_h, new_c = compute(take(x, 1, 0), take_s(s, 1, 0), own_h, own_c, (), 0)
            own_h, own_c = (new_h, new_c) if valid else (own_h, own_c)
            if more:
                publish(state, there, lane, unit, own_h)
                cluster_arrive()
            if flags & HAS_Y and mine:
                floats(y)[t * y_frame + row * y_row + unit] = own_h if valid else ZERO
            for g in range(gates):
                x[g] = x_next[g]
            if more:
                cluster_wait()
            here, there = there, here
        if mine:
            floats(h)[row * hidden + unit] = own_h
            if has_c:
                floats(c)[row * hidden + unit] = own_c

    return Kernel(sequence, THREADS)


def cluster_for(hidden: int, facts: Facts) -> int:
    """How many blocks share a layer; 0 if it does not fit a cluster of the device."""
    fitting = [size for size in CLUSTERS if hidden <= size * WARPS * UNITS]
    return fitting[0] if fitting and facts.capability >= CLUSTERS_SINCE else 0


def sequence(variant: Variant, layer: RecurrentOperands, facts: Facts) -> list[Launch]:
    """The one launch of a layer for which there is a cluster."""
    cluster = cluster_for(layer.hidden, facts)
    kernel = sequence_of(variant, facts.precision, cluster)
    arguments = (
        *(layer.xw, layer.r, layer.bias, layer.h, layer.c, layer.h, layer.c, layer.y, layer.lengths),
        *(layer.frames, layer.rows, layer.hidden, layer.reverse, layer.y_frame, layer.y_row, layer.flags),
    )
    blocks = -(-layer.rows // ROWS) * cluster
    return [Launch(kernel, blocks, THREADS, arguments, cluster=cluster)] if blocks else []
