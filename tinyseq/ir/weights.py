"""Weights that are no arrays: what they are stored in is given up once something else holds it.

What computes with a weight reads a layout of its own, made of all numbers once each. From then on the numbers
are had from there: by other layouts, by files, by the reference.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

LEAST_BYTES = 2**16
"""What is stored in fewer bytes is kept: what tells where else it is takes some itself."""

Lay = Callable[[np.ndarray], np.ndarray]
"""Gives an array whose elements are some of another's."""


class Layout(NamedTuple):
    """Holds the bytes from ``start`` to ``stop`` of what is stored: ``write`` writes them into what ``lay``
    makes of an array."""

    start: int
    stop: int
    lay: Lay
    write: Callable[[np.ndarray], None]


class Weight(ABC):
    """A tensor of a model which is multiplied with, and read in no other way.

    It has the shape and the type of its numbers: ``numbers`` and NumPy's functions make them anew each time.
    What takes it for an array fails.
    """

    __slots__ = ("_layouts", "_stored", "_stored_as", "shape")

    dtype: np.dtype
    """That of the numbers."""

    def __init__(self, stored: np.ndarray) -> None:
        self.shape, self._stored_as = stored.shape, stored.dtype
        self._stored: np.ndarray | None = stored
        self._layouts: dict[Hashable, Layout | None] = {}

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return self.size * self.itemsize

    @property
    def stored(self) -> np.ndarray:
        """What a file holds of it, not to be written to; made anew where it has been given up."""
        stored = self._stored
        return self._restored() if stored is None else stored

    @property
    @abstractmethod
    def numbers(self) -> np.ndarray:
        """The numbers, not to be written to."""

    @abstractmethod
    def laid(self, lay: Lay) -> "Constant":
        """What ``lay`` makes of its numbers."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("the numbers of a weight are made anew: they are a copy")
        return self.numbers.astype(dtype or self.dtype, copy=bool(copy))

    def is_asking(self, name: Hashable) -> bool:
        """Whether it would be told of a layout of that name; see ``held``."""
        stored = self._stored
        return stored is not None and stored.nbytes >= LEAST_BYTES and name not in self._layouts

    def held(self, name: Hashable, lay: Lay, write: Callable[[np.ndarray], None] | None) -> None:
        """Tells of a layout of what ``lay`` makes of what is stored, of which ``write``, if that can be,
        writes it, to the bit, into an array. What is stored is given up once layouts hold all of it."""
        like = self._new()
        place = None if write is None else _place(lay(like), like)
        self._layouts[name] = None if place is None else Layout(*place, lay, write)
        end = 0
        for layout in sorted(self._known(), key=itemgetter(0)):
            end = max(end, layout.stop) if layout.start <= end else end
        if end == like.nbytes:
            self._stored = None

    def _known(self) -> list[Layout]:
        return [layout for layout in tuple(self._layouts.values()) if layout is not None]

    def _new(self) -> np.ndarray:
        return np.empty(self.shape, self._stored_as)

    def _restored(self) -> np.ndarray:
        stored = self._new()
        for layout in self._known():
            layout.write(layout.lay(stored))
        return stored


def _place(part: np.ndarray, whole: np.ndarray) -> tuple[int, int] | None:
    """The bytes of an array from a first one to an end that are those of a part, each of them once; None if
    there are others between them or it is no view."""
    (start, stop), (first, end) = _bounds(part), _bounds(whole)
    dense = stop - start == part.nbytes and 0 not in part.strides
    return (start - first, stop - first) if dense and first <= start and stop <= end else None


def _bounds(array: np.ndarray) -> tuple[int, int]:
    """The addresses of its first byte and behind its last one."""
    reach = [(size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True)]
    first = array.__array_interface__["data"][0]
    below, above = sum(step for step in reach if step < 0), sum(step for step in reach if step > 0)
    return first + below, first + above + array.itemsize


class Exact(Weight):
    """A weight as it is."""

    __slots__ = ()

    def __init__(self, stored: np.ndarray) -> None:
        stored = stored.view()
        stored.flags.writeable = False
        super().__init__(stored)

    @property
    def dtype(self) -> np.dtype:  # type: ignore[override]  # that of what is stored
        return self._stored_as

    @property
    def numbers(self) -> np.ndarray:
        return self.stored

    def laid(self, lay: Lay) -> np.ndarray:
        return lay(self.stored)

    def __repr__(self) -> str:
        return f"Exact{list(self.shape)}"


Constant = np.ndarray | Weight
"""What a model knows of a tensor beforehand."""


def is_large(constant: Constant) -> bool:
    """Whether it is an array that is worth being held once."""
    return isinstance(constant, np.ndarray) and constant.nbytes >= LEAST_BYTES


def widened(given: Any) -> Any:
    """The numbers of a weight; all else as it is."""
    return given.numbers if isinstance(given, Weight) else given
