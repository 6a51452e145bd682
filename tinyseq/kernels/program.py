"""Programs put together by hand: instructions for the machine, over arrays of Python's own."""

from __future__ import annotations

from ctypes import addressof, c_char, c_void_p

import numpy as np

from tinyseq.kernels import library
from tinyseq.kernels.instructions import CONTEXT, FUNCTION_CODES, OPCODES, SEGMENT_SHIFT


def float_word(value: float) -> int:
    """The int64 word that holds a float64."""
    return int(np.float64(value).view(np.int64))


def address(array: np.ndarray) -> int:
    """Where an array lies."""
    try:
        # A quarter of the time of ``ndarray.ctypes`` and ``__array_interface__``.
        return addressof(c_char.from_buffer(array))
    except (TypeError, ValueError):
        # An array that is read-only or empty, or one of a device.
        seen = getattr(array, "__array_interface__", None)
        return array.address if seen is None else seen["data"][0]  # type: ignore[attr-defined]


class Buffer:
    """A C-contiguous array and the address where it lies; ``mirror`` is its copy on a device, if any."""

    __slots__ = ("address", "array", "mirror")

    def __init__(self, array: np.ndarray) -> None:
        self.mirror: object = None
        self.move(array)

    def move(self, array: np.ndarray) -> None:
        """Stands for another array from now on; programs that have run are told by ``Program.moved``."""
        self.array = array
        self.address = address(array)


Operand = int | Buffer | tuple[Buffer, int]

_JUMP = 3
"""Words that a jump takes."""


class Program:
    """Instructions that one native call runs one after the other, outside the GIL.

    An operand is an integer, a ``Buffer``, which stands for its address, or a buffer and an offset in bytes.
    Nothing is added once a program has run.
    """

    runnable = True
    """Whether there is a kernel for every instruction."""

    def __init__(self) -> None:
        self._words: list[int] = []
        self._segments: dict[Buffer, int] = {}
        self._kept: list[object] = []
        self._context: np.ndarray | None = None

    def add(self, instruction: str, *operands: Operand) -> int:
        """Appends an instruction, its operands as in the table; gives the place by which ``run`` names it."""
        words, segments = self._words, self._segments
        place = len(words)
        words += (OPCODES[instruction], len(operands) + 2)
        for operand in operands:
            kind = type(operand)
            if kind is int:
                words.append(operand)
            else:
                buffer, offset = operand if kind is tuple else (operand, 0)
                words.append(segments.setdefault(buffer, len(segments)) << SEGMENT_SHIFT | offset)
        return place

    def keep(self, what: object) -> None:
        """Keeps alive what its buffers point into, as long as the program lives."""
        self._kept.append(what)

    def copy(self, source: Buffer, target: Buffer) -> None:
        """Appends what copies an array of float32 or int64 into another one of its size."""
        count, step = source.array.size, source.array.itemsize
        code = FUNCTION_CODES["copy", "f" if source.array.dtype == np.float32 else "i"]
        self.add("elementwise", code, source, source, source, target, 1, count, *[step] * 4)

    def repeat(self, condition: Operand) -> None:
        """Appends what begins again from the first instruction as long as a word in memory is not zero."""
        self.add("jump_unless", condition, _JUMP)
        self.add("jump", -len(self._words) - _JUMP)

    def changed(self, *buffers: Buffer) -> None:
        """Says that Python has written to the arrays of some buffers; of all of them, if none is named."""

    def fetch(self) -> None:
        """Brings what has been computed to where Python reads it."""

    def _seal(self) -> None:
        # Addresses only: the program and the buffers must live as long as they do.
        self._program = np.array(self._words, np.int64)
        self._start = address(self._program)
        self._context = np.zeros(CONTEXT + len(self._segments), np.int64)
        self._context[:2] = self._start, len(self._words)
        self._address = c_void_p(address(self._context))
        self._run = library.load().tinyseq_run
        self.moved()

    def moved(self) -> None:
        """Takes notice of where the buffers lie now."""
        if self._context is not None:
            self._context[CONTEXT:] = [buffer.address for buffer in self._segments]

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
