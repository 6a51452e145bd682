"""Narrow weights: the numbers that stand for a model's weights where it is computed in another precision.

A rounded weight stands among a model's constants as a ``Narrow``, which holds what a file holds of it. Its
numbers are float32 ones that the precision holds exactly, so that a model of such weights is a model like any
other, and all that computes with it computes the same function. Whole numbers have a scale for each column,
that is for all that is summed over: one of so few bits that its multiples are exact in float32.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinyseq.errors import ModelError
from tinyseq.ir.weights import Lay, Weight

EXACT = "float32"
"""The precision of weights that are not rounded."""

MOST_BITS = 24
"""Bits of a float32, the leading one included."""

LEAST_SCALE = 2.0**-100
"""Smaller numbers are rounded to multiples of it."""


class Narrow(Weight):
    """A weight that has been rounded to a ``precision``.

    ``stored`` has the precision's dtype.

    Attributes:
        scales: what whole numbers are multiples of, float32, of a shape that broadcasts to theirs; None where
            they are floating numbers themselves.
    """

    __slots__ = ("precision", "scales")

    dtype = np.dtype(np.float32)

    def __init__(self, precision: "Precision", stored: np.ndarray, scales: np.ndarray | None) -> None:
        super().__init__(stored)
        self.precision = precision
        self.scales = scales

    @property
    def numbers(self) -> np.ndarray:
        return self.precision.widened(self.stored, self.scales)

    def laid(self, lay: Lay) -> "Narrow":
        scales = None if self.scales is None else lay(np.broadcast_to(self.scales, self.shape))
        return Narrow(self.precision, lay(self.stored), scales)

    def __repr__(self) -> str:
        return f"Narrow({self.precision.name}{list(self.shape)})"


class Sums(NamedTuple):
    """Along which ``axes`` a weight is summed over. The first of them falls into ``groups``, each of which is
    summed by itself."""

    axes: tuple[int, ...]
    groups: int = 1

    def have_one_scale(self, narrow: Narrow) -> bool:
        """Whether all that is summed of a weight has one scale."""
        scales = narrow.scales
        if scales is None:
            return True
        if self.groups == 1:
            return all(scales.shape[axis] == 1 for axis in self.axes)
        first, *others = self.axes
        parts = np.split(np.broadcast_to(scales, narrow.shape), self.groups, first)
        alike = (part == part.take([0], first) for part in parts)
        return all(scales.shape[axis] == 1 for axis in others) and all(map(np.all, alike))


Rounded = tuple[np.ndarray, np.ndarray | None]
"""What is stored of numbers, and their scales."""


class Precision(NamedTuple):
    """One row of the table.

    ``rounded(array, axes)`` rounds an array that is summed over some axes to what is stored of it, of a
    ``dtype``, and to its scales; ``widened(stored, scales)`` is the numbers of these. What is stored of whole
    multiples of scales is from -``most`` to ``most``.
    """

    name: str
    dtype: np.dtype
    rounded: Callable[[np.ndarray, tuple[int, ...]], Rounded]
    widened: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    most: int | None = None

    @property
    def exact(self) -> bool:
        """Whether what weights are multiplied with is not rounded."""
        return self.most is None

    def of(self, array: np.ndarray, sums: Sums, where: str) -> Narrow:
        """A weight, rounded; ``where`` names it in errors.

        Raises:
            ModelError: the precision does not hold its numbers.
        """
        narrow = Narrow(
            self, *(self._by_groups(array, sums) if sums.groups > 1 else self.rounded(array, sums.axes))
        )
        lost = np.isfinite(array) & ~np.isfinite(narrow) if self.exact else ~np.isfinite(array)
        if lost.any():
            raise ModelError(
                f"{where} holds {array[lost].flat[0]:g}, which {self.name} does not; name it in keep, so "
                "that it stays float32, or take another precision"
            )
        return narrow

    def _by_groups(self, array: np.ndarray, sums: Sums) -> Rounded:
        first = sums.axes[0]
        parts = [self.rounded(part, sums.axes) for part in np.split(array, sums.groups, first)]
        stored = np.concatenate([part for part, _ in parts], first)
        if self.exact:
            return stored, None
        count = array.shape[first] // sums.groups
        return stored, np.concatenate([np.repeat(scales, count, first) for _, scales in parts], first)

    def read(self, stored: np.ndarray, scales: np.ndarray | None) -> Narrow:
        """A weight as a file holds it, which may be anything.

        Raises:
            ValueError: it is no weight of this precision; says why.
        """
        if stored.dtype != self.dtype:
            raise ValueError(f"a weight of {self.name} as {stored.dtype}")
        if self.most is None:
            if scales is not None:
                raise ValueError(f"a weight of {self.name} with scales")
            return Narrow(self, stored, None)
        if scales is None or scales.dtype != np.float32 or not (np.isfinite(scales) & (scales > 0)).all():
            raise ValueError("scales that are no positive float32 numbers")
        if stored.ndim != scales.ndim or np.broadcast_shapes(stored.shape, scales.shape) != stored.shape:
            raise ValueError(f"scales of {scales.shape} for a weight of {stored.shape}")
        if stored.min(initial=0) < -self.most or stored.max(initial=0) > self.most:
            raise ValueError(f"a weight with multiples of a scale beyond {self.most}")
        return Narrow(self, stored, scales)


def _to_bfloat16(array: np.ndarray, axes: tuple[int, ...]) -> Rounded:
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    kept = bits >> 16
    kept &= 1
    kept += 0x7FFF
    kept += bits
    nothing = np.isnan(bits.view(np.float32))
    kept[nothing] = bits[nothing] | 1 << 22
    kept >>= 16
    return kept.astype(np.uint16).reshape(array.shape), None


def _from_bfloat16(stored: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    bits = stored.astype(np.uint32)
    bits <<= 16
    return bits.view(np.float32)


def _to_float16(array: np.ndarray, axes: tuple[int, ...]) -> Rounded:
    with np.errstate(over="ignore"):
        return array.astype(np.float16), None


def _from_float16(stored: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    return stored.astype(np.float32)


def _whole(name: str, dtype: type, most: int) -> Precision:
    """Multiples from -most to most of a scale for each column."""
    bits = MOST_BITS - most.bit_length()

    def rounded(array: np.ndarray, axes: tuple[int, ...]) -> Rounded:
        with np.errstate(invalid="ignore"):
            largest = np.abs(array).max(axes, keepdims=True, initial=0).astype(np.float64)
            scales = np.where(largest > 0, np.maximum(_few_bits(largest / most, bits), LEAST_SCALE), 1)
            multiples = array / scales
            return np.rint(multiples, out=multiples).astype(dtype), scales.astype(np.float32)

    return Precision(name, np.dtype(dtype), rounded, np.multiply, most)


def _few_bits(numbers: np.ndarray, bits: int) -> np.ndarray:
    """The next numbers of so many bits that are not smaller."""
    fractions, exponents = np.frexp(numbers)
    return np.ldexp(np.ceil(np.ldexp(fractions, bits)), exponents - bits)


MOST_INT16 = 127 * 256 + 127
"""The largest number of two signed bytes, the high one times 256."""

PRECISIONS = {
    row.name: row
    for row in (
        Precision("bfloat16", np.dtype(np.uint16), _to_bfloat16, _from_bfloat16),
        Precision("float16", np.dtype(np.float16), _to_float16, _from_float16),
        _whole("int16", np.int16, MOST_INT16),
        _whole("int8", np.int8, 127),
    )
}
"""What weights may be rounded to, most exact last but for bfloat16; float32 is what is not rounded."""
