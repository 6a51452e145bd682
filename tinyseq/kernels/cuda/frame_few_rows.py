"""A frame of few rows in one launch, which may have the product with the input, too.

The weights pass by once, see ``passing.py``. Some threads share k of the state's product in the order of
``sums.py``. The input's is summed as ``linear`` does it, in ascending order, by a warp for each row.

Of large layers a block has the columns of one gate or two, which lie side by side in memory; the blocks of a
cluster have those of the same units.
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
from tinyseq.kernels.cuda.committing import (
    NO_COMMIT,
    Commit,
    begin_together,
    commit_together,
    committing,
    most_together,
)
from tinyseq.kernels.cuda.forms import NEWEST
from tinyseq.kernels.cuda.intrinsics import (
    WARP,
    barrier,
    block,
    copies,
    four,
    registers,
    shared,
    shuffle_xor,
    thread,
)
from tinyseq.kernels.cuda.launch import RUNNING, Facts, Kernel, Launch
from tinyseq.kernels.cuda.passing import (
    BRINGERS,
    STEPS,
    arriving,
    bringing,
    chained,
    rows_from,
    stage_floats,
    stages_of,
    stages_on,
)
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
    cluster, has some gates of them, and they tell each other what they have summed, so that each ends as many
    units. So many ``stages`` are on their way at the most, as more memory takes longer to be had."""

    units: int
    members: int = 1
    stages: int = 2

    @property
    def ended(self) -> int:
        return self.units // self.members

    @property
    def gates(self) -> int:
        """Gates of each member."""
        return COLUMNS // self.units


FEWER_ROWS = 16
"""Rows up to which a block has half as many as of more."""

BY_GATE = Split(COLUMNS, 4)
"""Blocks that read their weights by whole lines of memory."""

