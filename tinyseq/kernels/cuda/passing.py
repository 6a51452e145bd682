"""Weights that pass by once, from wherever they are into shared memory, where they are multiplied.

They come in stages, of ``STEPS`` steps of k each: the weights of a block's columns, those of a step side by
side, then as many numbers of each row that is multiplied with them. While one stage is multiplied, the next
ones are on their way.
"""

from __future__ import annotations

from numpy import int64, uint32

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.cuda.intrinsics import copied, copy4, copy16, four
from tinyseq.kernels.cuda.stages import COLUMNS, QUADS
from tinyseq.kernels.cuda.tiles import BYTES
from tinyseq.kernels.llvm.intrinsics import fma

BRINGERS = 256
"""Threads that have weights copied."""

STEPS = 128
"""Steps of k of a stage."""

STAGES, STAGES_ELSEWHERE = 4, 2
"""Stages that there is room for at a time on devices whose blocks may have 160 KB of shared memory, and on
others."""

LINKS, SHORT_LINKS = 64, 8
"""Terms of a column's sum that a thread reads ahead, and of what is left of it."""


def stages_on(capability: tuple[int, int]) -> int:
    """Stages that a device has room for, two of them side by side."""
    return STAGES if capability in ((8, 0), (8, 7)) or capability[0] in (9, 10) else STAGES_ELSEWHERE


def arriving(stages: int):
    """An intrinsic that waits for the oldest of ``stages`` - 1 that this thread has asked for."""
    return copied(stages - 2)


def stage_floats(rows_each: int) -> int:
    """Numbers of a stage."""
    return STEPS * (COLUMNS + rows_each)


def stages_of(k: int) -> int:
    """Stages of a sum over k."""
    return -(-k // STEPS)


def bringing(rows_each: int, wide: bool):
    """``bring(number, me, w, at, lines, k, here, start)``: has a stage copied to shared memory from ``start``
    on, of columns that are ``at`` their places of w, see ``stages.quads_of``, and of rows that begin at the
    addresses ``lines``, 0 for zeros. What lies behind k is zero."""
    apart = BRINGERS // QUADS
    passes, columns = STEPS // apart, 1 if wide else 4

    def bring_all(me, w, first, at, here, target):
        """Of a whole stage."""
        for j in range(columns):
            own = w + int64(uint32(at[2 * j] + uint32(first) * at[2 * j + 1])) * BYTES
            hop = int64(uint32(at[2 * j + 1] * uint32(apart * BYTES)))
            for i in range(passes):
                if wide:
                    copy16(here, target + i * apart * COLUMNS, own + i * hop)
                else:
                    copy4(here, target + i * apart * COLUMNS + j, own + i * hop)

    def bring_some(me, w, first, left, at, here, target):
        """Of a stage of which fewer steps are ``left``."""
        for i in range(passes):
            place = target + i * apart * COLUMNS
            for j in range(columns):
                step = uint32(first + i * apart)
                if i * apart >= left:
                    for c in range(4 // columns):
                        here[place + j + c] = ZERO
                elif wide:
                    copy16(here, place, w + int64(uint32(at[0] + step * at[1])) * BYTES)
                else:
                    copy4(here, place + j, w + int64(uint32(at[2 * j] + step * at[2 * j + 1])) * BYTES)

    def bring(number, me, w, at, lines, k, here, start):
        first = number * STEPS + me // QUADS
        target, left = start + me // QUADS * COLUMNS + me % QUADS * 4, k - first
        if left >= STEPS - me // QUADS:
            bring_all(me, w, first, at, here, target)
        else:
            bring_some(me, w, first, left, at, here, target)
        if me < STEPS:
            step = number * STEPS + me
            for n in range(rows_each):
                place = start + STEPS * (COLUMNS + n) + me
                if step < k and lines[n] != 0:
                    copy4(here, place, lines[n] + step * BYTES)
                else:
                    here[place] = ZERO

    return bring


def rows_from(x, stride, first_row, rows, rows_each, lines):
    """Where the rows of a block begin, those behind the last one where that does."""
    for n in range(rows_each):
        lines[n] = x + min(first_row + n, rows - 1) * stride * BYTES


def _linked(count: int):
    """``linked(total, ws, xs, here)``: ``total`` and so many terms."""

    def linked(total, ws, xs, here):
        for i in range(0, count, 4):
            a, b, c, d = four(here, xs + i)
            at = ws + i * COLUMNS
            total = fma(a, here[at], total)
            total = fma(b, here[at + COLUMNS], total)
            total = fma(c, here[at + 2 * COLUMNS], total)
            total = fma(d, here[at + 3 * COLUMNS], total)
        return total

    return linked


_many_linked, _few_linked = _linked(LINKS), _linked(SHORT_LINKS)


def chained(total, column, row, here, start, left):
    """``total`` and a column's terms of a stage's row, of which so many are ``left`` if any, one fma each."""
    count = max(min(left, STEPS), 0)
    ws, xs = start + column, start + STEPS * (COLUMNS + row)
    many, few = count // LINKS * LINKS, count // SHORT_LINKS * SHORT_LINKS
    for first in range(0, many, LINKS):
        total = _many_linked(total, ws + first * COLUMNS, xs + first, here)
    for first in range(many, few, SHORT_LINKS):
        total = _few_linked(total, ws + first * COLUMNS, xs + first, here)
    for i in range(few, count):
        total = fma(here[xs + i], here[ws + i * COLUMNS], total)
    return total
