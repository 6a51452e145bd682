"""Programs of a search: instructions for the machine that runs models, over arrays of Python's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ctypes import addressof, c_char, c_void_p

import numpy as np

from tinyseq.errors import FeedError
from tinyseq.kernels import library
from tinyseq.kernels.instructions import OPCODES, SEGMENT_SHIFT

MOST_STREAMS = 1 << (62 - SEGMENT_SHIFT - 4)
"""Streams of one program: each takes up to eight segments."""


def float_word(value: float) -> int:
    """The int64 word that holds a float64."""
    return int(np.float64(value).view(np.int64))


def address(array: np.ndarray) -> int:
    """Where an array lies."""
    try:
        # A quarter of the time of ``ndarray.ctypes`` and ``__array_interface__``.
        return addressof(c_char.from_buffer(array))
    except (TypeError, ValueError):
        # An array that is read-only or empty.
        return array.__array_interface__["data"][0]


class Buffer:
    """A C-contiguous array and the address where it lies."""

    __slots__ = ("address", "array")

    def __init__(self, array: np.ndarray) -> None:
        self.move(array)

    def move(self, array: np.ndarray) -> None:
        """Stands for another array from now on; programs that have run are told by ``Program.moved``."""
        self.array = array
        self.address = address(array)


class Number:
    """An operand that may change between runs, wherever it stands."""

    __slots__ = ("_places", "_value")

    def __init__(self, value: int = 0) -> None:
        self._value = value
        self._places: list[tuple[memoryview, int]] = []

    def set(self, value: int) -> None:
        """Is another number from now on."""
        self._value = value
        for words, place in self._places:
            words[place] = value

    def stand(self, words: memoryview, place: int) -> None:
        """Is a word of a program."""
        words[place] = self._value
        self._places.append((words, place))


class Program:
    """Instructions that one native call runs one after the other, outside the GIL.

    An operand is an integer, a ``Number``, a ``Buffer``, which stands for its address, or a buffer and an
    offset in bytes. Nothing is added once a program has run.
    """

    def __init__(self) -> None:
        self._words: list[int] = []
        self._numbers: list[tuple[Number, int]] = []
        self._segments: dict[Buffer, int] = {}
        self._context: np.ndarray | None = None

    def add(self, instruction: str, *operands: int | Number | Buffer | tuple[Buffer, int]) -> int:
        """Appends an instruction, its operands as in the table; gives the place by which ``run`` names it."""
        words, segments = self._words, self._segments
        place = len(words)
        words += (OPCODES[instruction], len(operands) + 2)
        for operand in operands:
            kind = type(operand)
            if kind is int:
                words.append(operand)
            elif kind is Number:
                self._numbers.append((operand, len(words)))
                words.append(0)
            else:
                buffer, offset = operand if kind is tuple else (operand, 0)
                words.append(segments.setdefault(buffer, len(segments)) << SEGMENT_SHIFT | offset)
        return place

    def _seal(self) -> None:
        # Addresses only: the program and the buffers must live as long as they do.
        self._program = np.array(self._words, np.int64)
        self._start = address(self._program)
        words = memoryview(self._program)
        for number, place in self._numbers:
            number.stand(words, place)
        self._context = np.empty(2 + len(self._segments), np.int64)
        self._context[:2] = self._start, len(self._words)
        self._address = c_void_p(address(self._context))
        self._run = library.load().tinyseq_run
        self.moved()

    def moved(self) -> None:
        """Takes notice of where the buffers lie now."""
        if self._context is not None:
            self._context[2:] = [buffer.address for buffer in self._segments]

    def run(self) -> int:
        """Runs all instructions; -1, or the place of the one that failed and ended it."""
        if self._context is None:
            self._seal()
        return self._run(self._address)

    def resume(self, place: int) -> int:
        """Runs from the instruction in a place on, wherever the buffers lie now; as ``run``."""
        self.moved()
        self._context[:2] = self._start + place * 8, len(self._words) - place
        failed = self.run()
        self._context[:2] = self._start, len(self._words)
        return failed if failed < 0 else failed + place


def groups(count: int) -> Iterator[slice]:
    """Slices of so many streams that one program can take."""
    for start in range(0, count, MOST_STREAMS):
        yield slice(start, start + MOST_STREAMS)


def check_rows(chunks: Sequence[Buffer]) -> None:
    """Checks the rows of float32 arrays [T, V].

    Raises:
        FeedError: one holds NaN or infinity, or nothing above ``-inf``.
    """
    found = Buffer(np.zeros(1, np.int64))
    for group in groups(len(chunks)):
        program = Program()
        which = {
            program.add("usable_rows", chunk, *chunk.array.shape, found): sequence
            for sequence, chunk in enumerate(chunks[group], group.start)
        }
        failed = program.run()
        if failed >= 0:
            row = found.array[0]
            what = wrong(chunks[which[failed]].array[row])
            raise FeedError(
                f"row {row} of sequence {which[failed]} holds {what}; rows are logarithms of probabilities. "
                "Nothing was decoded"
            )


def wrong(row: np.ndarray) -> str:
    """What makes a row of scores unusable."""
    if np.isnan(row).any():
        return "NaN"
    return "infinity" if np.isposinf(row).any() else "probability zero for every token"
