"""The formats of weights: one table, for what packs them, for the products of the CPU and for CUDA's.

A matrix [k, n] is packed as elements, each of which holds ``per`` rows of k, in panels, see
``compute/product.py``, with what its columns need behind them; that of a Fourier transform as its tables, see
``fourier.py``. The planner chooses a format for each factor that it knows and writes its code into the
instructions that multiply with it. A new format is one row here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinyseq.kernels import fourier
from tinyseq.kernels.instructions import PANEL
from tinyseq.kernels.llvm import architecture
from tinyseq.kernels.llvm.isa import Isa

if TYPE_CHECKING:
    from tinyseq.kernels.llvm.values import Arithmetic


MOST_SUMMED = 2**15
"""Rows of k whose products of bytes any int32 holds."""

BLOCK_ROWS = 48
"""Rows that are rounded and multiplied at a time where each has a scale of its own."""


class Element(NamedTuple):
    """What panels are made of: ``per`` rows of k in ``size`` bytes. ``arithmetic(isa)`` says how a tile of
    the CPU's multiplies with them, see ``llvm/values.py``."""

    name: str
    per: int
    size: int
    arithmetic: Callable[[Isa], "Arithmetic"]


class Activations(NamedTuple):
    """What becomes of the rows that are multiplied with weights, by which product; see
    ``compute/weighted.py`` and ``cuda/weighted.py``. ``scratch(rows, k, n)`` is the bytes that it wants."""

    name: str
    scratch: Callable[[int, int, int], int]


class Packed(NamedTuple):
    """A matrix as elements [k / per, n], or as planes of them [planes, k / per, n], and the words that each
    column has behind the panels of all planes [words, n]."""

    elements: np.ndarray
    columns: np.ndarray | None = None


class QuantizedMatrix(NamedTuple):
    """Numbers ``(values - offsets) * scales``: int8 or uint8 ``values`` [k, n], and the zero points and
    scales of its columns, one for all or one for each."""

    values: np.ndarray
    offsets: np.ndarray
    scales: np.ndarray


class ScaledMatrix(NamedTuple):
    """Numbers ``values`` [k, n] that are whole multiples of the ``scales`` [n] of their columns."""

    values: np.ndarray
    scales: np.ndarray


class WeightFormat(NamedTuple):
    """One row of the table. ``pack`` packs a matrix [k, n]: of numbers, a scaled one, or one that is
    quantised already; of a transform it gives the tables. ``unpack`` makes of planes of elements [planes,
    k / per, n] what a file holds of a matrix [k, n], where that can be had of them. A matrix of more than
    ``most`` rows is packed in pieces of so many, one behind the other. ``planes`` are the elements that hold
    a number together; those of all columns lie one behind the other.
    """

    name: str
    element: Element
    activations: Activations
    pack: Callable[[Any], Packed]
    unpack: Callable[[np.ndarray], np.ndarray] | None = None
    planes: int = 1
    most: int | None = None

    @property
    def code(self) -> int:
        """What instructions call it."""
        return FORMAT_CODES[self.name]


def _float_arithmetic(isa: Isa) -> "Arithmetic":
    # Imported here: who only runs kernels need not have llvmlite.
    from tinyseq.kernels.llvm.values import float_arithmetic

    return float_arithmetic(isa)


def _byte_arithmetic(isa: Isa) -> "Arithmetic":
    # Imported here: who only runs kernels need not have llvmlite.
    from tinyseq.kernels.llvm.values import single_bytes

    return architecture.byte_arithmetic(isa) if isa.dot else single_bytes()


def _bfloat16_arithmetic(isa: Isa) -> "Arithmetic":
    # Imported here: who only runs kernels need not have llvmlite.
    from tinyseq.kernels.llvm.values import bfloat16_arithmetic

    return bfloat16_arithmetic(isa)


def _float16_arithmetic(isa: Isa) -> "Arithmetic":
    # Imported here: who only runs kernels need not have llvmlite.
    from tinyseq.kernels.llvm.values import float16_arithmetic

    return float16_arithmetic(isa)


def _no_scratch(rows: int, k: int, n: int) -> int:
    return 0


def _bytes_and_sums(rows: int, k: int, n: int) -> int:
    """Those of ``quantized.dynamic_product``."""
    return rows * 4 * n + rows * k + 3


def _windowed_and_turned(rows: int, k: int, n: int) -> int:
    """Those of ``fourier.fourier_product_of``, however many rows there are."""
    return fourier.scratch(k)


def _planes_and_sums(rows: int, k: int, n: int) -> int:
    """That of ``planes.planes_product_of``: for a block of rows their scales, exact sums, sums of bytes, of
    which there are five where weights are two of them, and three bytes for each number."""
    return min(rows, BLOCK_ROWS) * bytes_of_row(k, n)


def bytes_of_row(k: int, n: int) -> int:
    """What a row of k numbers takes there where the product has n."""
    depth, width = (k + 3) // 4 * 4, (n + PANEL - 1) // PANEL * PANEL
    totals = n if k > MOST_SUMMED else 0
    return 8 + 8 * totals + 5 * 4 * width + 3 * depth


def _floats(matrix: np.ndarray) -> Packed:
    return Packed(matrix.astype(np.float32, copy=False))


def _block(matrix: QuantizedMatrix) -> Packed:
    """A block; see ``compute/quantized.py``."""
    values, offsets, scales = matrix
    k, n = values.shape
    bias = 0 if values.dtype == np.int8 else 128
    signed = values.view(np.int8) if bias == 0 else values.view(np.int8) ^ np.int8(-128)
    offsets = np.broadcast_to(offsets.ravel().astype(np.int32) - bias, n)
    totals = signed.sum(0, dtype=np.int32) - np.int32(k) * offsets
    words = np.broadcast_to(scales.ravel(), n).astype(np.float32).view(np.int32)
    return Packed(_fours(signed), np.stack([totals, offsets, words]))