BY_PAIR = Split(COLUMNS // 2, 2, 4)
"""Blocks that read them by halves of lines. Any two multiprocessors of a device can be such a cluster."""

BY_GATE_FROM, BY_PAIR_FROM = 512, 1024
"""Units from which on reading takes longer than telling each other, and from which on there are more clusters
of four than find room at once."""


def split_of(stage: Stage, units: int, rows: int, fed: bool, facts: Facts) -> Split:
    """How the weights of a frame are shared out."""
    whole = fed and stage.gates == stage.known and 2 < stage.gates <= BY_GATE.members
    fits = facts.capability >= CLUSTERS_SINCE and (rows == 1 or facts.capability < NEWEST)
    if whole and units >= BY_GATE_FROM and fits:
        return BY_PAIR if units >= BY_PAIR_FROM else BY_GATE
    return Split(units_of(stage, fed))


class _Room(NamedTuple):
    """Where things lie in a block's shared memory, in elements: behind what warps have summed there is what
    the input has come to, what blocks tell each other, and then the stages of the state's weights and of the
    input's."""

    inputs: int
    told: int
    total: int


def _room(warps: int, rows_each: int, fed: bool, split: Split) -> _Room:
    inputs = rows_each * warps * COLUMNS
    told = inputs + rows_each * COLUMNS * fed
    return _Room(inputs, told, told + 2 * rows_each * COLUMNS * (split.members > 1))


_here = shared(types.float32, 0)

LAST, TOGETHER = "last", "together"


def _state_side(parts: int, rows_each: int):
    """``multiply(me, part, k, here, start, total)`` sums up a stage of weights and state, of a short sum over
    k the only one; ``fold`` adds up what the threads of a warp have and leaves it for all."""
    weights, states = registers(types.float32, 4), registers(types.float32, RUN * rows_each)

    def multiply_runs(me, part, k, here, start, total):
        """A run for each thread."""
        w, h = weights(), states()
        for n in range(rows_each):
            own = RUN * n
            h[own], h[own + 1], h[own + 2], h[own + 3] = four(
                here, start + STEPS * (COLUMNS + n) + part * RUN
            )
        for i in range(RUN):
            w[0], w[1], w[2], w[3] = four(here, start + (part * RUN + i) * COLUMNS + me % QUADS * 4)
            for n in range(rows_each):
                for c in range(4):
                    total[n * 4 + c] = fma(h[RUN * n + i], w[c], total[n * 4 + c])

    def multiply_all(me, part, k, here, start, total):
        """All of a short sum."""
        w = weights()
        for first in range(0, k, BATCH * parts):
            for i in range(BATCH):
                step = first + i * parts + part
                w[0], w[1], w[2], w[3] = four(here, start + step * COLUMNS + me % QUADS * 4)
                for n in range(rows_each):
                    h = here[start + STEPS * (COLUMNS + n) + step]
                    for c in range(4):
                        total[n * 4 + c] = fma(h, w[c], total[n * 4 + c])

    def fold(me, total, here):
        warps = parts // 4
        for i in range(rows_each * 4):
            value = total[i] + shuffle_xor(total[i], 2 * QUADS)
            total[i] = value + shuffle_xor(value, QUADS)
        if me % WARP < QUADS:
            for n in range(rows_each):
                for c in range(4):
                    here[(n * warps + me // WARP) * COLUMNS + me % WARP * 4 + c] = total[n * 4 + c]

    return multiply_runs if parts * RUN == STEPS else multiply_all, fold


def _telling(gates: int, rows_each: int, split: Split, room: _Room, folded: Callable):
    """``tell(me, count, here, rank)``: all members have what the sums of their units have come to;
    ``input_of`` and ``total_of`` find them, see ``stages.finishing``."""
    inputs, told, ended, units, own = room.inputs, room.told, split.ended, split.units, split.gates

    def place_of(n, g, unit):
        return told + (n * gates + g) * 2 * ended + unit

    def tell(me, count, here, rank):
        cluster_wait()
        for i in range(me, rows_each * COLUMNS, count):
            n, column = i // COLUMNS, i % COLUMNS
            gate, unit = rank * own + column // units, column % units
            if gate < gates:
                there, place = neighbour(here, unit // ended), place_of(n, gate, unit % ended)
                there[place] = here[inputs + n * COLUMNS + column]
                there[place + ended] = folded(here, 0, n, column)
        cluster_arrive()
        cluster_wait()

    def input_of(here, n, g, unit):
        return here[place_of(n, g, unit)]

    def total_of(here, n, g, unit):
        return here[place_of(n, g, unit) + ended]

    return tell, input_of, total_of


def _finding(split: Split, room: _Room, folded: Callable):
    """``input_of`` and ``total_of`` of a block by itself."""
    inputs, units = room.inputs, split.units

    def input_of(here, n, g, unit):
        return here[inputs + n * COLUMNS + g * units + unit]

    def total_of(here, n, g, unit):
        return folded(here, 0, n, g * units + unit)

    return _tell_nobody, input_of, total_of


def _tell_nobody(me, count, here, rank):
    return


@cache
def few_rows_of(
    stage: Stage,
    parts: int,
    rows_each: int,
    wide: bool,
    fed: bool,
    split: Split,
    commits: str,
    stages: int,
) -> Kernel:
    """The kernel whose blocks take ``rows_each`` rows; ``wide`` says that columns begin at multiples of four,
    ``fed`` that it has the product of the input, too, ``commits`` how the state comes to where it is kept:
    by the ``LAST`` block, by all of a cluster ``TOGETHER``, or by others. There are so many ``stages``."""
    as_cluster, by_last = commits == TOGETHER, commits == LAST
    known, gates, warps, together = stage.known, stage.gates, parts // 4, split.members > 1
    own_gates = split.gates if together else 0
    units_each, ended, members = split.units, split.ended, split.members
    workers, room, stage_room = parts * QUADS, _room(warps, rows_each, fed, split), stage_floats(rows_each)
    find, _ = quads_of(gates, units_each, wide)
    find_w, _ = quads_of(known, units_each, wide)
    bring, arrived = bringing(rows_each, wide), arriving(stages)
    multiply, fold = _state_side(parts, rows_each)
    folded = folded_of(warps, COLUMNS, warps * COLUMNS, 1)
    tell, input_of, total_of = (
        _telling(gates, rows_each, split, room, folded) if together else _finding(split, room, folded)
    )
    end = finishing(stage, input_of if fed else None, total_of)
    inputs_at, stages_at = room.inputs, room.total
    accumulators = registers(types.float32, 4 * rows_each)
    places, addresses = registers(types.uint32, 8), registers(types.int64, rows_each)
    size, last_slot = BRINGERS + WARP * rows_each * fed, stages_at + (stages - 1) * stage_room
    commit = committing(size)

    def begin(source, source_stride, k, first_row, rows, units, rank, unit, product, feed, me, found):
        """Where a thread brings from: the places of its columns, and where rows begin."""
        at, lines, at_w, lines_x = found
        find(k, product.columns, units, rank * own_gates, unit, me % QUADS, at)
        rows_from(source, source_stride if source != 0 else int64(0), first_row, rows, rows_each, lines)
        if fed:
            find_w(feed.k, known * units, units, rank * own_gates, unit, me % QUADS, at_w)
            rows_from(feed.x, feed.stride, first_row, rows, rows_each, lines_x)

    def ask(number, slot, me, k, product, feed, found, here, held, there):
        """Has a stage copied, of the state's weights and of the input's."""
        at, lines, at_w, lines_x = found
        if me < BRINGERS and there:
            if number * STEPS < k:
                bring(number, me, product.r, at, lines, k, here, slot)
            if fed and number * STEPS < feed.k:
                bring(number, me, feed.w, at_w, lines_x, feed.k, here, slot + held * stage_room)
        copies()

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
        count,
        given: Commit,
    ):
        me, here, rank = thread(), _here(), int64(0)
        if together:
            rank = cluster_rank()
            cluster_begun()
        elif as_cluster:
            begin_together(me)
        team, first_row = uint32(block()) // uint32(members), int64(0)
        if rows > rows_each:
            across = uint32((units + units_each - 1) // units_each)
            first_row, team = int64(team // across) * rows_each, team % across
        unit, there = int64(team) * units_each, rank * own_gates < gates
        total, found = accumulators(), (places(), addresses(), places(), addresses())
        held = count if count < stages else int64(stages)
        begin(source, source_stride, k, first_row, rows, units, rank, unit, product, feed, me, found)
        going = integers(status)[0] == RUNNING
        n, j = me // ended, unit + rank * ended + me % ended
        own_c = own_h = ZERO
        mine = n < rows_each and first_row + n < rows and j < units
        if mine:
            own_c, own_h = state_before(first_row + n, j, units, frame)
        chain, sums_up = ZERO, fed and me >= BRINGERS and there
        column, own_row = me % WARP, me // WARP - BRINGERS // WARP
        if sums_up:
            gate = min(rank * own_gates + column // units_each, known - 1)
            chain = floats(feed.bias)[gate * units + min(unit + column % units_each, units - 1)]
        part = me // QUADS % 4 * warps + me // WARP
        for i in range(4 * rows_each):
            total[i] = ZERO
        slot, next_slot = stages_at - (stages - 1) * stage_room, stages_at
        for number in range(1 - stages, count if there else 0):
            if number >= 0:
                arrived()
                barrier()
            ask(number + stages - 1, next_slot, me, k, product, feed, found, here, held, there)
            if number >= 0:
                if me < workers:
                    if number * STEPS < k:
                        multiply(me, part, k, here, slot, total)
                elif sums_up:
                    left = feed.k - number * STEPS
                    chain = chained(chain, column, own_row, here, slot + held * stage_room, left)
            slot = slot + stage_room if slot < last_slot else int64(stages_at)
            next_slot = next_slot + stage_room if next_slot < last_slot else int64(stages_at)
        if me < workers and there:
            fold(me, total, here)
        elif sums_up:
            here[inputs_at + own_row * COLUMNS + column] = chain
        barrier()
        tell(me, size, here, rank)
        if going and mine:
            end(n, first_row + n, me % ended, j, own_c, own_h, units, product, frame, here)
        if as_cluster:
            commit_together(status, given, me, (first_row + n) * units + j, mine, going)
        elif by_last and going:
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
    facts: Facts,
    given: Commit | None = None,
) -> Launch:
    """The launch of a frame; see ``steps.step``."""
    wide, order, fed = units % 4 == 0, order_of(k), feed is not None
    split = split_of(stage, units, rows, fed, facts)
    # Columns that lie apart have addresses of their own, for which registers are needed.
    each = 1 if rows == 1 else 2 if not wide else 4 if rows <= FEWER_ROWS or split.members > 1 else 8
    needed = -(-units // split.units) * -(-rows // each) * split.members
    commits = _committed(given, needed, rows * units, split, facts)
    stages = min(split.stages, stages_on(facts.capability))
    kernel = few_rows_of(stage, order.parts, each, wide, fed, split, commits, stages)
    count = stages_of(max(k, feed.k if feed else 0))
    arguments = (*source, k, rows, units, *product, *frame, *(feed or NOTHING), count, *(given or NO_COMMIT))
    room = _room(order.parts // 4, each, fed, split).total
    room += min(stages, count) * (1 + fed) * stage_floats(each)
    cluster = needed if commits == TOGETHER else split.members
    return Launch(kernel, needed, kernel.threads, arguments, room * BYTES, cluster)


def _committed(given: Commit | None, blocks: int, count: int, split: Split, facts: Facts) -> str:
    """How so many blocks, which compute ``count`` numbers of each state, bring it to where it is kept."""
    if given is None:
        return ""
    whole = given.first_count == count and given.second_count in (0, count)
    return TOGETHER if whole and split.members == 1 and blocks <= most_together(facts) else LAST
