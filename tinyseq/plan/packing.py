"""Weights in the layouts that the kernels read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinyseq.kernels.instructions import ALIGNMENT, GROUP, PANEL


def aligned(size: int) -> np.ndarray:
    """Zeroed bytes that start at a multiple of ``ALIGNMENT``."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


def segment(array: np.ndarray) -> np.ndarray:
    """The array's elements as an aligned, contiguous copy."""
    bytes_ = aligned(array.nbytes)
    copy = bytes_.view(array.dtype)
    copy[:] = array.ravel()
    return copy


def panels(matrix: np.ndarray) -> np.ndarray:
    """A float32 matrix [k, n] as packed panels; see ``kernels/product.py``."""
    k, n = matrix.shape
    count = -(-n // PANEL)
    padded = np.zeros((k, count * PANEL), np.float32)
    padded[:, :n] = matrix
    width = GROUP * PANEL
    groups = [padded[:, start : start + width].ravel() for start in range(0, count * PANEL, width)]
    return segment(np.concatenate(groups) if groups else np.zeros(0, np.float32))


def panels_size(k: int, n: int) -> int:
    """How many float32 a matrix [k, n] takes in panels."""
    return k * -(-n // PANEL) * PANEL


class Weights:
    """What is worked out from a model's weights: each once, shared by every plan.

    Only what comes from arrays of the model itself is kept; the rest is a plan's own.
    """

    def __init__(self, arrays: Iterable[np.ndarray]) -> None:
        self._own = {id(array): array for array in arrays}
        self._made: dict[tuple, Any] = {}
        self.notes: set[str] = set()
        self._zeros = aligned(0).view(np.float32)

    def zeros(self, count: int) -> np.ndarray:
        """At least ``count`` float32 zeros."""
        if self._zeros.size < count:
            self._zeros = aligned(4 * count).view(np.float32)
        return self._zeros

    def get(self, source: np.ndarray, key: object, make: Callable[[], Any]) -> Any:
        """The result of ``make`` for ``source`` and ``key``, from the first time on."""
        if id(source) not in self._own:
            return make()
        full_key = (id(source), key)
        made = self._made.get(full_key)
        if made is None:
            made = self._made[full_key] = make()
        return made
