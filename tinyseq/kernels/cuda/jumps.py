"""Jumps, decided by the host; the twins of ``tinyseq.kernels.compute.jumps``, over a memory of int64."""

from __future__ import annotations

from collections.abc import MutableMapping

from tinyseq.kernels.instructions import FAILED

ONWARD = 0


def jump(memory: MutableMapping[int, int], distance: int) -> int:
    return distance


def jump_unless(memory: MutableMapping[int, int], condition: int, distance: int) -> int:
    return ONWARD if memory[condition] != 0 else distance


def turn(memory: MutableMapping[int, int], counter: int, trips: int, distance: int) -> int:
    memory[counter] += 1
    return distance if memory[counter] >= trips else ONWARD


def spend(memory: MutableMapping[int, int], left: int) -> int:
    if memory[left] <= 0:
        return FAILED
    memory[left] -= 1
    return ONWARD
