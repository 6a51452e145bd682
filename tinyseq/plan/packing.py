"""Weights in the layouts that the kernels read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinyseq.common import memory
from tinyseq.ir.narrow import EXACT, Weights
from tinyseq.kernels.formats import (
    FLOAT32,
    FORMAT_CODES,
    FORMATS,
    QuantizedMatrix,
    ScaledMatrix,
    WeightFormat,
)
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


Matrix = np.ndarray | QuantizedMatrix | ScaledMatrix


def panels(matrix: Matrix, of: WeightFormat = FLOAT32) -> np.ndarray:
    """A matrix [k, n] as packed panels of a format, and what its columns need behind them; see
    ``kernels/compute/product.py``."""
    if of.most is None or len(matrix.values) <= of.most:
        return _piece(matrix, of)
    starts = range(0, len(matrix.values), of.most)
    pieces = [
        _piece(matrix._replace(values=matrix.values[start : start + of.most]), of).view(np.uint8)
        for start in starts
    ]
    return segment(np.concatenate(pieces))


def _piece(matrix: Matrix, of: WeightFormat) -> np.ndarray:
    elements, columns = of.pack(matrix)
    (k, n), words = elements.shape[-2:], (0, 0) if columns is None else columns.shape
    planes = elements if elements.ndim == 3 else elements[None]
    size = of.element.size * panels_size(k, n) * len(planes)
    whole = aligned(size + 4 * panels_size(*words))
    packed = whole[:size].view(elements.dtype)
    for plane, target in zip(planes, packed.reshape(len(planes), -1)):
        for start in range(0, n, GROUP * PANEL):
            own = plane[:, start : start + GROUP * PANEL]
            width = -(-own.shape[1] // PANEL) * PANEL
            group = target[k * start : k * (start + width)].reshape(k, width)
            group[:, : own.shape[1]] = own
    if columns is None:
        return packed
    whole[size:].view(columns.dtype).reshape(words[0], -1)[:, : words[1]] = columns
    return whole


def panels_size(k: int, n: int) -> int:
    """How many elements a matrix of k rows of elements and n columns takes in panels."""
    return k * -(-n // PANEL) * PANEL


class PackedWeights:
    """What is worked out from a model's weights: each once, shared by every plan.

    Only what comes from arrays of the model itself is kept; the rest is a plan's own. ``rounded`` says which
    of them are packed in another format than float32.
    """

    def __init__(self, arrays: Iterable[np.ndarray], rounded: Weights = EXACT) -> None:
        self._rounded = rounded
        self._own: dict[int, np.ndarray] = {}
        self.own(arrays)
        self._made: dict[tuple, Any] = {}
        self.notes: set[str] = set()
        self._zeros = aligned(0).view(np.float32)

    def own(self, arrays: Iterable[np.ndarray]) -> None:
        """Counts further arrays among the model's own."""
        self._own.update((id(array), array) for array in arrays)

    def format_of(self, source: np.ndarray) -> WeightFormat:
        """What matrices of an array's numbers are packed in."""
        return FLOAT32 if self._rounded.of(source) is None else FORMATS[FORMAT_CODES[self._rounded.precision]]

    def panels(self, source: np.ndarray, lay: Callable[[np.ndarray], Any], of: WeightFormat) -> np.ndarray:
        """The matrix that ``lay`` makes of an array, packed."""
        narrow = self._rounded.of(source)
        if narrow is None or narrow.scales is None or of is FLOAT32:
            return panels(lay(source), of)
        values, scales = lay(source), lay(np.broadcast_to(narrow.scales, source.shape))
        return panels(ScaledMatrix(values, scales[0] if len(scales) else np.ones(scales.shape[1])), of)

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
