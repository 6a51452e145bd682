"""The matrix product: packed weights, register tiles, one fixed order of summation.

Packed weights ``w`` of a matrix [k, n]: the columns are cut into panels of ``PANEL``, padded with
zeros, and the panels into groups of ``GROUP``; a group is stored as [k][panels of the group][PANEL].
What the elements are, see ``formats.py``; of bytes, each holds four rows of k.

Memory is what large products wait for, so rows are taken ``NEAR_ROWS`` at a time through all groups, and
tiles fetch the next group, and what the next sums start from, while they multiply. Each time the groups pass
by the other way round: those that came last are still near.
"""

from __future__ import annotations

from functools import cache

from numba import types

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.formats import FLOAT_ELEMENT, Element
from tinyseq.kernels.instructions import BYTES, GROUP, PANEL
from tinyseq.kernels.llvm.intrinsics import (
    compiled,
    fetch,
    floats,
    fma,
    give,
    integers,
    lanes,
    stack,
    stay_apart,
    take,
    tile,
)
from tinyseq.kernels.llvm.tiles import FETCHING_ROWS, TILE_PANELS, TILE_ROWS

FEW = 8
"""Below so many rows, packing a matrix takes longer than multiplying with it as it lies."""

NEAR_ROWS = 96
"""So many rows of x stay near the core while the groups pass by."""

LINE = 64
"""Bytes that a processor reads at once."""

LONG_SUMS = 96
"""From so many numbers in a sum on, fetching the next ones takes less time than waiting for them."""

PACKED_ROWS = 64
"""Rows of which the columns are packed one after the other."""

ADDRESS = SIZE = types.int64
STRIDES, CHUNK, AHEAD, RUNS = (types.UniTuple(SIZE, count) for count in (4, 7, 2, 2))

# Explicit signatures keep Numba from compiling a twin for each literal argument.
PANELS = SIZE(*[SIZE] * 11, AHEAD)
ROWS = SIZE(SIZE, ADDRESS, CHUNK, *[SIZE] * 8, AHEAD)
PARTIAL = types.void(ADDRESS, ADDRESS, RUNS, *[SIZE] * 8)
PRODUCT = types.void(ADDRESS, STRIDES, *[SIZE] * 8)
RUNS_PRODUCT = types.void(ADDRESS, STRIDES, RUNS, *[SIZE] * 8)
ONE_ROW = types.void(*[SIZE] * 7)
WEIGHTED = types.void(ADDRESS, STRIDES, *[SIZE] * 12)

ONE_RUN = 1, 0
"""Of rows of which all numbers lie side by side."""

_offsets = stack(types.int64, TILE_ROWS[0])
_edge = stack(types.int32, TILE_ROWS[0] * PANEL)


def _in_turn(signature, steps):
    """One function that calls each of ``steps`` with the position the one before reached."""
    if len(steps) == 1:
        return steps[0]
    first, rest = steps[0], _in_turn(signature, steps[1:])

    @compiled(signature)
    def both(done, x, layout, k, w, w_stride, start, start_stride, y, y_stride, count, ahead):
        done = first(done, x, layout, k, w, w_stride, start, start_stride, y, y_stride, count, ahead)
        return rest(done, x, layout, k, w, w_stride, start, start_stride, y, y_stride, count, ahead)

    return both


def _whole_panels(of: Element, rows: int, panels: int):
    """From panel ``done``: as many runs of ``panels`` whole panels as fit ``count``."""
    run, size = tile(of.name, rows, panels), of.size

    @compiled(PANELS)
    def whole(done, x, offsets, k, w, w_stride, start, start_stride, y, y_stride, count, ahead):
        while count - done >= panels:
            skip = done * PANEL * BYTES
            panel = w + done * PANEL * size
            run(x, offsets, k, panel, w_stride, start + skip, start_stride, y + skip, y_stride, *ahead)
            done += panels
        return done

    return whole


