"""A frame of few rows in one launch, which may have the product with the input, too.

The weights pass by once, from wherever they are. Some threads share k in the order of ``sums.py``. The
input's product is summed as ``linear`` does it, in ascending order: other threads bring the weights into
shared memory, ``CHUNK`` steps of k at a time, where one warp has a column a thread.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from numba import types
from numpy import int64, uint32

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.cuda.intrinsics import (
    WARP,
    barrier,
    barrier_of,
    block,
    four,
    load4,
    registers,
    shared,
    shuffle_xor,
    thread,
)
from tinyseq.kernels.cuda.launch import RUNNING, Kernel, Launch
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

FEEDERS = 256
"""Threads that bring in the weights of the input."""

CHUNK = 256
"""Steps of the input's k in shared memory at a time."""

LINKS = 32
"""Terms of a column's sum that a thread reads ahead."""


class _Room(NamedTuple):
    """Where things lie in a block's shared memory, in elements."""

    xs: int
    parts: int
    inputs: int
    total: int


def _room(warps: int, rows_each: int, fed: bool) -> _Room:
    xs = 2 * CHUNK * COLUMNS * fed
    parts = xs + 2 * CHUNK * rows_each * fed
    inputs = parts + rows_each * warps * COLUMNS
    return _Room(xs, parts, inputs, inputs + rows_each * COLUMNS * fed)


_here = shared(types.float32, 0)


def _state_side(gates: int, units_each: int, parts: int, run: int, rows_each: int, wide: bool):
    """``fetch(number, ...)`` brings a batch of weights and state into registers, ``multiply`` sums it up and
    ``fold`` adds up what the threads of a warp have and leaves it for all."""
    _, load = quads_of(gates, units_each, wide)

    def fetch(number, part, source, stride, first_row, rows, k, at, w, h):
        for i in range(BATCH):
            place = number * BATCH + i
            step = place // run * run * parts + part * run + place % run
            load(at, step, step < k, 4 * i, w)
        for n in range(rows_each):
            row = source + min(first_row + n, rows - 1) * stride * BYTES
            for i in range(0, BATCH, run):
                step = (number * BATCH + i) * parts + part * run
                if run == RUN and wide:
                    there = step < k and source != 0
                    a, b, c, d = load4(row + step * BYTES) if there else (ZERO, ZERO, ZERO, ZERO)
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


