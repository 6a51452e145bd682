"""One frame of a recurrent layer: the product with the state and the cells, by one launch.

Weights pass by up to ``FEW_ROWS`` rows, and by more in few frames of a layer that has the same bits for any,
see ``frame_few_rows.py``; others have tiles of weights, see ``frame_many_rows.py``. So the last bits of a row
of another layer depend on which side of ``FEW_ROWS`` the batch is, and on nothing else beside it.
"""

from __future__ import annotations

from functools import cache

from numpy import int64, uint32

from tinyseq.errors import UnsupportedError
from tinyseq.kernels.compute.rows import reading
from tinyseq.kernels.cuda.committing import Commit
from tinyseq.kernels.cuda.frame_few_rows import few_rows
from tinyseq.kernels.cuda.frame_many_rows import many_rows
from tinyseq.kernels.cuda.intrinsics import block, blocks, thread, threads
from tinyseq.kernels.cuda.launch import Facts, Kernel, Launch
from tinyseq.kernels.cuda.product import BYTES
from tinyseq.kernels.cuda.stages import MOST_WEIGHTS, Feed, Frame, Product, Stage, state_before

FEW_ROWS = 16
"""Rows up to which threads share k."""


@cache
def _cells_of(stage: Stage) -> Kernel:
    known, apart, finish = stage.known, stage.apart, stage.finish
    read, read_s = reading(known), reading(known * apart)

    def cells(rows, units, frame: Frame):
        for i in range(block() * threads() + thread(), rows * units, blocks() * threads()):
            n, j = int64(uint32(i) // uint32(units)), int64(uint32(i) % uint32(units))
            skip = n * frame.stride * BYTES
            x, s = read(frame.gates + skip, units, j), read_s(frame.sums + skip, units, j)
            c, h = state_before(n, j, units, frame)
            finish(x, s, c, h, n, j, units, frame)

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
    facts: Facts,
    few: bool,
    feed: Feed | None = None,
    commit: Commit | None = None,
) -> list[Launch]:
    """A frame of ``units`` of each row: ``source``, an address of rows of ``k`` and their stride, times
    the matrix, and the cells. Those by which weights pass, as ``few`` says, may be fed, and commit their
    state."""
    if k * product.columns >= MOST_WEIGHTS or (feed and feed.k * product.columns >= MOST_WEIGHTS):
        raise UnsupportedError(
            f"a layer of {units} units has more weights than a device takes, {MOST_WEIGHTS}; load with "
            "device='cpu'"
        )
    if few:
        return [few_rows(stage, source, k, rows, units, frame, product, feed, facts, commit)]
    wide = all(number % 4 == 0 for number in (units, k, source[0] // BYTES, source[1]))
    return [many_rows(stage, source, k, rows, units, frame, product, wide)]
