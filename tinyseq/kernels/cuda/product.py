"""The matrix product of packed weights; the twins of ``tinyseq.kernels.compute.product``.

A block computes a tile of y; see ``multiplying.py``. Every element of y is its start and then the terms of k
in ascending order, one fma each: whatever the form of the tiles, the rows and columns beside it, its bits are
the same. In another precision than ``EXACT`` a tensor core adds up terms of several steps at a time.
"""

from __future__ import annotations

import math
from functools import cache

from numba import types
from numpy import float32, int64, uint32

from tinyseq.kernels.cuda.cores import CORES
from tinyseq.kernels.cuda.intrinsics import block, blocks, copy4, thread, threads
from tinyseq.kernels.cuda.kinds import Kind, asked_by
from tinyseq.kernels.cuda.launch import EXACT, Facts, Kernel, Launch, Tail
from tinyseq.kernels.cuda.multiplying import tile_of
from tinyseq.kernels.cuda.product_few_rows import MOST_ROWS, few_rows_linear
from tinyseq.kernels.cuda.stages import MOST_WEIGHTS, Input
from tinyseq.kernels.cuda.tiles import BYTES, WIDTH, Tile, packed, strided, tiles_of
from tinyseq.kernels.formats import FLOAT_ELEMENT
from tinyseq.kernels.instructions import PANEL
from tinyseq.kernels.llvm.intrinsics import floats, fma, integers

ZERO, ONE = float32(0), float32(1)

FORMS = (
    Tile(8, 32, 2, 1, 1, 64, 3, 1, 0.13, 0.18),
    Tile(16, 32, 2, 2, 2, 64, 3, 1, 0.26, 0.46),
    Tile(32, 64, 4, 4, 4, 32, 3, 3, 0.51, 0.75),
    Tile(32, 128, 4, 8, 4, 16, 3, 3, 0.63, 0.88),
    Tile(128, 128, 8, 8, 4, 16, 2, 2, 0.93, 1.0),
)
"""The smallest tiles first, for all products that have no more rows."""

CORE_FORMS = (
    Tile(16, 64, 2, 4, 8, 32, 4, 1, 0.24, 0.39),
    Tile(32, 64, 4, 4, 8, 32, 4, 1, 0.35, 0.49),
    Tile(32, 128, 4, 8, 8, 32, 4, 1, 0.51, 0.7),
    Tile(64, 128, 8, 8, 8, 16, 5, 1, 0.64, 0.84),
    Tile(128, 128, 8, 16, 8, 16, 4, 1, 0.86, 1.0),
)
"""``FORMS`` of tensor cores."""

MULTIPROCESSORS = 128
"""Among how many tiles are thought to be shared out; large devices have about so many."""