def _input_side(gates: int, units_each: int, rows_each: int, wide: bool):
    """``bring(chunk, ...)`` brings weights and inputs of a chunk into registers, ``keep`` from there into
    shared memory, and ``chain`` goes on with the sum of a row's column."""
    _, load = quads_of(gates, units_each, wide)
    apart, each = FEEDERS // QUADS, CHUNK * QUADS // FEEDERS

    def bring(chunk, me, feed: Feed, first_row, rows, at, w, x):
        for i in range(each):
            step = chunk * CHUNK + me // QUADS + i * apart
            load(at, step, step < feed.k, 4 * i, w)
        for n in range(rows_each):
            row = uint32(feed.row + min(first_row + n, rows - 1))
            o, i = int64(row // uint32(feed.inner)), int64(row % uint32(feed.inner))
            source = floats(feed.x + (o * feed.outer_stride + i * feed.inner_stride) * BYTES)
            for i in range(CHUNK // FEEDERS):
                step = chunk * CHUNK + me + i * FEEDERS
                x[n * (CHUNK // FEEDERS) + i] = source[step] if step < feed.k else ZERO

    def keep(me, w, x, here, ws, xs):
        for i in range(each):
            for c in range(4):
                here[ws + (me // QUADS + i * apart) * COLUMNS + me % QUADS * 4 + c] = w[4 * i + c]
        for n in range(rows_each):
            for i in range(CHUNK // FEEDERS):
                here[xs + n * CHUNK + me + i * FEEDERS] = x[n * (CHUNK // FEEDERS) + i]

    def chain(total, here, ws, xs, count):
        count = min(count, CHUNK)
        whole = count // LINKS * LINKS
        for first in range(0, whole, LINKS):
            for i in range(0, LINKS, 4):
                a, b, c, d = four(here, xs + first + i)
                at = ws + (first + i) * COLUMNS
                total = fma(a, here[at], total)
                total = fma(b, here[at + COLUMNS], total)
                total = fma(c, here[at + 2 * COLUMNS], total)
                total = fma(d, here[at + 3 * COLUMNS], total)
        for i in range(whole, count):
            total = fma(here[xs + i], here[ws + i * COLUMNS], total)
        return total

    return bring, keep, chain


@cache
def few_rows_of(stage: Stage, parts: int, rows_each: int, wide: bool, fed: bool) -> Kernel:
    """The kernel whose blocks take ``rows_each`` rows; ``wide`` says that all starts at multiples of four,
    ``fed`` that it has the product of the input, too."""
    known, gates, units_each, run = stage.known, stage.gates, units_of(stage, fed), 1 if parts == 4 else RUN
    workers, room = parts * QUADS, _room(parts // 4, rows_each, fed)
    find, _ = quads_of(gates, units_each, wide)
    find_w, _ = quads_of(known, units_each, wide)
    fetch, multiply, fold = _state_side(gates, units_each, parts, run, rows_each, wide)
    bring, keep, chain = _input_side(known, units_each, rows_each, wide)
    warps = parts // 4
    end = finishing(stage, units_each, fed, folded_of(warps, COLUMNS, warps * COLUMNS, 1))
    xs, parts_at, inputs_at, _ = room
    accumulators = registers(types.float32, 4 * rows_each)
    weights = registers(types.float32, 4 * max(BATCH, CHUNK * QUADS // FEEDERS))
    values = registers(types.float32, max(BATCH, CHUNK // FEEDERS) * rows_each)
    places = registers(types.int64, 8)

    size = workers + FEEDERS * fed

    def step(status, source, source_stride, k, rows, units, product: Product, frame: Frame, feed: Feed):
        me, here = thread(), _here()
        across = uint32((units + units_each - 1) // units_each)
        first_row = int64(uint32(block()) // across) * rows_each
        unit = int64(uint32(block()) % across) * units_each
        total, w, h, at = accumulators(), weights(), values(), places()
        going = integers(status)[0] == RUNNING
        n, u = me // units_each, me % units_each
        own_c = own_h = ZERO
        if n < rows_each and first_row + n < rows and unit + u < units:
            own_c, own_h = state_before(first_row + n, unit + u, units, frame)
        works = me < workers
        if works:
            part = me // QUADS % 4 * warps + me // WARP
            batches = (k + BATCH * parts - 1) // (BATCH * parts)
            for i in range(4 * rows_each):
                total[i] = ZERO
            find(product.r, k, units, unit, me % QUADS, at)
            fetch(0, part, source, source_stride, first_row, rows, k, at, w, h)
            for batch in range(batches):
                multiply(w, h, total)
                fetch(batch + 1, part, source, source_stride, first_row, rows, k, at, w, h)
            fold(me, parts_at, total, here)
        elif fed:
            side = me - workers
            column, own = side % WARP, side // WARP
            gate, j = min(column // units_each, known - 1), min(unit + column % units_each, units - 1)
            chained = floats(feed.bias)[gate * units + j]
            find_w(feed.w, feed.k, units, unit, side % QUADS, at)
            bring(0, side, feed, first_row, rows, at, w, h)
            for chunk in range((feed.k + CHUNK - 1) // CHUNK):
                ws_now, xs_now = chunk % 2 * CHUNK * COLUMNS, xs + chunk % 2 * CHUNK * rows_each
                keep(side, w, h, here, ws_now, xs_now)
                barrier_of(FEEDERS)
                bring(chunk + 1, side, feed, first_row, rows, at, w, h)
                if own < rows_each:
                    left = feed.k - chunk * CHUNK
                    chained = chain(chained, here, ws_now + column, xs_now + own * CHUNK, left)
            if own < rows_each:
                here[inputs_at + own * COLUMNS + column] = chained
        barrier()
        if going:
            for i in range(me, rows_each * units_each, size):
                n, u = i // units_each, i % units_each
                if first_row + n < rows and unit + u < units:
                    if i >= size:
                        own_c, own_h = state_before(first_row + n, unit + u, units, frame)
                    end(
                        n, first_row + n, u, unit + u, own_c, own_h, units, product, frame,
                        here, parts_at, inputs_at,
                    )  # fmt: skip

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
) -> Launch:
    """The launch of a frame; see ``steps.step``."""
    each, order, fed = 1 if rows == 1 else 4, order_of(k), feed is not None
    needed = -(-units // units_of(stage, fed)) * -(-rows // each)
    kernel = few_rows_of(stage, order.parts, each, wide, fed)
    arguments = (*source, k, rows, units, *product, *frame, *(feed or NOTHING))
    room = _room(order.parts // 4, each, fed).total
    return Launch(kernel, needed, kernel.threads, arguments, room * BYTES)