def _partial_panel(of: Element, rows: int):
    """The last panel, of ``columns`` < PANEL columns, by way of a buffer on the stack."""
    run, size = tile(of.name, rows, 1), of.size

    @compiled(PARTIAL)
    def partial(x, offsets, runs, k, w, w_stride, start, start_stride, y, y_stride, columns):
        edge = _edge()
        for row in range(rows):
            for place in range(0, columns, lanes()):
                own, skip = edge + (row * PANEL + place) * BYTES, (row * start_stride + place) * BYTES
                take(start + skip, own, min(columns - place, lanes()))
        for _ in range(runs[0]):
            run(x, offsets, k, w, w_stride, edge, PANEL, edge, PANEL, w, 0)
            x += runs[1]
            w += k * w_stride * size
        for row in range(rows):
            for place in range(0, columns, lanes()):
                own, skip = edge + (row * PANEL + place) * BYTES, (row * y_stride + place) * BYTES
                give(own, y + skip, min(columns - place, lanes()))

    return partial


@compiled()
def _fetch_rows(y, y_stride, rows, columns):
    """Sums that start soon."""
    for row in range(rows):
        for place in range(0, columns * BYTES, LINE):
            fetch(y + row * y_stride * BYTES + place)


def _row_blocks(of: Element, rows: int):
    """From row ``row`` of a chunk: as many blocks of ``rows`` rows as are left, with one group of panels.

    The first blocks fetch the group ``ahead``, which is as large, each a part of it.
    """
    whole = _in_turn(PANELS, [_whole_panels(of, rows, panels) for panels in TILE_PANELS])
    partial, size = _partial_panel(of, rows), of.size
    fetches = rows >= FETCHING_ROWS

    @compiled(ROWS)
    def blocks(row, x, chunk, k, w, w_stride, start, start_stride, y, y_stride, columns, ahead):
        first, last, outer_stride, inner, inner_stride, runs, run_stride = chunk
        offsets = _offsets()
        table = integers(offsets)
        panels = columns // PANEL
        skip = panels * PANEL * BYTES
        # Seven and eight rows make two blocks that are nearly alike.
        while last - row >= rows and (rows <= 4 or last - row <= 6 or last - row > 8):
            i = row
            base = 0
            if row >= inner:  # Dividing takes as long as a small tile.
                i = row % inner
                base = row // inner * outer_stride
            for r in range(rows):
                table[r] = base + i * inner_stride
                i += 1
                if i == inner:
                    i = 0
                    base += outer_stride
            s = start + row * start_stride * BYTES
            t = y + row * y_stride * BYTES
            part = w, 0
            if fetches:
                if runs * k >= LONG_SUMS:
                    _fetch_rows(t + rows * y_stride * BYTES, y_stride, min(rows, last - row - rows), columns)
                number = (row - first) // rows
                if number < size:
                    part = ahead[0] + number * runs * k * LINE, ahead[1]
            if columns > panels * PANEL:
                partial(
                    x, offsets, (runs, run_stride), k, w + panels * PANEL * size, w_stride, s + skip,
                    start_stride, t + skip, y_stride, columns - panels * PANEL,
                )  # fmt: skip
            own, factors, begun = x, w, start_stride
            for _ in range(runs if panels > 0 else 0):
                whole(0, own, offsets, k, factors, w_stride, s, begun, t, y_stride, panels, part)
                own += run_stride
                factors += k * w_stride * size
                part = part[0] + k * part[1], part[1]
                s, begun = t, y_stride
            row += rows
        return row

    return blocks


