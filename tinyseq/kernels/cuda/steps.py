"""One frame of a recurrent layer: the product with the state, then the cells.

Up to ``FEW_ROWS`` rows both are one launch, in which the threads of a block share k: the sum is cut into
``SLICES`` runs, each summed in order from zero, which are added in order to what is there. For more rows
the product of ``product.py`` comes first and the cells are a launch of their own. So the last bits of a row
depend on which side of ``FEW_ROWS`` the batch is, and on nothing else beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from numba import types
from numpy import int64, uint32

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.cuda.intrinsics import barrier, block, blocks, registers, shared, thread, threads
from tinyseq.kernels.cuda.launch import Kernel, Launch
from tinyseq.kernels.cuda.product import FLOATS, launched, product_of, tile_for
from tinyseq.kernels.cuda.tiles import Form, column_of, tiles_of
from tinyseq.kernels.llvm.intrinsics import floats, fma

SLICES = 8
"""Runs into which the sum over k is cut."""

NARROW = 16
"""Units of a block whose threads share k."""

FEW_ROWS = 16
"""Rows up to which threads share k."""


class Stage(NamedTuple):
    """What a step computes: the products of each unit's ``gates``, then ``finish(n, j, units, frame)``, which
    makes the state of unit j of row n."""

    gates: int
    finish: Callable[..., None]


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
    state before and after.
    """

    gates: int
    stride: int
    sums: int
    before: int
    before_stride: int
    target: int
    target_stride: int
    c: int
    constants: int
    options: int
    lengths: int
    t: int
    y: int
    y_row: int
    flags: int


def _run(k):
    """The length of a run of k, whole groups of four."""
    return (k + 4 * SLICES - 1) // (4 * SLICES) * 4


@cache
def _fused_of(stage: Stage, rows_each: int) -> Kernel:
    """The kernel whose blocks take ``rows_each`` rows of ``NARROW`` units, a thread a run of k."""
    gates, finish = stage
    cells = rows_each * gates
    accumulators = registers(types.float32, cells)
    bases, strides = registers(types.int64, gates), registers(types.int64, gates)
    weights = registers(types.float32, gates)
    parts = shared(types.float32, SLICES * NARROW * cells)

    def step(source, source_stride, k, rows, units, product: Product, frame: Frame):
        across = uint32((units + NARROW - 1) // NARROW)
        unit = int64(thread() % NARROW)
        run = int64(thread() // NARROW)
        first_row = int64(uint32(block()) // across) * rows_each
        j = int64(uint32(block()) % across) * NARROW + unit
        there = min(j, units - 1)
        total, base, stride, w, part = accumulators(), bases(), strides(), weights(), parts()
        for g in range(gates):
            base[g], stride[g] = column_of(product.r, k, product.columns, g * units + there)
        for i in range(cells):
            total[i] = ZERO
        length = _run(k)
        for i in range(run * length, min(k, (run + 1) * length)):
            for g in range(gates):
                w[g] = floats(base[g])[i * stride[g]]
            for n in range(rows_each):
                x = floats(source)[min(first_row + n, rows - 1) * source_stride + i]
                for g in range(gates):
                    total[n * gates + g] = fma(x, w[g], total[n * gates + g])
        for i in range(cells):
            part[(i * SLICES + run) * NARROW + unit] = total[i]
        barrier()
        n = first_row + run
        if run < rows_each and n < rows and j < units:
            for g in range(gates):
                value = floats(product.start)[n * product.start_stride + g * units + j]
                for i in range(SLICES):
                    value += part[((run * gates + g) * SLICES + i) * NARROW + unit]
                floats(product.sums)[n * product.stride + g * units + j] = value
            finish(n, j, units, frame)

    return Kernel(step, NARROW * SLICES)


@cache
def _product_of(form: Form) -> Kernel:
    multiply = product_of(FLOATS, form)

    def add_product(source, source_stride, k, rows, product: Product):
        multiply(
            block(), source, 1, 0, rows, source_stride, k, product.r, product.columns,
            product.start, product.start_stride, product.sums, product.stride, 0, 0,
        )  # fmt: skip

    return Kernel(add_product, form.threads, form.resident, form.shared)


@cache
def _cells_of(finish: Callable[..., None]) -> Kernel:
    def cells(rows, units, frame: Frame):
        for i in range(block() * threads() + thread(), rows * units, blocks() * threads()):
            finish(int64(uint32(i) // uint32(units)), int64(uint32(i) % uint32(units)), units, frame)

    return Kernel(cells)


def finished(stage: Stage, rows: int, units: int, frame: Frame) -> list[Launch]:
    """The cells of a frame whose sums are whole."""
    return _cells_of(stage.finish).over(rows * units, rows, units, *frame)


def step(
    stage: Stage, source: tuple[int, int], k: int, rows: int, units: int, frame: Frame, product: Product
) -> list[Launch]:
    """A frame of ``units`` of each row: ``source``, an address of rows of ``k`` and their stride, times
    the matrix, and the cells."""
    if rows <= FEW_ROWS:
        each = 1 if rows == 1 else 4
        needed = -(-units // NARROW) * -(-rows // each)
        arguments = (*source, k, rows, units, *product, *frame)
        return [Launch(_fused_of(stage, each), needed, NARROW * SLICES, arguments)]
    form = tile_for(rows, product.columns)
    tiles = tiles_of(form, rows, product.columns)
    multiplied = launched(_product_of(form), tiles, (*source, k, rows, *product))
    return [*multiplied, *finished(stage, rows, units, frame)]
