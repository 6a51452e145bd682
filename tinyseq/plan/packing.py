"""Weights in the layouts that the kernels read."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tinyseq.common import memory
from tinyseq.ir.narrow import Narrow
from tinyseq.ir.weights import Constant, Lay, Weight
from tinyseq.kernels.formats import (
    FLOAT32,
    FORMAT_CODES,
    FORMATS,
    ROUNDED_BY_ROW,
    QuantizedMatrix,
    ScaledMatrix,
    WeightFormat,
)
from tinyseq.kernels.instructions import ALIGNMENT, GROUP, PANEL
from tinyseq.plan.view import storage


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


def as_segment(array: np.ndarray) -> np.ndarray:
    """A read-only array of the same numbers in the place of another, which ``dense`` need not copy."""
    if array.dtype != storage(array.dtype) or _is_segment(array):
        return array
    copy = segment(array).reshape(array.shape)
    copy.flags.writeable = False
    return copy


def dense(array: Constant) -> np.ndarray:
    """The elements of a constant as programs compute with them, in a segment."""
    if isinstance(array, np.ndarray) and array.dtype == storage(array.dtype) and _is_segment(array):
        return array.reshape(-1)
    return segment(np.asarray(array, storage(array.dtype)))


def _is_segment(array: np.ndarray) -> bool:
    """Whether an array lies as segments do, and nobody writes to it."""
    flags = array.flags
    return flags.c_contiguous and not flags.writeable and array.ctypes.data % ALIGNMENT == 0


Matrix = np.ndarray | QuantizedMatrix | ScaledMatrix | Narrow

Quantised = Callable[[np.ndarray], QuantizedMatrix]
"""Gives bytes [k, n] with their zero points and scales."""


def panels(matrix: Matrix, of: WeightFormat = FLOAT32) -> np.ndarray:
    """A matrix [k, n] as packed panels of a format, and what its columns need behind them; see
    ``kernels/compute/product.py``."""
    depth = 0 if of.most is None else _depth(matrix)
    if of.most is None or depth <= of.most:
        return _piece(matrix, of)
    starts = range(0, depth, of.most)
    pieces = [_piece(_rows(matrix, start, start + of.most), of).view(np.uint8) for start in starts]
    return segment(np.concatenate(pieces))


def _depth(matrix: Matrix) -> int:
    return len(matrix.stored if isinstance(matrix, Narrow) else matrix.values)


def _rows(matrix: Matrix, start: int, stop: int) -> Matrix:
    if isinstance(matrix, Narrow):
        return _part(matrix, slice(start, stop))
    return matrix._replace(values=matrix.values[start:stop])


def _piece(matrix: Matrix, of: WeightFormat) -> np.ndarray:
    blocks = [of.pack(part) for part in _blocks(matrix, of)]
    (elements, columns), n = blocks[0], sum([block.elements.shape[-1] for block in blocks])
    k, words = elements.shape[-2], 0 if columns is None else len(columns)
    size = of.element.size * panels_size(k, n) * of.planes
    whole = aligned(size + 4 * panels_size(words, n))
    packed, start = whole[:size].view(elements.dtype), 0
    for elements, columns in blocks:
        count = elements.shape[-1]
        for plane, target in zip(elements.reshape(of.planes, k, count), packed.reshape(of.planes, -1)):
            _lay(plane, target, start)
        if columns is not None:
            whole[size:].view(columns.dtype).reshape(words, -1)[:, start : start + count] = columns
        start += count
    return whole if words else packed


def _blocks(matrix: Matrix, of: WeightFormat) -> Iterator[np.ndarray | QuantizedMatrix | ScaledMatrix]:
    """A matrix as formats pack it: narrow weights are widened a few columns at a time."""
    if not isinstance(matrix, Narrow):
        yield matrix
        return
    for start in range(0, max(matrix.shape[1], 1), GROUP * PANEL):
        part = _part(matrix, slice(None), slice(start, start + GROUP * PANEL))
        if of.activations is not ROUNDED_BY_ROW:
            yield part.numbers
        else:
            yield ScaledMatrix(part.numbers, part.scales[0] if len(part.scales) else np.ones(part.shape[1]))


def _part(matrix: Narrow, *places: slice) -> Narrow:
    return matrix.laid(lambda array: array[places])


def _lay(plane: np.ndarray, target: np.ndarray, start: int) -> None:
    """Lays the elements of columns from ``start`` on, the first of a group, into their panels."""
    for columns in _groups(plane.shape[1]):
        own = plane[:, columns]
        _group(target, len(plane), start + columns.start, own.shape[1])[...] = own


def _groups(n: int) -> Iterator[slice]:
    """The columns of each group."""
    return (slice(first, min(first + GROUP * PANEL, n)) for first in range(0, n, GROUP * PANEL))


def _group(panels: np.ndarray, k: int, first: int, count: int) -> np.ndarray:
    """The elements [..., k, count] of the columns from ``first`` on, those of a group."""
    width = -(-count // PANEL) * PANEL
    group = panels[..., k * first : k * (first + width)]
    return group.reshape(*panels.shape[:-1], k, width)[..., :count]


def unpack(packed: np.ndarray, of: WeightFormat, matrix: np.ndarray) -> None:
    """Writes into a matrix [..., n] what a file holds of one that is packed in a format."""
    *depth, n = matrix.shape
    k = math.prod(depth)
    rows = -(-k // of.element.per)
    size = of.planes * panels_size(rows, n) * of.element.size
    elements = packed.view(np.uint8)[:size].view(f"u{of.element.size}").reshape(of.planes, -1)
    for columns in _groups(n):
        group = _group(elements, rows, columns.start, columns.stop - columns.start)
        numbers = of.unpack(group)[:k].reshape(*depth, -1)
        # Unsigned bytes are packed as signed ones, 128 less.
        matrix[..., columns] = numbers if matrix.dtype != np.uint8 else numbers.view(np.uint8) ^ 128


def panels_size(k: int, n: int) -> int:
    """How many elements a matrix of k rows of elements and n columns takes in panels."""
    return k * -(-n // PANEL) * PANEL


def format_of(source: Constant) -> WeightFormat:
    """What matrices of a constant's numbers are packed in."""
    return FORMATS[FORMAT_CODES[source.precision.name]] if isinstance(source, Narrow) else FLOAT32