def _upper_halves(matrix: np.ndarray) -> Packed:
    bits = np.ascontiguousarray(matrix, np.float32).view(np.uint32)
    return Packed((bits >> 16).astype(np.uint16))


def _float16(matrix: np.ndarray) -> Packed:
    return Packed(matrix.astype(np.float16).view(np.uint16))


def _one_plane(matrix: ScaledMatrix) -> Packed:
    numbers = multiples(matrix.values, matrix.scales)
    return _packed_planes([numbers], numbers, matrix.scales)


def _two_planes(matrix: ScaledMatrix) -> Packed:
    """The high bytes, then the low ones, both signed."""
    numbers = multiples(matrix.values, matrix.scales)
    low = ((numbers + 128) & 255) - 128
    return _packed_planes([(numbers - low) >> 8, low], numbers, matrix.scales)


def multiples(numbers: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Which whole multiples of their scales numbers are, int32."""
    return np.rint(numbers / scales).astype(np.int32)


def _packed_planes(planes: list[np.ndarray], numbers: np.ndarray, scales: np.ndarray) -> Packed:
    """Planes of bytes; behind them zeros, the columns' sums, those of their first plane, and their scales."""
    sums = [numbers.sum(0, dtype=np.int32), planes[0].sum(0, dtype=np.int32)]
    words = [np.zeros_like(sums[0]), *sums, scales.astype(np.float32).view(np.int32)]
    return Packed(np.stack([_fours(plane) for plane in planes]), np.stack(words))


def _fours(matrix: np.ndarray) -> np.ndarray:
    """Four rows of signed bytes each, the first lowest; zeros behind the last."""
    k, n = matrix.shape
    count = -(-k // 4)
    padded = np.zeros((4 * count, n), np.int8)
    padded[:k] = matrix
    return np.ascontiguousarray(padded.reshape(count, 4, n).swapaxes(1, 2)).view(np.int32)[:, :, 0]


def _unpacked_floats(planes: np.ndarray) -> np.ndarray:
    return planes[0].view(np.float32)


def _unpacked_upper_halves(planes: np.ndarray) -> np.ndarray:
    return planes[0]


def _unpacked_float16(planes: np.ndarray) -> np.ndarray:
    return planes[0].view(np.float16)


def _unpacked_plane(planes: np.ndarray) -> np.ndarray:
    return _from_fours(planes[0])


def _unpacked_planes(planes: np.ndarray) -> np.ndarray:
    high, low = map(_from_fours, planes)
    return high.astype(np.int16) * 256 + low


def _from_fours(fours: np.ndarray) -> np.ndarray:
    """The signed bytes of fours [k / 4, n], with what is behind the last row: [k, n]."""
    count, n = fours.shape
    return np.ascontiguousarray(fours)[:, :, None].view(np.int8).swapaxes(1, 2).reshape(4 * count, n)


FLOAT_ELEMENT = Element("float32", 1, 4, _float_arithmetic)
BYTE_ELEMENT = Element("bytes", 4, 4, _byte_arithmetic)
"""Four signed bytes, summed with unsigned ones in exact integers."""

BFLOAT16_ELEMENT = Element("bfloat16", 1, 2, _bfloat16_arithmetic)
"""The upper half of a float32."""

FLOAT16_ELEMENT = Element("float16", 1, 2, _float16_arithmetic)

AS_THEY_ARE = Activations("float32", _no_scratch)
ROUNDED_TOGETHER = Activations("bytes", _bytes_and_sums)
"""Bytes, by a scale and a zero point that cover all rows of a product."""

ROUNDED_BY_ROW = Activations("int16", _planes_and_sums)
"""16 bits, or 23 where the weights have 16, by a scale of each row's own."""

TRANSFORMED = Activations("transformed", _windowed_and_turned)
"""Parts of a Fourier transform of each row."""

FLOAT32 = WeightFormat("float32", FLOAT_ELEMENT, AS_THEY_ARE, _floats, _unpacked_floats)
BYTE_BLOCK = WeightFormat("bytes", BYTE_ELEMENT, ROUNDED_TOGETHER, _block, _unpacked_plane)
BFLOAT16 = WeightFormat("bfloat16", BFLOAT16_ELEMENT, AS_THEY_ARE, _upper_halves, _unpacked_upper_halves)
FLOAT16 = WeightFormat("float16", FLOAT16_ELEMENT, AS_THEY_ARE, _float16, _unpacked_float16)
INT8 = WeightFormat("int8", BYTE_ELEMENT, ROUNDED_BY_ROW, _one_plane, _unpacked_plane, 1, MOST_SUMMED)
INT16 = WeightFormat("int16", BYTE_ELEMENT, ROUNDED_BY_ROW, _two_planes, _unpacked_planes, 2, MOST_SUMMED)
FOURIER = WeightFormat("fourier", FLOAT_ELEMENT, TRANSFORMED, fourier.tables)

FORMATS = (FLOAT32, BYTE_BLOCK, BFLOAT16, FLOAT16, INT8, INT16, FOURIER)
"""All of them, by code."""

FORMAT_CODES = {row.name: code for code, row in enumerate(FORMATS)}

ELEMENTS = tuple(dict.fromkeys(row.element for row in FORMATS))
"""Those of all formats."""