def tile_for(rows: int, n: int, matrices: int = 1, forms: tuple[Tile, ...] = FORMS) -> Tile:
    """The form by which products of so many rows and columns are soonest done."""
    if rows <= forms[0].rows:
        return forms[0]

    def effort(form: Tile) -> float:
        in_turn = -(-matrices * tiles_of(form, rows, n) // MULTIPROCESSORS)
        return in_turn * form.rows * form.columns / (form.rate if in_turn > 2 else form.alone)

    return min(forms, key=effort)


def _fetch(target, place, address, left):
    copy4(target, place, address)
    return ZERO


def _keep(target, place, value):
    return


def _begin(start):
    return floats(start)[0]


def _finish(total, row_total, column, w, k, n, start, scale, zero_point):
    return total


def _put(y, value):
    floats(y)[0] = value


FLOAT_KIND = Kind(
    types.float32, FLOAT_ELEMENT.per, BYTES, ZERO, ONE, False, True, _fetch, _keep, fma, _begin, _finish, _put
)


@cache
def product_of(kind: Kind, form: Tile):
    """``product``: the tile of a number, of packed weights."""
    tile = tile_of(kind, form, packed(form, kind.cores is not None))

    def product(
        number, x, outer, outer_stride, inner, inner_stride, k, w, n, start, start_stride, y, y_stride,
        scale, zero_point,
    ):  # fmt: skip
        tile(
            number, x, outer, outer_stride, inner, inner_stride, k, w, n, start, start_stride, y, y_stride,
            scale, zero_point, 0, 0,
        )  # fmt: skip

    return product


@cache
def _linear_of(form: Tile, precision: str) -> Kernel:
    kind = FLOAT_KIND if precision == EXACT else FLOAT_KIND._replace(cores=CORES[precision])
    product = product_of(kind, form)

    def linear(x, outer, outer_stride, inner, inner_stride, k, w, n, bias, y, y_stride):
        product(block(), x, outer, outer_stride, inner, inner_stride, k, w, n, bias, 0, y, y_stride, 0, 0)

    return Kernel(linear, form.threads, form.resident, shared=asked_by(kind, form))


def linear_floats(
    x: int, outer: int, outer_stride: int, inner: int, inner_stride: int, k: int, w: int, n: int, bias: int,
    y: int, y_stride: int, rounded: int, lengths: int, flags: int, facts: Facts,
) -> list[Launch]:  # fmt: skip
    """``linear`` with float32, of all frames."""
    rows = outer * inner
    if 0 < rows <= MOST_ROWS and n > 0 and facts.precision == EXACT and k * n < MOST_WEIGHTS:
        feed = Input(x, outer_stride, inner, inner_stride, k, w, bias).fed(0, rows)
        if feed is not None:
            return [few_rows_linear(feed, rows, n, y, y_stride)]
    form = tile_for(rows, n, forms=FORMS if facts.precision == EXACT else CORE_FORMS)
    arguments = (x, outer, outer_stride, inner, inner_stride, k, w, n, bias, y, y_stride)
    return launched(_linear_of(form, facts.precision), tiles_of(form, rows, n), arguments)


def launched(kernel: Kernel, tiles: int, arguments: tuple[int, ...]) -> list[Launch]:
    """A block for each tile."""
    return [Launch(kernel, tiles, kernel.threads, arguments, kernel.shared)] if tiles else []


def _corner(x, w, rest, rank, sizes):
    """The addresses of a pair of matrices, by its number."""
    for d in range(rank - 1, -1, -1):
        place = int64(rest % uint32(sizes[d]))
        x += place * sizes[rank + d] * BYTES
        w += place * sizes[2 * rank + d] * BYTES
        rest //= uint32(sizes[d])
    return x, w


def _products(x, w, y, m, k, n, m_stride, k_stride, n_stride, matrices, rank, dims):
    """A thread computes elements of y, by their number there."""
    for index in range(block() * threads() + thread(), matrices * m * n, blocks() * threads()):
        cell, column = uint32(index) // uint32(n), int64(uint32(index) % uint32(n))
        row = int64(cell % uint32(m))
        a, b = _corner(x, w, cell // uint32(m), rank, integers(dims))
        left, right = floats(a + row * m_stride * BYTES), floats(b + column * n_stride * BYTES)
        total = ZERO
        for i in range(k):
            total = fma(left[i], right[i * k_stride], total)
        floats(y)[index] = total


@cache
def _products_of(form: Tile, along_k: bool) -> Kernel:
    """The kernel for more rows; w is read along k or along its columns."""
    tile = tile_of(FLOAT_KIND, form, strided(form, along_k))

    def products(x, w, y, zeros, m, k, n, m_stride, k_stride, n_stride, tiles, rank, dims):
        pair = uint32(block()) // uint32(tiles)
        number = block() - int64(pair) * tiles
        target = y + int64(pair) * m * n * BYTES
        a, b = _corner(x, w, pair, rank, integers(dims))
        tile(number, a, 1, 0, m, m_stride, k, b, n, zeros, 0, target, n, 0, 0, k_stride, n_stride)

    return Kernel(products, form.threads, shared=asked_by(FLOAT_KIND, form))


_one_each = Kernel(_products)


def products(
    x: int, w: int, y: int, packed: int, zeros: int, m: int, k: int, n: int, m_stride: int, k_stride: int,
    n_stride: int, rank: int, dims: Tail,
) -> list[Launch]:  # fmt: skip
    matrices = math.prod(dims.values[:rank])
    strides = m_stride, k_stride, n_stride
    if m < FORMS[0].rows:
        return _one_each.over(matrices * m * n, x, w, y, m, k, n, *strides, matrices, rank, dims.address)
    form = tile_for(m, n, matrices)
    tiles = tiles_of(form, m, n)
    kernel = _products_of(form, k_stride == 1 and n_stride != 1)
    arguments = (x, w, y, zeros, m, k, n, *strides, tiles, rank, dims.address)
    return launched(kernel, matrices * tiles, arguments)


def _pack(x, w, k, n, k_stride, n_stride):
    """Each thread packs elements of w, by their number there."""
    source, target = floats(x), floats(w)
    padded = (n + PANEL - 1) // PANEL * PANEL
    for index in range(block() * threads() + thread(), k * padded, blocks() * threads()):
        first = int64(uint32(index) // uint32(WIDTH * k)) * WIDTH
        width = min(padded - first, WIDTH)
        rest = uint32(index - first * k)
        row, column = int64(rest // uint32(width)), first + int64(rest % uint32(width))
        target[index] = source[row * k_stride + column * n_stride] if column < n else ZERO


_packing = Kernel(_pack)


def pack(x: int, w: int, k: int, n: int, k_stride: int, n_stride: int) -> list[Launch]:
    return _packing.over(k * -(-n // PANEL) * PANEL, x, w, k, n, k_stride, n_stride)
