"""Narrow weights: the numbers that stand for a model's weights where it is computed in another precision.

A rounded weight is an array of float32 whose numbers the precision holds exactly, so that a model of such
weights is a model like any other, and all that computes with it computes the same function. Whole numbers
have a scale for each column, that is for all that is summed over: one of so few bits that its multiples are
exact in float32.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from tinyseq.errors import ModelError

MOST_BITS = 24
"""Bits of a float32, the leading one included."""

LEAST_SCALE = 2.0**-100
"""Smaller numbers are rounded to multiples of it."""


class Narrow(NamedTuple):
    """A weight that has been rounded: its ``numbers``, float32, and the ``scales`` whose multiples they are,
    of a shape that broadcasts to theirs; None where they are floating numbers themselves."""

    numbers: np.ndarray
    scales: np.ndarray | None


class Weights(NamedTuple):
    """The precision of a model's weights, and those that have been rounded to it, by the ids of their
    numbers; all others are float32."""

    precision: str = "float32"
    narrow: Mapping[int, Narrow] = MappingProxyType({})

    def of(self, array: np.ndarray) -> Narrow | None:
        """What an array was rounded to; None where it was not."""
        return self.narrow.get(id(array))


EXACT = Weights()
"""Of a model none of whose weights are rounded."""


class Sums(NamedTuple):
    """Along which ``axes`` a weight is summed over. The first of them falls into ``groups``, each of which is
    summed by itself."""

    axes: tuple[int, ...]
    groups: int = 1


class Precision(NamedTuple):
    """One row of the table.

    ``rounded(array, axes)`` rounds an array that is summed over some axes, ``stored(narrow)`` is what a file
    holds of it, of a ``dtype``, and ``widened(stored, scales)`` its numbers again. ``scaled``: they are whole
    multiples of scales. ``exact``: what they are multiplied with is not rounded.
    """

    name: str
    dtype: np.dtype
    rounded: Callable[[np.ndarray, tuple[int, ...]], Narrow]
    stored: Callable[[Narrow], np.ndarray]
    widened: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    scaled: bool = False

    @property
    def exact(self) -> bool:
        """Whether what weights are multiplied with is not rounded."""
        return not self.scaled

    def of(self, array: np.ndarray, sums: Sums, where: str) -> Narrow:
        """A weight, rounded; ``where`` names it in errors.

        Raises:
            ModelError: the precision does not hold its numbers.
        """
        narrow = self._by_groups(array, sums) if sums.groups > 1 else self.rounded(array, sums.axes)
        lost = np.isfinite(array) & ~np.isfinite(narrow.numbers) if self.exact else ~np.isfinite(array)
        if lost.any():
            raise ModelError(
                f"{where} holds {array[lost].flat[0]:g}, which {self.name} does not; name it in keep, so "
                "that it stays float32, or take another precision"
            )
        return narrow

    def _by_groups(self, array: np.ndarray, sums: Sums) -> Narrow:
        first = sums.axes[0]
        parts = [self.rounded(part, sums.axes) for part in np.split(array, sums.groups, first)]
        numbers = np.concatenate([part.numbers for part in parts], first)
        if not self.scaled:
            return Narrow(numbers, None)
        count = array.shape[first] // sums.groups
        return Narrow(
            numbers, np.concatenate([np.repeat(part.scales, count, first) for part in parts], first)
        )


def _to_bfloat16(array: np.ndarray, axes: tuple[int, ...]) -> Narrow:
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    nearest = bits + (0x7FFF + (bits >> 16 & 1))
    kept = np.where(np.isnan(array), bits | 1 << 22, nearest) & 0xFFFF0000
    return Narrow(kept.astype(np.uint32).view(np.float32).reshape(array.shape), None)


def _bfloat16_stored(narrow: Narrow) -> np.ndarray:
    return (np.ascontiguousarray(narrow.numbers).view(np.uint32) >> 16).astype(np.uint16)


def _bfloat16_widened(stored: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    return (stored.astype(np.uint32) << 16).view(np.float32)


def _to_float16(array: np.ndarray, axes: tuple[int, ...]) -> Narrow:
    with np.errstate(over="ignore"):
        return Narrow(array.astype(np.float16).astype(np.float32), None)


def _to_multiples(most: int) -> Callable[[np.ndarray, tuple[int, ...]], Narrow]:
    """Rounds to multiples from -most to most of a scale for each column."""
    bits = MOST_BITS - most.bit_length()

    def rounded(array: np.ndarray, axes: tuple[int, ...]) -> Narrow:
        with np.errstate(invalid="ignore"):
            largest = np.abs(array.astype(np.float64)).max(axes, keepdims=True, initial=0)
            scales = np.where(largest > 0, np.maximum(_few_bits(largest / most, bits), LEAST_SCALE), 1)
            return Narrow(
                (np.rint(array / scales) * scales + 0.0).astype(np.float32), scales.astype(np.float32)
            )

    return rounded


def _few_bits(numbers: np.ndarray, bits: int) -> np.ndarray:
    """The next numbers of so many bits that are not smaller."""
    fractions, exponents = np.frexp(numbers)
    return np.ldexp(np.ceil(np.ldexp(fractions, bits)), exponents - bits)


def _multiples_stored(dtype: type) -> Callable[[Narrow], np.ndarray]:
    def stored(narrow: Narrow) -> np.ndarray:
        return np.rint(narrow.numbers / narrow.scales).astype(dtype)

    return stored


def _multiples_widened(most: int) -> Callable:
    def widened(stored: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
        # A file may hold anything.
        if scales is None or scales.dtype != np.float32 or not (np.isfinite(scales) & (scales > 0)).all():
            raise ValueError("scales that are no positive float32 numbers")
        if stored.ndim != scales.ndim or np.broadcast_shapes(stored.shape, scales.shape) != stored.shape:
            raise ValueError(f"scales of {scales.shape} for a weight of {stored.shape}")
        if np.abs(stored.astype(np.int32)).max(initial=0) > most:
            raise ValueError(f"a weight with multiples of a scale beyond {most}")
        return stored.astype(np.float32) * scales

    return widened


def _whole(name: str, dtype: type, most: int) -> Precision:
    own = _to_multiples(most), _multiples_stored(dtype), _multiples_widened(most)
    return Precision(name, np.dtype(dtype), *own, scaled=True)


def _as_float16(narrow: Narrow) -> np.ndarray:
    return narrow.numbers.astype(np.float16)


def _from_float16(stored: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    return stored.astype(np.float32)


MOST_INT16 = 127 * 256 + 127
"""The largest number of two signed bytes, the high one times 256."""

PRECISIONS = {
    row.name: row
    for row in (
        Precision("bfloat16", np.dtype(np.uint16), _to_bfloat16, _bfloat16_stored, _bfloat16_widened),
        Precision("float16", np.dtype(np.float16), _to_float16, _as_float16, _from_float16),
        _whole("int16", np.int16, MOST_INT16),
        _whole("int8", np.int8, 127),
    )
}
"""What weights may be rounded to, most exact last but for bfloat16; float32 is what is not rounded."""
