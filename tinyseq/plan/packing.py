"""Weights in the layouts that the kernels read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinyseq.common import memory
from tinyseq.kernels.formats import FLOAT32, QuantizedMatrix, WeightFormat
from tinyseq.kernels.instructions import ALIGNMENT, GROUP, PANEL


def aligned(size: int) -> np.ndarray:
    """Zeroed bytes that start at a multiple of ``ALIGNMENT``.

    Raises:
        MemoryError: there are not so many.
    """
    if size > sys.maxsize - ALIGNMENT:
        raise MemoryError(f"{size} bytes are more than can be addressed")
    if size > memory.LARGE:
        memory.check(size)
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def segment(array: np.ndarray) -> np.ndarray:
    """The array's elements as an aligned, contiguous copy."""
    bytes_ = aligned(array.nbytes)
    copy = bytes_.view(array.dtype)
    copy[:] = array.ravel()
    return copy


def panels(matrix: np.ndarray | QuantizedMatrix, of: WeightFormat = FLOAT32) -> np.ndarray:
    """A matrix [k, n] as packed panels of a format, and what its columns need behind them; see
    ``kernels/compute/product.py``."""
    elements, columns = of.pack(matrix)
    (k, n), count = elements.shape, 0 if columns is None else len(columns)
    size = of.element.size * panels_size(k, n)
    whole = aligned(size + 4 * panels_size(count, n))
    packed = whole[:size].view(elements.dtype)
    for start in range(0, n, GROUP * PANEL):
        own = elements[:, start : start + GROUP * PANEL]
        width = -(-own.shape[1] // PANEL) * PANEL
        group = packed[k * start : k * (start + width)].reshape(k, width)
        group[:, : own.shape[1]] = own
    if columns is None:
        return packed
    whole[size:].view(columns.dtype).reshape(count, -1)[:, :n] = columns
    return whole


def panels_size(k: int, n: int) -> int:
    """How many elements a matrix of k rows of elements and n columns takes in panels."""
    return k * -(-n // PANEL) * PANEL


class PackedWeights:
    """What is worked out from a model's weights: each once, shared by every plan.

    Only what comes from arrays of the model itself is kept; the rest is a plan's own. ``format`` is what
    known factors of products of numbers are packed in.
    """

    def __init__(self, arrays: Iterable[np.ndarray], format: WeightFormat = FLOAT32) -> None:
        self.format = format
        self._own: dict[int, np.ndarray] = {}
        self.own(arrays)
        self._made: dict[tuple, Any] = {}
        self.notes: set[str] = set()
        self._zeros = aligned(0).view(np.float32)

    def own(self, arrays: Iterable[np.ndarray]) -> None:
        """Counts further arrays among the model's own."""
        self._own.update((id(array), array) for array in arrays)

    def zeros(self, count: int) -> np.ndarray:
        """At least ``count`` float32 zeros."""
        zeros = self._zeros
        if zeros.size < count:
            zeros = self._zeros = aligned(4 * count).view(np.float32)
        return zeros

    def owns(self, array: np.ndarray) -> bool:
        """Whether an array is of the model itself."""
        return id(array) in self._own

    def get(self, source: np.ndarray, key: object, make: Callable[[], Any]) -> Any:
        """The result of ``make`` for ``source`` and ``key``, from the first time on."""
        if not self.owns(source):
            return make()
        full_key = (id(source), key)
        made = self._made.get(full_key)
        if made is None:
            made = self._made[full_key] = make()
        return made
