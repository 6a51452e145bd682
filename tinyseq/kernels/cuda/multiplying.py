"""The tile of a matrix product, computed by the threads of a block.

The steps of k that come next are on their way into shared memory while those that are there are multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from numba import types
from numpy import float32, int64, uint32

from tinyseq.kernels.cuda.intrinsics import (
    WARP,
    again,
    barrier,
    copied,
    copies,
    four,
    read4,
    registers,
    shared,
    thread,
    write4,
)
from tinyseq.kernels.cuda.kinds import ROW_SPARE, Cores, Kind, asked_by, held_by, rows_of_x
from tinyseq.kernels.cuda.tiles import BYTES, RUN, SPARE, Source, Tile, core_run, core_spread, spread

ZERO = float32(0)
UNROLLED = 16
"""Most steps of k whose code is written one behind the other."""


def repeated(function: Callable, count: int, further: int = 1) -> Callable:
    """``function(step, ...)`` ``count`` times, a power of two, without a loop, each so many steps further."""
    if count == 1:
        return function
    half = count // 2 * further
    smaller = repeated(function, count // 2, further)

    def both(step, *others):
        smaller(step, *others)
        smaller(step + half, *others)

    return both


def _threads_multiply(kind: Kind, form: Tile, row_of: Callable, column_of: Callable) -> Callable:
    """One step of k, each thread by itself."""
    rows_each, columns_each, add, one, summed = (
        form.rows_each,
        form.columns_each,
        kind.add,
        kind.one,
        kind.summed,
    )
    x_pitch, w_pitch = form.rows + SPARE, form.columns + SPARE

    def multiply(step, me, xs, ws, x_from, w_from, total, row_total, left, right):
        for i in range(rows_each):
            left[i] = xs[x_from + step * x_pitch + row_of(me, i)]
            if summed:
                row_total[i] = add(left[i], one, row_total[i])
        for j in range(columns_each):
            right[j] = ws[w_from + step * w_pitch + column_of(me, j)]
        for i in range(rows_each):
            for j in range(columns_each):
                total[i * columns_each + j] = add(left[i], right[j], total[i * columns_each + j])

    return multiply


def _warps_multiply(cores: Cores, form: Tile) -> Callable:
    """``cores.depth`` steps of k, the threads of a warp together.

    Which steps an operand holds is the same for x and w, and else free: here those that lanes find in
    different banks of shared memory.
    """
    depth, per, rounded, core = cores
    rows_each, columns_each, run = form.rows_each, form.columns_each, core_run(form)
    x_pitch, w_pitch = form.steps + ROW_SPARE, form.columns + SPARE
    row_of, column_of = core_spread(form)
    lefts, rights = registers(types.int32, 2 * rows_each), registers(types.int32, columns_each)
    firsts, seconds = registers(types.float32, run), registers(types.float32, run)
    halves, groups = depth // 2 if per == 2 else 1, columns_each // (2 * run)

    def side_by_side(ws, start, values):
        if run == 4:
            values[0], values[1], values[2], values[3] = four(ws, start)
        else:
            for q in range(run):
                values[q] = ws[start + q]

    def multiply(step, me, xs, ws, x_from, w_from, total, row_total, left, right):
        a, b, one, other = lefts(), rights(), firsts(), seconds()
        first = step + me % 4 * 2
        for half in range(2):
            k = first + half * halves
            for i in range(rows_each):
                own = x_from + row_of(me, i) * x_pitch + k
                a[2 * i + half] = rounded(xs[own], xs[own + per - 1])
            for g in range(groups):
                column = column_of(me, 2 * run * g) - me % 4 * 2 * run + me % WARP // 4 * run
                own = w_from + k * w_pitch + column
                side_by_side(ws, own, one)
                if per == 2:
                    side_by_side(ws, own + w_pitch, other)
                for q in range(run):
                    b[2 * (g * run + q) + half] = rounded(one[q], other[q] if per == 2 else one[q])
        for i in range(0, rows_each, 2):
            for g in range(groups):
                for q in range(run):
                    upper, own = i * columns_each + 2 * run * g + q, 2 * (g * run + q)
                    lower = upper + columns_each
                    total[upper], total[upper + run], total[lower], total[lower + run] = core(
                        a[2 * i], a[2 * i + 2], a[2 * i + 1], a[2 * i + 3], b[own], b[own + 1],
                        total[upper], total[upper + run], total[lower], total[lower + run],
                    )  # fmt: skip

    return multiply


def _begin_four(start, total, cell):
    total[cell], total[cell + 1], total[cell + 2], total[cell + 3] = read4(start)


def _end_four(y, total, cell):
    write4(y, total[cell], total[cell + 1], total[cell + 2], total[cell + 3])


@cache
def tile_of(kind: Kind, form: Tile, source: Source):
    """``tile``: one tile, computed by all threads of a block."""
    element, per, size, zero = kind.element, kind.per, kind.size, kind.zero
    begin, finish, put, cores = kind.begin, kind.finish, kind.put, kind.cores
    rows, columns, rows_each, columns_each, _, steps, stages, *_ = form
    rows_of = rows_of_x(kind, form)
    passes, line_of, step_of, fetch_x, keep_x = rows_of[2:]
    x_size, w_size = rows_of.size, steps * (columns + SPARE)
    begin_w, fetch_w = source
    row_of, column_of = spread(form) if cores is None else core_spread(form)
    run = RUN if kind.plain and columns_each % RUN == 0 else 1
    at_once = 1 if cores is None else cores.depth
    cells = rows_each * columns_each
    memory, w_start = shared(element, 0 if asked_by(kind, form) else held_by(kind, form)), stages * x_size
    x_places, x_mine = registers(types.int64, rows_of.passes), registers(element, rows_of.each)
    row_totals, totals = registers(element, rows_each), registers(element, cells)
    lefts, rights = registers(element, rows_each), registers(element, columns_each)
    pending = copied(stages - 2)

    def bring(me, xs, ws, x_to, w_to, left, x_at, values, w_at, w_stride, there, n_stride):
        fetch_w(me, ws, w_to, (left + per - 1) // per, w_at, w_stride, there, n_stride)
        fetch_x(me, xs, x_to, left, x_at, values)
        copies()

    def advance(x_at, w_at, w_stride):
        for i in range(passes):
            x_at[i] += steps * per * size
        return w_at + steps * w_stride

    multiply = (
        _threads_multiply(kind, form, row_of, column_of) if cores is None else _warps_multiply(cores, form)
    )
    unrolled = min(steps, UNROLLED)
    multiply_all = repeated(multiply, unrolled // at_once, at_once)

    def corner_of(number, n):
        across = uint32((n + columns - 1) // columns)
        return int64(uint32(number) // across) * rows, int64(uint32(number) % across) * columns

    def begin_all(me, top, corner, height, n, start, start_stride, alike, total, row_total):
        row, column = top + row_of(me, 0), corner + column_of(me, 0)
        below, beside = height - row, n - column
        at = start + (row * start_stride + column) * BYTES
        for i in range(rows_each):
            row_total[i] = zero
        if run > 1 and (start | start_stride * BYTES | alike | n * BYTES) % (run * BYTES) == 0:
            for i in range(rows_each):
                for j in range(0, columns_each, run):
                    down, right, cell = row_of(0, i), column_of(0, j), i * columns_each + j
                    if down < below and right < beside:
                        _begin_four(at + (down * start_stride + right) * BYTES, total, cell)
                    else:
                        for k in range(run):
                            total[cell + k] = zero
        else:
            for i in range(rows_each):
                for j in range(columns_each):
                    down, right = row_of(0, i), column_of(0, j)
                    there = down < below and right < beside
                    value = begin(at + (down * start_stride + right) * BYTES) if there else zero
                    total[i * columns_each + j] = value

    def end_all(
        me, number, height, n, start, start_stride, y, y_stride, total, row_total, w, k, scale, zero_point
    ):  # fmt: skip
        top, corner = corner_of(number, n)
        row, column = top + row_of(me, 0), corner + column_of(me, 0)
        below, beside = height - row, n - column
        at, source = y + (row * y_stride + column) * BYTES, start + (row * start_stride + column) * BYTES
        if run > 1 and (start | start_stride * BYTES | y | y_stride * BYTES | n * BYTES) % (run * BYTES) == 0:
            for i in range(rows_each):
                for j in range(0, columns_each, run):
                    down, right = row_of(0, i), column_of(0, j)
                    if down < below and right < beside:
                        _end_four(at + (down * y_stride + right) * BYTES, total, i * columns_each + j)
        else:
            for i in range(rows_each):
                for j in range(columns_each):
                    down, right = row_of(0, i), column_of(0, j)
                    if down < below and right < beside:
                        value, begun = (
                            total[i * columns_each + j],
                            source + (down * start_stride + right) * BYTES,
                        )
                        value = finish(value, row_total[i], column + right, w, k, n, begun, scale, zero_point)
                        put(at + (down * y_stride + right) * BYTES, value)

    def tile(
        number, x, outer, outer_stride, inner, inner_stride, k, w, n, start, start_stride, y, y_stride,
        scale, zero_point, k_stride, n_stride,
    ):  # fmt: skip
        """Tile ``number`` of y[m, :] = start[m, :] + x[m, :] @ w; strides of x count steps of k.

        Arguments are those of the CPU's product, addresses that some kinds need, and strides of a w that is
        not packed. Tiles below y do nothing.
        """
        me, xs = thread(), memory()
        ws = xs
        height, (top, corner) = outer * inner, corner_of(number, n)
        if top >= height:
            return
        x_at, values = x_places(), x_mine()
        for i in range(passes):
            row = uint32(min(top + line_of(me, i), height - 1))
            o, r = int64(row // uint32(inner)), int64(row % uint32(inner))
            x_at[i] = x + (o * outer_stride + r * inner_stride + step_of(me) * per) * size
        depth = (k + per - 1) // per
        w_at, w_stride, there = begin_w(me, w, depth, n, corner, k_stride, n_stride)
        total, row_total, left, right = totals(), row_totals(), lefts(), rights()
        for stage in range(stages - 1):
            x_to, w_to = stage * x_size, w_start + stage * w_size
            bring(
                me, xs, ws, x_to, w_to, k - stage * steps * per, x_at, values, w_at, w_stride, there, n_stride
            )
            keep_x(me, xs, x_to, values)
            w_at = advance(x_at, w_at, w_stride)
        begin_all(me, top, corner, height, n, start, start_stride, y | y_stride * BYTES, total, row_total)
        here, rest = 0, k
        while rest > 0:
            pending()
            barrier()
            to = here - 1 if here > 0 else stages - 1
            x_to, w_to = to * x_size, w_start + to * w_size
            x_from, w_from = here * x_size, w_start + here * w_size
            ahead = rest - (stages - 1) * steps * per
            bring(me, xs, ws, x_to, w_to, ahead, x_at, values, w_at, w_stride, there, n_stride)
            w_at = advance(x_at, w_at, w_stride)
            if rest >= steps * per:
                for step in range(0, steps, unrolled):
                    multiply_all(step, me, xs, ws, x_from, w_from, total, row_total, left, right)
            else:
                for step in range(0, (rest + per - 1) // per, at_once):
                    multiply(step, me, xs, ws, x_from, w_from, total, row_total, left, right)
            keep_x(me, xs, x_to, values)
            here, rest = here + 1 if here + 1 < stages else 0, rest - steps * per
        end_all(
            again(me), again(number), height, n, start, start_stride, y, y_stride, total, row_total, w, k,
            scale, zero_point,
        )  # fmt: skip

    return tile
