"""The end of a layer's last launch, which brings the state to where it is kept.

A frame is computed apart from the state that it reads, as other blocks may still read that. When all of them
are done, the last one looks whether all of the new state is finite, as the instructions behind the layer ask,
and copies it. Blocks that are one cluster tell each other, and then each copies what it has computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from numba import types
from numpy import int32

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.cuda.clusters import CLUSTERS_SINCE, cluster_arrive, cluster_wait, neighbour
from tinyseq.kernels.cuda.exchange import CLUSTER
from tinyseq.kernels.cuda.intrinsics import (
    arrive_in_turn,
    barrier,
    block,
    blocks,
    load_fresh,
    registers,
    shared,
    thread,
)
from tinyseq.kernels.cuda.launch import Facts
from tinyseq.kernels.cuda.tiles import BYTES
from tinyseq.kernels.llvm.intrinsics import floats, integers

KEPT = 4
"""Numbers of a state that a thread has at once."""

COUNTER = 8
"""Where at ``Facts.meeting`` the blocks that are done are counted."""

UNCHECKED = -1
"""The check of a state that may be anything."""


class Commit(NamedTuple):
    """Two states: the address of the new ``count`` float32, where they are kept, and the place in the program
    of the instruction that fails unless they are finite, or ``UNCHECKED``; the first one fails first. One
    that is not there counts 0. ``counter`` is the address of an int32, zero between launches."""

    first: int
    first_kept: int
    first_count: int
    first_check: int
    second: int
    second_kept: int
    second_count: int
    second_check: int
    counter: int


NO_COMMIT = Commit(0, 0, 0, UNCHECKED, 0, 0, 0, UNCHECKED, 0)

_said = shared(types.int32, 3)


def most_together(facts: Facts) -> int:
    """Blocks that can commit as one cluster."""
    return CLUSTER if facts.capability >= CLUSTERS_SINCE else 0


def begin_together(me):
    """What all threads of a cluster do before ``commit_together``."""
    said = _said()
    if me == 0:
        said[1] = said[2] = int32(0)
    cluster_arrive()


def commit_together(status, given: Commit, me, at, mine, going):
    """What all threads of a cluster, which is the whole grid, do at the end: one whose number it is, if
    ``mine``, has left number ``at`` of each state."""
    said = _said()
    cluster_wait()
    first = load_fresh(given.first + at * BYTES) if mine and going else ZERO
    second = load_fresh(given.second + at * BYTES) if mine and going and given.second_count > 0 else ZERO
    if first - first != ZERO or second - second != ZERO:
        for member in range(blocks()):
            if first - first != ZERO:
                neighbour(said, member)[1] = int32(1)
            if second - second != ZERO:
                neighbour(said, member)[2] = int32(1)
    cluster_arrive()
    cluster_wait()
    fails_first = said[1] != 0 and given.first_check != UNCHECKED
    fails_second = said[2] != 0 and given.second_check != UNCHECKED
    if fails_first or fails_second:
        if block() == 0 and me == 0:
            integers(status)[0] = given.first_check if fails_first else given.second_check
    elif mine and going:
        floats(given.first_kept)[at] = first
        if given.second_count > 0:
            floats(given.second_kept)[at] = second


def committing(size: int) -> Callable[..., None]:
    """``commit(status, given)``: what all threads of a block of ``size`` do when they have written all."""
    numbers, reach = registers(types.float32, 2 * KEPT), KEPT * size

    def bring(given: Commit, start, own):
        for i in range(KEPT):
            at = start + i * size
            own[i] = load_fresh(given.first + at * BYTES) if at < given.first_count else ZERO
            own[KEPT + i] = load_fresh(given.second + at * BYTES) if at < given.second_count else ZERO

    def look(own, said):
        for i in range(KEPT):
            if own[i] - own[i] != ZERO:
                said[1] = int32(1)
            if own[KEPT + i] - own[KEPT + i] != ZERO:
                said[2] = int32(1)

    def keep(given: Commit, start, own):
        for i in range(KEPT):
            at = start + i * size
            if at < given.first_count:
                floats(given.first_kept)[at] = own[i]
            if at < given.second_count:
                floats(given.second_kept)[at] = own[KEPT + i]

    def commit(status, given: Commit):
        me, said, own = thread(), _said(), numbers()
        barrier()
        if me == 0:
            last = int32(blocks() - 1)
            said[0] = int32(arrive_in_turn(given.counter, last) == last)
            said[1] = said[2] = int32(0)
        barrier()
        if said[0] != 0:
            most = max(given.first_count, given.second_count)
            for start in range(0, most, reach):
                bring(given, start + me, own)
                look(own, said)
            barrier()
            if said[1] != 0 and given.first_check != UNCHECKED:
                integers(status)[0] = given.first_check
            elif said[2] != 0 and given.second_check != UNCHECKED:
                integers(status)[0] = given.second_check
            else:
                for start in range(0, most, reach):
                    if most > reach:
                        bring(given, start + me, own)
                    keep(given, start + me, own)

    return commit
