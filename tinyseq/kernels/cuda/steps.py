"""One frame of a recurrent layer: the product with the state, then the cells.

Up to ``FEW_ROWS`` rows both are one launch, which may have the product with the input, too. The weights pass
by once, from wherever they are: a block has ``COLUMNS`` columns of them, all gates of a few units, and its
threads share k in the order of ``sums.py``. The input's product is summed as ``linear`` does it, in ascending
order: some threads bring the weights into shared memory, ``CHUNK`` steps of k at a time, where one warp has
a column a thread.

For more rows a block has tiles of the state and of the weights in shared memory, and its warps share each
tile's k. So the last bits of a row depend on which side of ``FEW_ROWS`` the batch is, and on nothing else
beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from numba import types
from numpy import int64, uint32

from tinyseq.kernels.cuda.intrinsics import (
    WARP,
    barrier,
    block,
    blocks,
    four,
    load4,
    registers,
    shared,
    shuffle_xor,
    thread,
    threads,
)
from tinyseq.kernels.cuda.launch import Kernel, Launch
from tinyseq.kernels.cuda.product import BYTES, WIDTH
from tinyseq.kernels.cuda.sums import BATCH, RUN, order_of, padded
from tinyseq.kernels.instructions import PANEL
from tinyseq.kernels.intrinsics import floats, fma
from tinyseq.kernels.math import ZERO
from tinyseq.kernels.rows import reading, taking

COLUMNS = WARP
"""Columns of a block whose threads share k."""

QUADS = COLUMNS // 4
"""Threads side by side that load a block's columns of one k, four each."""

FEW_ROWS = 16
"""Rows up to which threads share k."""

FEEDERS = 256
"""Threads that bring in the weights of the input."""

CHUNK = 256
"""Steps of the input's k in shared memory at a time."""


LINKS = 32
"""Terms of a column's sum that a thread reads ahead."""


class Stage(NamedTuple):
    """What a step computes of a cell of ``known`` gates: the products of ``gates`` of them from ``first`` on,
    added to what the gates are or kept ``apart``; then ``finish(x, s, n, j, units, frame)``, which makes the
    state of unit j of row n."""

    known: int
    apart: bool
    first: int
    gates: int
    finish: Callable[..., None]

    @property
    def keeps(self) -> bool:
        """Whether a later stage wants the gates as they are now."""
        return self.first == 0 and self.gates < self.known


class Product(NamedTuple):
    """A packed matrix of ``columns``, and rows ``start_stride`` and ``stride`` elements apart: where the sums
    start from and where they go."""

    r: int
    columns: int
    start: int
    start_stride: int
    sums: int
    stride: int


class Frame(NamedTuple):
    """What one frame's cells read and write; addresses of rows, and strides in elements.

    ``gates`` and, where products are kept apart, ``sums`` have rows alike. ``before`` and ``target`` are the
    state before and after, ``c_before`` and ``c`` likewise; 0 before stands for zeros.
    """

    gates: int
    stride: int
    sums: int
    before: int
    before_stride: int
    target: int
    target_stride: int
    c_before: int
    c: int
    constants: int
    options: int
    lengths: int
    t: int
    y: int
    y_row: int
    flags: int


class Feed(NamedTuple):
    """The input's product, as ``linear`` has it: rows of x from row ``row`` on, a packed matrix ``w`` [k,
    columns of all gates], ``bias``."""

    x: int
    outer_stride: int
    inner: int
    inner_stride: int
    k: int
    w: int
    bias: int
    row: int


NOTHING = Feed(0, 0, 1, 0, 0, 0, 0, 0)


def column_of(r, k, columns, column):
    """The address of a packed matrix' column and how many elements apart its elements are."""
    group = column - column % WIDTH
    width = min(columns - group, WIDTH)
    width = (width + PANEL - 1) // PANEL * PANEL
    return r + (group * k + column - group) * BYTES, width


def _units_of(stage: Stage, fed: bool) -> int:
    """Units of a block."""
    return COLUMNS // padded(max(stage.gates, stage.known if fed else 0))


