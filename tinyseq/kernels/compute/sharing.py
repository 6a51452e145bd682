"""Work that a call shares with a team of threads; see ``kernels/team``.

Two words of a context stand for the team: the address of what tells of it (0 where the call has none), and
how many share at present, 0 if the call does not hold it. Kernels get the words' address, or 0.

A task is int64 words: which kind it is of, see ``parts.py``, and what its parts must know. All parts are run,
by whom and when is left open: they write to different places, and none reads what another one writes.
"""

from __future__ import annotations

from numba import types

from tinyseq.kernels.llvm.intrinsics import called, compiled, integers, part_address

COUNT, LEAST, LEAST_ASLEEP, CLAIM, SHARE, RELEASE = range(6)
"""Words of what tells of a team: how many may share, how many multiplications are worth a share by members
that are awake, and how many are worth waking them, and the addresses of its functions."""

LAYER, PRODUCTS = range(2)
"""Kinds of tasks: rows of a layer; from ``PRODUCTS`` on products, one kind for each element of weights."""

PART = types.int64(types.int64, types.int64, types.int64)
"""The signature of what runs a part, ``run(task, part, parts)``."""


FEW_ROWS = 4
"""A product of fewer rows takes as long as one of so many: as long as reading its weights."""


@compiled()
def work_of(rows, k, n):
    """How many multiplications take as long as those of x[rows, k] w[k, n]."""
    return max(rows, FEW_ROWS) * k * n


@compiled()
def sharing(team, work):
    """How many share so many multiplications: 1 where these are too few, or others have the team."""
    if team == 0:
        return 1
    words = integers(team)
    if words[0] == 0:
        return 1
    seats = integers(words[0])
    if work < seats[LEAST]:
        return 1
    if words[1] == 0 and work >= seats[LEAST_ASLEEP]:
        words[1] = called(seats[CLAIM], seats[COUNT], 0, 0)
    return max(words[1], 1)


@compiled()
def share(team, task, parts):
    """Runs all parts of a task."""
    called(integers(integers(team)[0])[SHARE], part_address(), task, parts)


@compiled()
def let_go(team):
    """Ends what a call shares."""
    words = integers(team)
    if words[1] != 0:
        called(integers(words[0])[RELEASE], 0, 0, 0)
        words[1] = 0
