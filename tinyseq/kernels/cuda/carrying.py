"""Small arrays on their way between the host and the device, several by one launch.

The driver's own copies are a piece of work each, which for few bytes takes longer than a launch. The device
reads and writes memory of the host that is staged by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tinyseq.kernels.cuda.intrinsics import block, blocks, thread, threads
from tinyseq.kernels.cuda.launch import Kernel, Launch
from tinyseq.kernels.llvm.intrinsics import integers32, octets

MOST_BYTES = 2**16
"""Bytes of an array up to which it is carried so."""

THREADS = 128

WORD = 4


class Carried(NamedTuple):
    """So many bytes from one address to another, both of them multiples of four."""

    target: int
    source: int
    bytes: int


AT_ONCE = 4
"""Arrays of a launch."""

NONE = Carried(0, 0, 0)


def _carry_one(one: Carried):
    words = one.bytes // WORD
    for i in range(block() * threads() + thread(), words, blocks() * threads()):
        integers32(one.target)[i] = integers32(one.source)[i]
    if block() == 0:
        for i in range(words * WORD + thread(), one.bytes, threads()):
            octets(one.target)[i] = octets(one.source)[i]


def _carry(status, first: Carried, second: Carried, third: Carried, fourth: Carried):
    """Whatever the status is: it is among what is carried."""
    _carry_one(first)
    _carry_one(second)
    _carry_one(third)
    _carry_one(fourth)


_carrying = Kernel(_carry, THREADS, asks=True)


def carrying(arrays: Sequence[Carried]) -> list[Launch]:
    """The launches that carry arrays."""
    launches = []
    for start in range(0, len(arrays), AT_ONCE):
        some = arrays[start : start + AT_ONCE]
        words = -(-max(one.bytes for one in some) // WORD)
        given = (*some, *[NONE] * (AT_ONCE - len(some)))
        arguments = [number for one in given for number in one]
        launches.append(
            Launch(_carrying, -(-words // THREADS), min(THREADS, -(-words // 32) * 32), arguments)
        )
    return launches
