"""Calls of the kernels: a few instructions over arrays, run outside the GIL in one native call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tinyseq.decode.program import address
from tinyseq.errors import FeedError
from tinyseq.kernels import library
from tinyseq.kernels.instructions import OPCODES, SEGMENT_SHIFT

Machine = Callable[[ctypes.c_void_p], int]

MOST_STREAMS = 1 << (62 - SEGMENT_SHIFT - 4)
"""Streams of one call: each takes up to eight segments."""


class Buffer:
    """An array and the address where it lies."""

    __slots__ = ("address", "array")

    def __init__(self, array: np.ndarray) -> None:
        self.move(array)

    def move(self, array: np.ndarray) -> None:
        """Stands for another array from now on."""
        self.array = array
        self.address = address(array)


class Call:
    """A native call: instructions to be run one after the other.

    An operand is an integer, a buffer, which stands for its address, or a buffer and an offset in bytes.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._words: list[int] = []
        self._segments: dict[Buffer, int] = {}

    def add(self, instruction: str, *operands: int | Buffer | tuple[Buffer, int]) -> int:
        """Appends an instruction; gives its place, by which ``run`` names it."""
        words, segments = self._words, self._segments
        place = len(words)
        words += (OPCODES[instruction], len(operands) + 2)
        for operand in operands:
            if type(operand) is int:
                words.append(operand)
                continue
            buffer, offset = operand if type(operand) is tuple else (operand, 0)
            words.append(segments.setdefault(buffer, len(segments)) << SEGMENT_SHIFT | offset)
        return place

    def run(self, start: int = 0) -> int:
        """Runs from a place on; -1, or the place of the instruction that failed and ended it.

        A buffer may have moved since the last run.
        """
        program = np.array(self._words, np.int64)
        addresses = [buffer.address for buffer in self._segments]
        context = np.array([address(program) + start * 8, program.size - start, *addresses], np.int64)
        failed = self._machine(ctypes.c_void_p(address(context)))
        return failed if failed < 0 else failed + start


def machine() -> Machine:
    """The machine of the kernels, for this process' ISA."""
    return library.load().tinyseq_run


def groups(count: int) -> Iterator[slice]:
    """Slices of so many streams that one call can take."""
    for start in range(0, count, MOST_STREAMS):
        yield slice(start, start + MOST_STREAMS)


def check_rows(machine: Machine, chunks: Sequence[Buffer]) -> None:
    """Checks the rows of float32 arrays [T, V].

    Raises:
        FeedError: one holds NaN or infinity, or nothing above ``-inf``.
    """
    found = Buffer(np.zeros(1, np.int64))
    for group in groups(len(chunks)):
        call = Call(machine)
        which = {
            call.add("usable_rows", chunk, *chunk.array.shape, found): sequence
            for sequence, chunk in enumerate(chunks[group], group.start)
        }
        failed = call.run()
        if failed >= 0:
            row = found.array[0]
            what = _wrong(chunks[which[failed]].array[row])
            raise FeedError(
                f"row {row} of sequence {which[failed]} holds {what}; rows are logarithms of probabilities. "
                "Nothing was decoded"
            )


def _wrong(row: np.ndarray) -> str:
    if np.isnan(row).any():
        return "NaN"
    return "infinity" if np.isposinf(row).any() else "probability zero for every token"
