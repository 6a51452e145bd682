"""Jumps: how branches and loops choose the next instruction, and how one program runs another.

A jump returns the distance in words from the end of its row to the row that comes next.
"""

from __future__ import annotations

from tinyseq.kernels.instructions import FAILED
from tinyseq.kernels.llvm.intrinsics import compiled, integers, nested

ONWARD = 0


@compiled()
def jump(distance):
    """Jumps always."""
    return distance


@compiled()
def jump_unless(condition, distance):
    """Jumps where the condition, an integer, is zero."""
    return ONWARD if integers(condition)[0] != 0 else distance


@compiled()
def turn(counter, trips, distance):
    """Counts a turn of a loop; jumps out of it once the counter has reached the number of trips."""
    count = integers(counter)
    count[0] += 1
    return distance if count[0] >= trips else ONWARD


@compiled()
def spend(left):
    """Takes one of what is left; fails where nothing is."""
    count = integers(left)
    if count[0] <= 0:
        return FAILED
    count[0] -= 1
    return ONWARD


@compiled()
def run(context, place):
    """Runs the program of a context; fails as it does, and leaves in ``place`` what failed there."""
    failed = nested(context)
    integers(place)[0] = failed
    return ONWARD if failed < 0 else FAILED
