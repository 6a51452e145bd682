"""The matrix product that a team may share; see ``sharing.py``."""

from __future__ import annotations

from functools import cache

from numba import types

from tinyseq.kernels.compute.matrix_unit import fastest_product_of
from tinyseq.kernels.compute.product import (
    ADDRESS,
    ONE_RUN,
    RUNS,
    RUNS_PRODUCT,
    SIZE,
    STRIDES,
    runs_product_of,
)
from tinyseq.kernels.compute.sharing import PART, PRODUCTS, share, sharing, work_of
from tinyseq.kernels.formats import ELEMENTS, Element
from tinyseq.kernels.instructions import BYTES, GROUP, PANEL
from tinyseq.kernels.llvm.intrinsics import compiled, integers, stack
from tinyseq.kernels.llvm.tiles import TILE_ROWS

MANY_GROUPS = 4
"""So many groups of panels for each part, and they are parts of about one size."""

SHARED = types.void(ADDRESS, STRIDES, *[SIZE] * 9)
SHARED_RUNS = types.void(ADDRESS, STRIDES, RUNS, *[SIZE] * 9)

_task = stack(types.int64, 16)


@cache
def _product_of(of: Element):
    """``runs_product_of``, or, of elements whose rows are always one run, ``fastest_product_of``."""
    if of.per == 1:
        return runs_product_of(of)
    fastest = fastest_product_of(of)

    @compiled(RUNS_PRODUCT)
    def product(x, strides, runs, k, w, n, start, start_stride, y, y_stride, turn):
        fastest(x, strides, k, w, n, start, start_stride, y, y_stride, turn)

    return product


@cache
def shared_product_of(of: Element):
    """``shared_runs_product_of``, rows of x being one run each."""
    by_runs = shared_runs_product_of(of)

    @compiled(SHARED)
    def shared_product(x, strides, k, w, n, start, start_stride, y, y_stride, turn, team):
        by_runs(x, strides, ONE_RUN, k, w, n, start, start_stride, y, y_stride, turn, team)

    return shared_product


@cache
def shared_runs_product_of(of: Element):
    """``runs_product_of``, in parts by columns, or by rows where these are many and columns few, if a team
    has the time: the same bits."""
    product, kind = _product_of(of), PRODUCTS + ELEMENTS.index(of)

    @compiled(SHARED_RUNS)
    def shared_product(x, strides, runs, k, w, n, start, start_stride, y, y_stride, turn, team):
        outer, outer_stride, inner, inner_stride = strides
        count = sharing(team, work_of(outer * inner, runs[0] * k, n))
        if count == 1:
            product(x, strides, runs, k, w, n, start, start_stride, y, y_stride, turn)
            return
        task = _task()
        words = integers(task)
        words[0], words[1] = kind, x
        words[2], words[3], words[4], words[5] = outer, outer_stride, inner, inner_stride
        words[6], words[7], words[8], words[9], words[10] = k, w, n, start, start_stride
        words[11], words[12], words[13] = y, y_stride, turn
        words[14], words[15] = runs
        share(team, task, count)

    return shared_product


@cache
def part_of_product(of: Element):
    """What runs a part of the task of a ``shared_product``."""
    product, size, unit = _product_of(of), of.size, BYTES // of.per

    @compiled(PART)
    def run(task, part, parts):
        words = integers(task)
        x, k, w, n, start, start_stride = words[1], words[6], words[7], words[8], words[9], words[10]
        outer, outer_stride, inner, inner_stride = words[2], words[3], words[4], words[5]
        y, y_stride, turn, runs = words[11], words[12], words[13], (words[14], words[15])
        groups = (n + GROUP * PANEL - 1) // (GROUP * PANEL)
        rows = inner if outer == 1 else outer
        if groups >= MANY_GROUPS * parts or rows < TILE_ROWS[0] * parts:
            first = groups * part // parts * GROUP * PANEL
            n = min(groups * (part + 1) // parts * GROUP * PANEL, n) - first
            w += first * runs[0] * k * size
            start += first * BYTES
            y += first * BYTES
        else:
            first = rows * part // parts
            count = rows * (part + 1) // parts - first
            beside = 1
            if outer == 1:
                inner = count
                x += first * inner_stride * unit
            else:
                outer, beside = count, inner
                x += first * outer_stride * unit
            start += first * beside * start_stride * BYTES
            y += first * beside * y_stride * BYTES
        strides = outer, outer_stride, inner, inner_stride
        product(x, strides, runs, k, w, n, start, start_stride, y, y_stride, turn)
        return 0

    return run
