"""The formats of weights: one table, for what packs them, for the CPU's tiles and for CUDA.

A matrix [k, n] is packed as elements, each of which holds ``per`` rows of k, in panels; see
``compute/product.py``. A new format is one row here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.kernels.llvm import architecture
from tinyseq.kernels.llvm.isa import Isa

if TYPE_CHECKING:
    from tinyseq.kernels.llvm.values import Arithmetic


class WeightFormat:
    """One row of the table.

    ``size`` is an element's bytes. ``elements`` makes them, [k / per, n], of a matrix [k, n].
    ``arithmetic(isa)`` says how a tile multiplies with them, see ``llvm/values.py``.
    """

    __slots__ = ("arithmetic", "elements", "name", "per", "size")

    def __init__(
        self,
        name: str,
        per: int,
        size: int,
        elements: Callable[[np.ndarray], np.ndarray],
        arithmetic: Callable[[Isa], Arithmetic],
    ) -> None:
        self.name = name
        self.per = per
        self.size = size
        self.elements = elements
        self.arithmetic = arithmetic


def _floats(matrix: np.ndarray) -> np.ndarray:
    return matrix.astype(np.float32, copy=False)


def _float_arithmetic(isa: Isa) -> Arithmetic:
    # Imported here: who only runs kernels need not have llvmlite.
    from tinyseq.kernels.llvm.values import float_arithmetic

    return float_arithmetic(isa)


def _byte_arithmetic(isa: Isa) -> Arithmetic:
    # Imported here: who only runs kernels need not have llvmlite.
    from tinyseq.kernels.llvm.values import single_bytes

    return architecture.byte_arithmetic(isa) if isa.dot else single_bytes()


def _fours(matrix: np.ndarray) -> np.ndarray:
    """Four rows of signed bytes each, the first lowest; zeros behind the last."""
    k, n = matrix.shape
    count = -(-k // 4)
    padded = np.zeros((4 * count, n), np.int8)
    padded[:k] = matrix
    return np.ascontiguousarray(padded.reshape(count, 4, n).swapaxes(1, 2)).view(np.int32)[:, :, 0]


FLOAT32 = WeightFormat("float32", 1, 4, _floats, _float_arithmetic)
INT8 = WeightFormat("bytes", 4, 4, _fours, _byte_arithmetic)

FORMATS = {row.name: row for row in (FLOAT32, INT8)}
"""By name."""