def _one_row(of: Element):
    """The product of one row, which is not worth the care that blocks of rows take."""
    whole = _in_turn(PANELS, [_whole_panels(of, 1, panels) for panels in TILE_PANELS])
    partial, size = _partial_panel(of, 1), of.size

    @compiled(ONE_ROW)
    def row(x, k, w, n, start, y, turn):
        stay_apart()
        offsets = _offsets()
        integers(offsets)[0] = 0
        groups = (n + GROUP * PANEL - 1) // (GROUP * PANEL)
        for passed in range(groups):
            column = (groups - 1 - passed if turn & 1 else passed) * GROUP * PANEL
            columns = min(n - column, GROUP * PANEL)
            panels = columns // PANEL
            width = (columns + PANEL - 1) // PANEL * PANEL
            group, first, sums = w + column * k * size, start + column * BYTES, y + column * BYTES
            if width > columns:
                skip = panels * PANEL
                partial(
                    x, offsets, ONE_RUN, k, group + skip * size, width, first + skip * BYTES, 0,
                    sums + skip * BYTES, 0, columns - skip,
                )  # fmt: skip
            whole(0, x, offsets, k, group, width, first, 0, sums, 0, panels, (w, 0))

    return row


@cache
def runs_product_of(of: Element):
    """``product_of``, for rows of x whose numbers lie in some runs."""
    all_rows, size = _in_turn(ROWS, [_row_blocks(of, rows) for rows in TILE_ROWS]), of.size
    one_row = _one_row(of)

    @compiled(RUNS_PRODUCT)
    def product(x, strides, runs, k, w, n, start, start_stride, y, y_stride, turn):
        """y[m, :] = start[m, :] + x[m, :] @ w for every row m; all but the sizes are byte addresses.

        ``strides`` = (outer, outer_stride, inner, inner_stride) places the outer * inner rows of x; strides
        count elements. ``runs`` = (count, stride): a row is so many runs of k contiguous elements, the stride
        apart in bytes. ``start`` may equal ``y``; a ``start_stride`` of 0 repeats one row, such as a bias.
        ``turn`` counts the products with the same weights that follow one another.
        """
        outer, outer_stride, inner, inner_stride = strides
        if outer * inner == 1 and runs[0] == 1:
            one_row(x, k, w, n, start, y, turn)
            return
        depth = runs[0] * k
        groups = (n + GROUP * PANEL - 1) // (GROUP * PANEL)
        for first in range(0, outer * inner, NEAR_ROWS):
            last = min(first + NEAR_ROWS, outer * inner)
            chunk = first, last, outer_stride, inner, inner_stride, runs[0], runs[1]
            backward = (turn + first // NEAR_ROWS) & 1
            for passed in range(groups):
                column = (groups - 1 - passed if backward else passed) * GROUP * PANEL
                columns = min(n - column, GROUP * PANEL)
                width = (columns + PANEL - 1) // PANEL * PANEL
                skip = column * BYTES
                group = ahead = w + column * depth * size
                if passed + 1 < groups:
                    ahead += (-1 if backward else 1) * GROUP * PANEL * depth * size
                all_rows(
                    first, x, chunk, k, group, width, start + skip, start_stride, y + skip, y_stride,
                    columns, (ahead, LINE),
                )  # fmt: skip

    return product


@cache
def product_of(of: Element):
    """The matrix product with weights of such elements: ``runs_product_of``, rows of x being one run each."""
    by_runs = runs_product_of(of)

    @compiled(PRODUCT)
    def product(x, strides, k, w, n, start, start_stride, y, y_stride, turn):
        by_runs(x, strides, ONE_RUN, k, w, n, start, start_stride, y, y_stride, turn)

    return product


product = product_of(FLOAT_ELEMENT)


@compiled()
def _pack_group(x, w, k, columns, width, k_stride, n_stride):
    """``pack`` of one group of ``columns`` columns."""
    source, packed = floats(x), floats(w)
    for row in range(k):
        for c in range(columns, width):
            packed[row * width + c] = ZERO
    if n_stride == 1:
        for row in range(k):
            line, target = floats(x + row * k_stride * BYTES), floats(w + row * width * BYTES)
            for c in range(columns):
                target[c] = line[c]
        return
    # A column at a time where it lies in line; not so many rows that the nearest cache forgets them.
    for first in range(0, k, PACKED_ROWS):
        last = min(first + PACKED_ROWS, k)
        for c in range(columns):
            place = c * n_stride
            for row in range(first, last):
                packed[row * width + c] = source[place + row * k_stride]


@compiled()
def pack(x, w, k, n, k_stride, n_stride):
    """x[k, n], strides in elements, -> w: packed weights, as the product reads them."""
    column = 0
    target = w
    while column < n:
        columns = min(n - column, GROUP * PANEL)
        width = (columns + PANEL - 1) // PANEL * PANEL
        _pack_group(x + column * n_stride * BYTES, target, k, columns, width, k_stride, n_stride)
        target += k * width * BYTES
        column += columns


@compiled()
def _along_rows(x, b, y, k, n, k_stride):
    """y[n] = x[k] @ b[k, n], whose rows are contiguous: a row of b at a time."""
    target, factors = floats(y), floats(x)
    for column in range(n):
        target[column] = ZERO
    for i in range(k):
        factor, row = factors[i], floats(b + i * k_stride * BYTES)
        for column in range(n):
            target[column] = fma(factor, row[column], target[column])


@compiled()
def _along_columns(x, b, y, k, n, k_stride, n_stride):
    """y[n] = x[k] @ b[k, n]: eight columns of b at a time."""
    target, factors, source = floats(y), floats(x), floats(b)
    whole = n // 8 * 8
    for column in range(0, whole, 8):
        place = column * n_stride
        s0, s1, s2, s3, s4, s5, s6, s7 = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
        for i in range(k):
            factor, here = factors[i], place + i * k_stride
            s0 = fma(factor, source[here], s0)
            s1 = fma(factor, source[here + n_stride], s1)
            s2 = fma(factor, source[here + 2 * n_stride], s2)
            s3 = fma(factor, source[here + 3 * n_stride], s3)
            s4 = fma(factor, source[here + 4 * n_stride], s4)
            s5 = fma(factor, source[here + 5 * n_stride], s5)
            s6 = fma(factor, source[here + 6 * n_stride], s6)
            s7 = fma(factor, source[here + 7 * n_stride], s7)
        target[column], target[column + 1], target[column + 2], target[column + 3] = s0, s1, s2, s3
        target[column + 4], target[column + 5], target[column + 6], target[column + 7] = s4, s5, s6, s7
    for column in range(whole, n):
        total = ZERO
        for i in range(k):
            total = fma(factors[i], source[column * n_stride + i * k_stride], total)
        target[column] = total


@compiled()
def products(x, w, y, packed, zeros, m, k, n, m_stride, k_stride, n_stride, rank, dims):
    """x[batch, m, k] w[batch, k, n] -> y[batch, m, n], each as the product of packed weights has it, bit for
    bit.

    ``dims``: the ``rank`` sizes of the batch, and the strides there of x and of w. Rows of x are contiguous,
    ``m_stride`` apart. ``packed`` has room for a w in panels, ``zeros`` are n. Strides count elements.
    """
    sizes = integers(dims)
    batch = 1
    for d in range(rank):
        batch *= sizes[d]
    for number in range(batch):
        rest, left, right = number, x, w
        for d in range(rank - 1, -1, -1):
            left += rest % sizes[d] * sizes[rank + d] * BYTES
            right += rest % sizes[d] * sizes[2 * rank + d] * BYTES
            rest //= sizes[d]
        target = y + number * m * n * BYTES
        if m >= FEW:
            pack(right, packed, k, n, k_stride, n_stride)
            product(left, (1, 0, m, m_stride), k, packed, n, zeros, 0, target, n, 0)
            continue
        for row in range(m):
            if n_stride == 1:
                _along_rows(left + row * m_stride * BYTES, right, target + row * n * BYTES, k, n, k_stride)
            else:
                _along_columns(
                    left + row * m_stride * BYTES, right, target + row * n * BYTES, k, n, k_stride, n_stride
                )
