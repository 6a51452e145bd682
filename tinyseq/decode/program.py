"""Programs of a search: rows of the machine that Python puts together and runs on its own arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from tinyseq.kernels import library
from tinyseq.kernels.instructions import INSTRUCTIONS, OPCODES, SEGMENT_SHIFT

_OPERANDS = {row.name: row.operands for row in INSTRUCTIONS}


def float_word(value: float) -> int:
    """The int64 word that holds a float64."""
    return int(np.float64(value).view(np.int64))


def address(array: np.ndarray) -> int:
    """Where an array lies; quicker than ``ndarray.ctypes``."""
    return array.__array_interface__["data"][0]


class Program:
    """Instructions on NumPy arrays, run by one native call.

    An operand is a number, an array (C-contiguous; its address), or last a list of words. ``words`` may be
    written to between runs; ``places`` tells where an operand stands, ``bind`` puts another array in its
    place.
    """

    def __init__(self, *rows: tuple[str, dict[str, object]]) -> None:
        arrays: list[np.ndarray] = []
        words: list[int] = []
        self._places: dict[str, list[int]] = {}
        self._segments: dict[str, list[int]] = {}
        for name, operands in rows:
            start = len(words)
            words += (OPCODES[name], 0)
            for operand in _OPERANDS[name]:
                key = operand.lstrip("&*")
                self._places.setdefault(key, []).append(len(words))
                value = operands[key]
                if operand[0] == "&":
                    self._segments.setdefault(key, []).append(len(arrays))
                    words.append(len(arrays) << SEGMENT_SHIFT)
                    arrays.append(value)
                elif operand[0] == "*":
                    words += value
                else:
                    words.append(value)
            words[start + 1] = len(words) - start
        program = np.array(words, np.int64)
        # A view of bytes takes a number in a third of the time that an array does.
        self.words = memoryview(program)
        # Addresses only: the arrays must live as long as they do.
        self._alive = arrays
        addresses = [address(program), program.size, *map(address, arrays)]
        self._context = np.array(addresses, np.int64)
        self._address = ctypes.c_void_p(address(self._context))
        self._run = library.load().tinyseq_run

    def places(self, operand: str) -> list[int]:
        """Where the operands of that name stand in ``words``."""
        return self._places.get(operand, [])

    def bind(self, operand: str, array: np.ndarray) -> None:
        """Lets the operands of that name be another array."""
        for segment in self._segments.get(operand, []):
            self._alive[segment] = array
            self._context[2 + segment] = address(array)

    def run(self) -> None:
        """Runs all instructions."""
        self._run(self._address)


Rows = Sequence[tuple[str, dict[str, object]]]
