"""The end of a layer's last launch: the block that is done last brings the state to where it is kept.

A frame is computed apart from the state that it reads, as other blocks may still read that. When all of them
are done, the last one looks whether all of the new state is finite, as the instructions behind the layer ask,
and copies it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from numba import types
from numpy import int32

from tinyseq.kernels.compute.math import ZERO
from tinyseq.kernels.cuda.intrinsics import (
    arrive_in_turn,
    barrier,
    blocks,
    load_fresh,
    registers,
    shared,
    thread,
)
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
