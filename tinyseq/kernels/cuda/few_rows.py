"""A frame of few rows in one launch, which may have the product with the input, too.

The weights pass by once, from wherever they are. Some threads share k in the order of ``sums.py``. The
input's product is summed as ``linear`` does it, in ascending order: other threads bring the weights into
shared memory, ``CHUNK`` steps of k at a time, where one warp has a column a thread.

Of large layers a block has the columns of one gate, which lie side by side in memory; the blocks of a cluster
have those of the same units.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from numba import types
from numpy import int64, uint32

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.cuda.clusters import (
    CLUSTERS_SINCE,
    cluster_arrive,
    cluster_begun,
    cluster_rank,
    cluster_wait,
    neighbour,
)
from tinyseq.kernels.cuda.committing import NO_COMMIT, Commit, committing
from tinyseq.kernels.cuda.feeding import CHUNK, FEEDERS, summing
from tinyseq.kernels.cuda.forms import NEWEST
from tinyseq.kernels.cuda.intrinsics import (
    WARP,
    barrier,
    block,
    read4,
    registers,
    shared,
    shuffle_xor,
    thread,
)
from tinyseq.kernels.cuda.launch import RUNNING, Facts, Kernel, Launch
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.stages import (
    COLUMNS,
    NOTHING,
    QUADS,
    Feed,
    Frame,
    Product,
    Stage,
    finishing,
    folded_of,
    quads_of,
    state_before,
    units_of,
)
from tinyseq.kernels.cuda.sums import BATCH, RUN, order_of
from tinyseq.kernels.llvm.intrinsics import floats, fma, integers


class Split(NamedTuple):
    """How weights are shared out: a block has ``units``, of all gates; or each of ``members`` blocks, a
    cluster, has a gate of them, and they tell each other what they have summed, so that each ends as many
    units."""

    units: int
    members: int = 1

    @property
    def ended(self) -> int:
        return self.units // self.members


BY_GATE = Split(COLUMNS, 4)
"""Blocks that read their weights by whole lines of memory."""

BY_GATE_FROM = 512
"""Units from which on reading takes longer than telling each other."""


def split_of(stage: Stage, units: int, rows: int, fed: bool, facts: Facts) -> Split:
    """How the weights of a frame are shared out."""
    whole = fed and stage.gates == stage.known and 2 < stage.gates <= BY_GATE.members
    fits = facts.capability >= CLUSTERS_SINCE and (rows == 1 or facts.capability < NEWEST)
    if whole and units >= BY_GATE_FROM and fits:
        return BY_GATE
    return Split(units_of(stage, fed))


class _Room(NamedTuple):
    """Where things lie in a block's shared memory, in elements: weights and numbers of the input, what warps
    have summed, what the input has come to, what blocks tell each other."""

    xs: int
    parts: int
    inputs: int
    told: int
    total: int


def _room(warps: int, rows_each: int, fed: bool, split: Split) -> _Room:
    xs = 2 * CHUNK * COLUMNS * fed
    parts = xs + 2 * CHUNK * rows_each * fed
    inputs = parts + rows_each * warps * COLUMNS
    told = inputs + rows_each * COLUMNS * fed
    return _Room(xs, parts, inputs, told, told + 2 * rows_each * COLUMNS * (split.members > 1))


_here = shared(types.float32, 0)


def _state_side(gates: int, units_each: int, parts: int, run: int, rows_each: int, wide: bool):
    """``fetch(number, ...)`` brings a batch of weights and state into registers, ``multiply`` sums it up and
    ``fold`` adds up what the threads of a warp have and leaves it for all."""
    _, load = quads_of(gates, units_each, wide)

    def fetch(number, part, r, source, stride, first_row, rows, k, at, w, h):
        for i in range(BATCH):
            place = number * BATCH + i
            step = place // run * run * parts + part * run + place % run
            load(r, at, step, step < k, 4 * i, w)
        for n in range(rows_each):
            row = source + min(first_row + n, rows - 1) * stride * BYTES
            for i in range(0, BATCH, run):
                step = (number * BATCH + i) * parts + part * run
                if run == RUN and wide:
                    there = step < k and source != 0
                    a, b, c, d = read4(row + step * BYTES) if there else (ZERO, ZERO, ZERO, ZERO)
                    own = n * BATCH + i
                    h[own], h[own + 1], h[own + 2], h[own + 3] = a, b, c, d
                else:
                    for j in range(run):
                        there = step + j < k and source != 0
                        h[n * BATCH + i + j] = floats(row)[step + j] if there else ZERO

    def multiply(w, h, total):
        for i in range(BATCH):
            for n in range(rows_each):
                for c in range(4):
                    total[n * 4 + c] = fma(h[n * BATCH + i], w[4 * i + c], total[n * 4 + c])

    def fold(me, start, total, here):
        warps = parts // 4
        for i in range(rows_each * 4):
            value = total[i] + shuffle_xor(total[i], 2 * QUADS)
            total[i] = value + shuffle_xor(value, QUADS)
        if me % WARP < QUADS:
            for n in range(rows_each):
                for c in range(4):
                    here[start + (n * warps + me // WARP) * COLUMNS + me % WARP * 4 + c] = total[n * 4 + c]

    return fetch, multiply, fold


def _telling(gates: int, rows_each: int, split: Split, room: _Room, folded: Callable):
    """``tell(me, count, here, rank)``: all members have what the sums of their units have come to;
    ``input_of`` and ``total_of`` find them, see ``stages.finishing``."""
    inputs, parts, told, ended = room.inputs, room.parts, room.told, split.ended

    def place_of(n, g, unit):
        return told + (n * gates + g) * 2 * ended + unit

    def tell(me, count, here, rank):
        cluster_wait()
        if rank < gates:
            for i in range(me, rows_each * COLUMNS, count):
                n, column = i // COLUMNS, i % COLUMNS
                there, place = neighbour(here, column // ended), place_of(n, rank, column % ended)
                there[place] = here[inputs + n * COLUMNS + column]
                there[place + ended] = folded(here, parts, n, column)
        cluster_arrive()
        cluster_wait()

    def input_of(here, n, g, unit):
        return here[place_of(n, g, unit)]

    def total_of(here, n, g, unit):
        return here[place_of(n, g, unit) + ended]

    return tell, input_of, total_of


def _finding(split: Split, room: _Room, folded: Callable):
    """``input_of`` and ``total_of`` of a block by itself."""
    inputs, parts, units = room.inputs, room.parts, split.units

    def input_of(here, n, g, unit):
        return here[inputs + n * COLUMNS + g * units + unit]

    def total_of(here, n, g, unit):
        return folded(here, parts, n, g * units + unit)

    return _tell_nobody, input_of, total_of


def _tell_nobody(me, count, here, rank):
    return


@cache
def few_rows_of(
    stage: Stage, parts: int, rows_each: int, wide: bool, fed: bool, split: Split, commits: bool
) -> Kernel:
    """The kernel whose blocks take ``rows_each`` rows; ``wide`` says that all starts at multiples of four,
    ``fed`` that it has the product of the input, too, ``commits`` that the state is where it is kept after
    it."""
    known, gates, warps, together = stage.known, stage.gates, parts // 4, split.members > 1
    own_gates, own_known = (1, 1) if together else (gates, known)
    units_each, ended, members, run = split.units, split.ended, split.members, 1 if parts == 4 else RUN
    workers, room = parts * QUADS, _room(warps, rows_each, fed, split)
    find, _ = quads_of(own_gates, units_each, wide)
    find_w, _ = quads_of(own_known, units_each, wide)
    fetch, multiply, fold = _state_side(own_gates, units_each, parts, run, rows_each, wide)
    summed = summing(own_known, units_each, rows_each, wide)
    folded = folded_of(warps, COLUMNS, warps * COLUMNS, 1)
    tell, input_of, total_of = (
        _telling(gates, rows_each, split, room, folded) if together else _finding(split, room, folded)
    )
    end = finishing(stage, input_of if fed else None, total_of)
    xs, parts_at, inputs_at = room.xs, room.parts, room.inputs
    accumulators = registers(types.float32, 4 * rows_each)
    weights = registers(types.float32, 4 * max(BATCH, CHUNK * QUADS // FEEDERS))
    values = registers(types.float32, max(BATCH, CHUNK // FEEDERS) * rows_each)
    places = registers(types.uint32, 8)

    size = workers + FEEDERS * fed
    commit = committing(size)

    def step(
        status,
        source,
        source_stride,
        k,
        rows,
        units,
        product: Product,
        frame: Frame,
        feed: Feed,
        given: Commit,
    ):
        me, here, rank = thread(), _here(), int64(0)
        if together:
            rank = cluster_rank()
            cluster_begun()
        across, team = uint32((units + units_each - 1) // units_each), uint32(block()) // uint32(members)
        first_row, unit = int64(team // across) * rows_each, int64(team % across) * units_each
        total, w, h, at = accumulators(), weights(), values(), places()
        going = integers(status)[0] == RUNNING
        n, j = me // ended, unit + rank * ended + me % ended
        own_c = own_h = ZERO
        if n < rows_each and first_row + n < rows and j < units:
            own_c, own_h = state_before(first_row + n, j, units, frame)
        there = rank < gates
        if me < workers and there:
            part = me // QUADS % 4 * warps + me // WARP
            batches = (k + BATCH * parts - 1) // (BATCH * parts)
            for i in range(4 * rows_each):
                total[i] = ZERO
            find(k, product.columns, units, rank, unit, me % QUADS, at)
            fetch(0, part, product.r, source, source_stride, first_row, rows, k, at, w, h)
            for batch in range(batches):
                multiply(w, h, total)
                fetch(batch + 1, part, product.r, source, source_stride, first_row, rows, k, at, w, h)
            fold(me, parts_at, total, here)
        elif fed and there:
            side = me - workers
            column, own = side % WARP, side // WARP
            gate = rank + min(column // units_each, own_known - 1)
            chained = floats(feed.bias)[gate * units + min(unit + column % units_each, units - 1)]
            find_w(feed.k, known * units, units, rank, unit, side % QUADS, at)
            chained = summed(chained, side, feed, first_row, rows, at, w, h, here, xs)
            if own < rows_each:
                here[inputs_at + own * COLUMNS + column] = chained
        barrier()
        tell(me, size, here, rank)
        if going:
            for i in range(me, rows_each * ended, size):
                n, u = i // ended, i % ended
                j = unit + rank * ended + u
                if first_row + n < rows and j < units:
                    if i >= size:
                        own_c, own_h = state_before(first_row + n, j, units, frame)
                    end(n, first_row + n, u, j, own_c, own_h, units, product, frame, here)
            if commits:
                commit(status, given)

    return Kernel(step, size, asks=True)


def few_rows(
    stage: Stage,
    source: tuple[int, int],
    k: int,
    rows: int,
    units: int,
    frame: Frame,
    product: Product,
    feed: Feed | None,
    wide: bool,
    facts: Facts,
    given: Commit | None = None,
) -> Launch:
    """The launch of a frame; see ``steps.step``."""
    # Columns that lie apart have addresses of their own, for which registers are needed.
    each = 1 if rows == 1 else 4 if wide else 2
    order, fed = order_of(k), feed is not None
    split = split_of(stage, units, rows, fed, facts)
    needed = -(-units // split.units) * -(-rows // each) * split.members
    commits = given is not None
    kernel = few_rows_of(stage, order.parts, each, wide, fed, split, commits)
    arguments = (*source, k, rows, units, *product, *frame, *(feed or NOTHING), *(given or NO_COMMIT))
    room = _room(order.parts // 4, each, fed, split).total
    return Launch(kernel, needed, kernel.threads, arguments, room * BYTES, split.members)