def factor_of(source: Constant, lay: Lay, of: WeightFormat, quantised: Quantised | None = None) -> np.ndarray:
    """The matrix [..., n] that ``lay`` makes of a constant, packed as one [k, n]; of bytes, what they are
    ``quantised`` with."""
    matrix = _matrix(source, lay) if isinstance(source, Weight) else as_matrix(lay(source))
    return panels(matrix if quantised is None else quantised(matrix), of)


def _in_pieces(source: Weight, lay: Lay, of: WeightFormat) -> bool:
    """Whether the matrix of a weight is packed in several pieces."""
    if of.most is None:
        return False
    like = lay(np.broadcast_to(np.zeros((), bool), source.shape))
    return math.prod(like.shape[:-1]) > of.most


def _matrix(source: Weight, lay: Lay) -> np.ndarray | Narrow:
    """The matrix [k, n] of a weight."""
    return source.laid(lambda own: as_matrix(lay(own)))


def as_matrix(array: np.ndarray) -> np.ndarray:
    """An array [..., n] as a matrix [k, n]."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


class PackedWeights:
    """What is worked out from a model's weights: each once, shared by every plan.

    Only what comes from constants of the model itself is kept; the rest is a plan's own. ``transforms``:
    matrices of Fourier transforms are looked for, see ``kernels/fourier.py``.
    """

    def __init__(self, arrays: Iterable[Constant], *, transforms: bool = True) -> None:
        self.transforms = transforms
        self._own: dict[int, Constant] = {}
        self.own(arrays)
        self._made: dict[tuple, Any] = {}
        self.notes: set[str] = set()
        self._zeros = aligned(0).view(np.float32)

    def own(self, arrays: Iterable[Constant]) -> None:
        """Counts further arrays among the model's own."""
        self._own.update((id(array), array) for array in arrays)

    def zeros(self, count: int) -> np.ndarray:
        """At least ``count`` float32 zeros."""
        zeros = self._zeros
        if zeros.size < count:
            zeros = self._zeros = aligned(4 * count).view(np.float32)
        return zeros

    def owns(self, array: Constant) -> bool:
        """Whether an array is of the model itself."""
        return id(array) in self._own

    def factor(
        self,
        source: Constant,
        layout: Hashable,
        lay: Lay,
        of: WeightFormat,
        quantised: Quantised | None = None,
    ) -> np.ndarray:
        """``factor_of``, from the first time on; a weight has its numbers from there then."""
        name = of.name, layout
        packed = self.get(source, name, lambda: factor_of(source, lay, of, quantised))
        if isinstance(source, Weight) and source.is_asking(name) and self.owns(source):
            source.held(name, lay, None if _in_pieces(source, lay, of) else partial(unpack, packed, of))
        return packed

    def get(self, source: Constant, key: object, make: Callable[[], Any]) -> Any:
        """The result of ``make`` for ``source`` and ``key``, from the first time on."""
        if not self.owns(source):
            return make()
        full_key = (id(source), key)
        made = self._made.get(full_key)
        return self._made.setdefault(full_key, make()) if made is None else made
