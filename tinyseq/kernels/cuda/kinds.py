"""What is multiplied in tiles: kinds of numbers, and how rows of them come into shared memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from numba import types

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.cuda.intrinsics import copy4, copy16
from tinyseq.kernels.cuda.launch import DEFAULT_SHARED
from tinyseq.kernels.cuda.tiles import BYTES, SPARE, Tile, share

ROW_SPARE = 8
"""Elements between rows of x in shared memory whose steps lie beside each other."""


class Cores(NamedTuple):
    """How a warp multiplies matrices of 16 rows and 8 columns, ``depth`` steps of k at once.

    ``rounded(first, second)`` makes one operand of the ``per`` steps of k that it holds; ``multiply`` takes
    four operands of x, two of w and four sums, and gives the sums.
    """

    depth: int
    per: int
    rounded: Callable
    multiply: Callable


class Kind(NamedTuple):
    """What is multiplied: ``element`` holds ``per`` steps of k, ``size`` are a step's bytes in x.

    An element of x is on its way to a place in shared memory by ``value = fetch(target, place, address,
    left)``, a row having so many steps ``left`` from it on, and there after ``keep(target, place, value)``.
    ``begin(start)`` begins a sum, start being an address, to which ``add`` adds terms, and ``finish(total,
    row_total, column, w, k, n, start, scale, zero_point)`` makes of it what ``put`` puts to an address of y.
    Those that are ``plain`` begin with four float32 and end as four. Where they are ``summed``, row totals
    are the row of x times ``one``. Where ``cores`` are given, a warp multiplies together and rounds first.
    """

    element: types.Type
    per: int
    size: int
    zero: object
    one: object
    summed: bool
    plain: bool
    fetch: Callable
    keep: Callable
    add: Callable
    begin: Callable
    finish: Callable
    put: Callable
    cores: Cores | None = None


class Rows(NamedTuple):
    """How rows of x come into shared memory, in ``size`` elements for each stage: a thread brings ``each`` of
    them, of ``passes`` rows. ``line(me, i)`` is the number of one in the tile, ``step(me)`` the first step
    of k that the thread brings. From the addresses where those are, ``fetch(me, target, start, left, at,
    values)`` brings what is there of a stage, so many steps of k being ``left``, and ``keep(me, target,
    start, values)`` what it could not bring at once."""

    size: int
    each: int
    passes: int
    line: Callable
    step: Callable
    fetch: Callable
    keep: Callable


def by_steps(kind: Kind, form: Tile) -> Rows:
    """Steps of k one after the other, of all rows each."""
    pitch, per, size, fetch_one, keep_one = form.rows + SPARE, kind.per, kind.size, kind.fetch, kind.keep
    each, passes, line, step_of = share(form.rows, form.steps, form.threads)

    def fetch(me, target, start, left, at, values):
        for i in range(each):
            step, further = step_of(me, i), (step_of(0, i) - step_of(0, 0)) * per
            if step * per < left:
                place = start + step * pitch + line(me, i)
                values[i] = fetch_one(target, place, at[i % passes] + further * size, left - step * per)

    def keep(me, target, start, values):
        for i in range(each):
            keep_one(target, start + step_of(me, i) * pitch + line(me, i), values[i])

    return Rows(form.steps * pitch, each, passes, line, lambda me: step_of(me, 0), fetch, keep)


def by_rows(form: Tile) -> Rows:
    """Rows of float32 one after the other, zeros after their last steps."""
    pitch, quads, count, steps = form.steps + ROW_SPARE, form.steps // 4, form.threads, form.steps
    each = form.rows * quads // count

    def line(me, i):
        return me // quads + i * (count // quads)

    def step_of(me):
        return me % quads * 4

    def fetch_one_by_one(me, target, start, left, at):
        for i in range(each):
            place = start + line(me, i) * pitch + step_of(me)
            for j in range(4):
                if step_of(me) + j < left:
                    copy4(target, place + j, at[i] + j * BYTES)
                else:
                    target[place + j] = ZERO

    def fetch(me, target, start, left, at, values):
        bits = at[0]
        for i in range(1, each):
            bits |= at[i]
        if left >= steps and bits % 16 == 0:
            for i in range(each):
                copy16(target, start + line(me, i) * pitch + step_of(me), at[i])
        else:
            fetch_one_by_one(me, target, start, left, at)

    def keep(me, target, start, values):
        return

    return Rows(form.rows * pitch, each, each, line, step_of, fetch, keep)


def rows_of_x(kind: Kind, form: Tile) -> Rows:
    """How rows of x come into shared memory."""
    return by_steps(kind, form) if kind.cores is None else by_rows(form)


def held_by(kind: Kind, form: Tile) -> int:
    """Elements that a block has in shared memory."""
    return form.stages * (rows_of_x(kind, form).size + form.steps * (form.columns + SPARE))


def asked_by(kind: Kind, form: Tile) -> int:
    """How many bytes of shared memory the launches of a tile's kernel ask for."""
    size = held_by(kind, form) * BYTES
    return size if size > DEFAULT_SHARED else 0
