"""Weights in the layouts that the kernels read."""

from __future__ import annotations

from collections.abc import Callable

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


class Weights:
    """Packed weights, each made once and shared by every plan of a model.

    Only arrays of the model itself are kept; what a plan computes is packed for that plan alone.
    """

    def __init__(self, arrays) -> None:
        self._own = {id(array): array for array in arrays}
        self._packed: dict[tuple, np.ndarray] = {}

    def get(
        self, sources: tuple[np.ndarray, ...], layout: object, make: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """The packed form ``layout`` of ``sources``, from ``make`` the first time."""
        if not all(id(source) in self._own for source in sources):
            return make()
        key = (*map(id, sources), layout)
        packed = self._packed.get(key)
        if packed is None:
            packed = self._packed[key] = make()
        return packed