def _quads_of(gates: int, units_each: int, wide: bool):
    """``find(w, k, units, unit, quad, at)``: where four columns are, ``at`` their addresses and strides;
    ``load(at, i, there, place, four)``: their weights of k = i, zeros unless ``there``."""
    across = units_each // 4

    def find(w, k, units, unit, quad, at):
        gate, first = min(quad // across, gates - 1), unit + quad % across * 4
        for i in range(1 if wide else 4):
            column = gate * units + min(first + i, units - (4 if wide else 1))
            at[2 * i], at[2 * i + 1] = column_of(w, k, gates * units, column)

    def load(at, i, there, place, four):
        if wide:
            a, b, c, d = load4(at[0] + i * at[1] * BYTES) if there else (ZERO, ZERO, ZERO, ZERO)
            four[place], four[place + 1], four[place + 2], four[place + 3] = a, b, c, d
        else:
            for j in range(4):
                four[place + j] = floats(at[2 * j])[i * at[2 * j + 1]] if there else ZERO

    return find, load


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
    _, load = _quads_of(gates, units_each, wide)

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


def _folded_of(warps: int, across: int, row_step: int, column_step: int):
    """``folded(here, at, n, column)``: the sum of a row's column, of what warps have left from ``at`` on,
    ``across`` apart."""

    def folded(here, at, n, column):
        own = at + n * row_step + column * column_step
        if warps == 1:
            return here[own]
        a, b = here[own] + here[own + 4 * across], here[own + across] + here[own + 5 * across]
        c = here[own + 2 * across] + here[own + 6 * across]
        d = here[own + 3 * across] + here[own + 7 * across]
        return (a + c) + (b + d)

    return folded


def _input_side(gates: int, units_each: int, rows_each: int, wide: bool):
    """``bring(chunk, ...)`` brings weights and inputs of a chunk into registers, ``keep`` from there into
    shared memory, and ``chain`` goes on with the sum of a row's column."""
    _, load = _quads_of(gates, units_each, wide)
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


def _finishing(stage: Stage, units_each: int, fed: bool, folded: Callable[..., object]):
    """``end(n, row, unit, j, units, product, frame, here, ...)``: the sums of a unit and its cell."""
    known, apart, first, gates, finish = stage
    keeps = stage.keeps
    inputs, sums = registers(types.float32, known), registers(types.float32, gates)
    take, take_s = taking(known), taking(gates * apart)

    def end(n, row, unit, j, units, product: Product, frame: Frame, here, parts_at, inputs_at):
        x, s = inputs(), sums()
        for g in range(known):
            if fed:
                x[g] = here[inputs_at + n * COLUMNS + g * units_each + unit]
            elif not apart and g >= first and g < first + gates:
                x[g] = floats(product.start)[row * product.start_stride + (g - first) * units + j]
            else:
                x[g] = floats(frame.gates)[row * frame.stride + g * units + j]
        for g in range(gates):
            total = folded(here, parts_at, n, g * units_each + unit)
            if apart:
                s[g] = floats(product.start)[row * product.start_stride + g * units + j] + total
            else:
                x[first + g] += total
        if keeps:
            for g in range(known):
                floats(frame.gates)[row * frame.stride + g * units + j] = x[g]
        finish(take(x, 1, 0), take_s(s, 1, 0), row, j, units, frame)

    return end


@cache
def _fused_of(stage: Stage, parts: int, rows_each: int, wide: bool, fed: bool) -> Kernel:
    """The kernel whose blocks take ``rows_each`` rows; ``wide`` says that all starts at multiples of four,
    ``fed`` that it has the product of the input, too."""
    known, gates, units_each, run = stage.known, stage.gates, _units_of(stage, fed), 1 if parts == 4 else RUN
    workers, room = parts * QUADS, _room(parts // 4, rows_each, fed)
    find, _ = _quads_of(gates, units_each, wide)
    find_w, _ = _quads_of(known, units_each, wide)
    fetch, multiply, fold = _state_side(gates, units_each, parts, run, rows_each, wide)
    bring, keep, chain = _input_side(known, units_each, rows_each, wide)
    warps = parts // 4
    end = _finishing(stage, units_each, fed, _folded_of(warps, COLUMNS, warps * COLUMNS, 1))
    xs, parts_at, inputs_at, _ = room
    accumulators = registers(types.float32, 4 * rows_each)
    weights = registers(types.float32, 4 * max(BATCH, CHUNK * QUADS // FEEDERS))
    values = registers(types.float32, max(BATCH, CHUNK // FEEDERS) * rows_each)
    places = registers(types.int64, 8)

    def step(source, source_stride, k, rows, units, product: Product, frame: Frame, feed: Feed):
        me, here = thread(), _here()
        across = uint32((units + units_each - 1) // units_each)
        first_row = int64(uint32(block()) // across) * rows_each
        unit = int64(uint32(block()) % across) * units_each
        total, w, h, at = accumulators(), weights(), values(), places()
        part = me // QUADS % 4 * (parts // 4) + me // WARP
        batches = (k + BATCH * parts - 1) // (BATCH * parts)
        done = int64(0)
        works = me < workers
        if works:
            for i in range(4 * rows_each):
                total[i] = ZERO
            find(product.r, k, units, unit, me % QUADS, at)
            fetch(0, part, source, source_stride, first_row, rows, k, at, w, h)
        if fed:
            side = me - workers
            column, own = side % WARP, side // WARP
            gate, j = min(column // units_each, known - 1), min(unit + column % units_each, units - 1)
            chained = floats(feed.bias)[gate * units + j]
            if not works:
                find_w(feed.w, feed.k, units, unit, side % QUADS, at)
                bring(0, side, feed, first_row, rows, at, w, h)
            chunks = (feed.k + CHUNK - 1) // CHUNK
            for chunk in range(chunks):
                ws_now, xs_now = chunk % 2 * CHUNK * COLUMNS, xs + chunk % 2 * CHUNK * rows_each
                if not works:
                    keep(side, w, h, here, ws_now, xs_now)
                barrier()
                if not works:
                    bring(chunk + 1, side, feed, first_row, rows, at, w, h)
                    if own < rows_each:
                        left = feed.k - chunk * CHUNK
                        chained = chain(chained, here, ws_now + column, xs_now + own * CHUNK, left)
                elif done < batches:
                    multiply(w, h, total)
                    done += 1
                    fetch(done, part, source, source_stride, first_row, rows, k, at, w, h)
            if not works and own < rows_each:
                here[inputs_at + own * COLUMNS + column] = chained
        if works:
            while done < batches:
                multiply(w, h, total)
                done += 1
                fetch(done, part, source, source_stride, first_row, rows, k, at, w, h)
            fold(me, parts_at, total, here)
        barrier()
        for i in range(me, rows_each * units_each, threads()):
            n, u = i // units_each, i % units_each
            if first_row + n < rows and unit + u < units:
                end(n, first_row + n, u, unit + u, units, product, frame, here, parts_at, inputs_at)

    return Kernel(step, workers + FEEDERS * fed)


MANY_STEPS = 64
"""Steps of k that a block of many rows has in shared memory at a time."""

MANY_THREADS = 256

ENOUGH_BLOCKS = 96
"""Blocks from which on each has many rows rather than that there are more of them."""

PITCH = 4
"""Numbers between the rows of one column and those of the next, so that threads do not queue up."""


def _many_room(rows_each: int) -> int:
    """Numbers in the shared memory of a block of many rows."""
    warps = MANY_THREADS // WARP
    return max(2 * MANY_STEPS * (rows_each + COLUMNS), warps * COLUMNS * (rows_each + PITCH))


@cache
def _many_of(stage: Stage, rows_each: int, wide: bool) -> Kernel:
    """The kernel whose blocks take ``rows_each`` rows, of which a thread has an eighth and eight columns, for
    an eighth of the steps that are in shared memory.

    There the state lies with the rows of a step side by side, in fours that are swapped by the step, so that
    neither those who write it nor those who read it wait for each other.
    """
    gates, units_each = stage.gates, _units_of(stage, False)
    warps, each = MANY_THREADS // WARP, rows_each // 8
    own_steps, halves = MANY_STEPS // warps, each // 4
    h_each, w_each = rows_each * MANY_STEPS // (4 * MANY_THREADS), MANY_STEPS * QUADS // MANY_THREADS
    find, load = _quads_of(gates, units_each, wide)
    pitch = rows_each + PITCH
    end = _finishing(stage, units_each, False, _folded_of(warps, COLUMNS * pitch, 1, pitch))
    accumulators, places = registers(types.float32, each * 8), registers(types.int64, 8)
    weights, states = registers(types.float32, 4 * w_each), registers(types.float32, 4 * h_each)
    left_of, right_of = registers(types.float32, each), registers(types.float32, 8)

    def fetch(first, me, source, stride, first_row, rows, k, at, w, h):
        for i in range(h_each):
            item = me + i * MANY_THREADS
            row = source + min(first_row + item // 8 % rows_each, rows - 1) * stride * BYTES
            step = first + (item % 8 + item // (8 * rows_each) * 8) * 4
            if wide:
                there = step < k and source != 0
                a, b, c, d = load4(row + step * BYTES) if there else (ZERO, ZERO, ZERO, ZERO)
                h[4 * i], h[4 * i + 1], h[4 * i + 2], h[4 * i + 3] = a, b, c, d
            else:
                for j in range(4):
                    h[4 * i + j] = floats(row)[step + j] if step + j < k and source != 0 else ZERO
        for i in range(w_each):
            step = first + me // QUADS + i * (MANY_THREADS // QUADS)
            load(at, step, step < k, 4 * i, w)

    def keep(me, w, h, here, hs, ws):
        for i in range(h_each):
            item = me + i * MANY_THREADS
            row, swap = item // 8 % rows_each, item % 8
            step = (swap + item // (8 * rows_each) * 8) * 4
            for j in range(4):
                here[hs + (step + j) * rows_each + (row // 4 ^ swap) * 4 + row % 4] = h[4 * i + j]
        for i in range(w_each):
            for c in range(4):
                step = me // QUADS + i * (MANY_THREADS // QUADS)
                here[ws + step * COLUMNS + me % QUADS * 4 + c] = w[4 * i + c]

    def multiply(me, here, hs, ws, total, left, right):
        warp, group, across = me // WARP, me % 8, me % WARP // 8
        for number in range(own_steps // 4):
            swap = (warp * own_steps // 4 + number) & 7
            for i in range(4):
                step = warp * own_steps + 4 * number + i
                for half in range(halves):
                    own = hs + step * rows_each + ((group + 8 * half) ^ swap) * 4
                    left[4 * half], left[4 * half + 1], left[4 * half + 2], left[4 * half + 3] = four(
                        here, own
                    )
                for half in range(2):
                    own, at = ws + step * COLUMNS + half * 16 + across * 4, 4 * half
                    right[at], right[at + 1], right[at + 2], right[at + 3] = four(here, own)
                for n in range(each):
                    for c in range(8):
                        total[n * 8 + c] = fma(left[n], right[c], total[n * 8 + c])

    def leave(me, here, total):
        warp, group, across = me // WARP, me % 8, me % WARP // 8
        for c in range(8):
            column = c // 4 * 16 + across * 4 + c % 4
            for n in range(each):
                row = (group + n // 4 * 8) * 4 + n % 4
                here[(warp * COLUMNS + column) * pitch + row] = total[n * 8 + c]

    def many(source, source_stride, k, rows, units, product: Product, frame: Frame):
        me, here = thread(), _here()
        across = uint32((units + units_each - 1) // units_each)
        first_row = int64(uint32(block()) // across) * rows_each
        unit = int64(uint32(block()) % across) * units_each
        total, w, h, at, left, right = accumulators(), weights(), states(), places(), left_of(), right_of()
        for i in range(each * 8):
            total[i] = ZERO
        find(product.r, k, units, unit, me % QUADS, at)
        fetch(0, me, source, source_stride, first_row, rows, k, at, w, h)
        for first in range(0, k, MANY_STEPS):
            turn = first // MANY_STEPS % 2
            hs = turn * MANY_STEPS * (rows_each + COLUMNS)
            ws = hs + MANY_STEPS * rows_each
            keep(me, w, h, here, hs, ws)
            barrier()
            fetch(first + MANY_STEPS, me, source, source_stride, first_row, rows, k, at, w, h)
            multiply(me, here, hs, ws, total, left, right)
        barrier()
        leave(me, here, total)
        barrier()
        for i in range(me, rows_each * units_each, MANY_THREADS):
            n, u = i // units_each, i % units_each
            if first_row + n < rows and unit + u < units:
                end(n, first_row + n, u, unit + u, units, product, frame, here, 0, 0)

    return Kernel(many, MANY_THREADS)


@cache
def _cells_of(stage: Stage) -> Kernel:
    known, apart, finish = stage.known, stage.apart, stage.finish
    read, read_s = reading(known), reading(known * apart)

    def cells(rows, units, frame: Frame):
        for i in range(block() * threads() + thread(), rows * units, blocks() * threads()):
            n, j = int64(uint32(i) // uint32(units)), int64(uint32(i) % uint32(units))
            skip = n * frame.stride * BYTES
            x, s = read(frame.gates + skip, units, j), read_s(frame.sums + skip, units, j)
            finish(x, s, n, j, units, frame)

    return Kernel(cells)


def finished(stage: Stage, rows: int, units: int, frame: Frame) -> list[Launch]:
    """The cells of a frame whose sums are whole."""
    return _cells_of(stage).over(rows * units, rows, units, *frame)


def step(
    stage: Stage,
    source: tuple[int, int],
    k: int,
    rows: int,
    units: int,
    frame: Frame,
    product: Product,
    feed: Feed | None = None,
) -> list[Launch]:
    """A frame of ``units`` of each row: ``source``, an address of rows of ``k`` and their stride, times
    the matrix, and the cells. Few rows may be fed."""
    wide = all(number % 4 == 0 for number in (units, k, source[0] // BYTES, source[1]))
    if rows <= FEW_ROWS:
        each, order, fed = 1 if rows == 1 else 4, order_of(k), feed is not None
        needed = -(-units // _units_of(stage, fed)) * -(-rows // each)
        kernel = _fused_of(stage, order.parts, each, wide, fed)
        arguments = (*source, k, rows, units, *product, *frame, *(feed or NOTHING))
        room = _room(order.parts // 4, each, fed).total
        return [Launch(kernel, needed, kernel.threads, arguments, room * BYTES)]
    across = -(-units // _units_of(stage, False))
    each = 64 if across * -(-rows // 64) >= ENOUGH_BLOCKS else 32
    arguments = (*source, k, rows, units, *product, *frame)
    kernel = _many_of(stage, each, wide)
    return [Launch(kernel, across * -(-rows // each), MANY_THREADS, arguments, _many_room(each) * BYTES)]
