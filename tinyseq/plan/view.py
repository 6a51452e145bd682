"""Where a tensor lies while a program runs: a strided view of a buffer.

Reshaping, slicing and transposing make new views and no instructions.
"""

from __future__ import annotations

import math

import numpy as np

from tinyseq.kernels.formats import WeightFormat
from tinyseq.shapes import Mismatch

Shape = tuple[int, ...]

FLOAT = np.dtype(np.float32)
INTEGER = np.dtype(np.int64)
BOOL = np.dtype(np.bool_)
WORD = np.dtype(np.int32)
BYTE = np.dtype(np.uint8)
SIGNED = np.dtype(np.int8)

NARROW = {BYTE: BYTE, SIGNED: BYTE, WORD: WORD}
"""What elements of a narrow tensor are. One of int8 holds each number plus 128."""


def storage(dtype: np.dtype) -> np.dtype:
    """What a tensor's elements are while a program runs: float32 for all floats, int64 for all else."""
    return FLOAT if dtype.kind == "f" else INTEGER


def computed(dtype: np.dtype) -> np.dtype:
    """The type in which a program computes with a tensor: float32 for all floats."""
    return FLOAT if dtype.kind == "f" else dtype


class Span:
    """A run of bytes in one segment. In the arena, its place is chosen when the program is whole.

    ``lookup`` says where its elements come from if they are rows of a table; see ``plan/lookup.py``.
    ``changed`` says whether instructions may do more with it than what ``reads`` in their table allows.
    """

    __slots__ = ("bytes", "changed", "first", "last", "lookup", "offset", "segment")

    def __init__(self, size: int, segment: int, offset: int | None = None) -> None:
        self.bytes = size
        self.segment = segment
        self.offset = offset
        self.first = -1
        self.last = -1
        self.lookup = None
        self.changed = False


class View:
    """A tensor: ``shape``, and ``strides`` and ``offset`` in elements from the buffer's start.

    ``dtype`` is the model's; the elements lie as ``storage(dtype)``, ``kind`` f or i. Quantised ops hand
    each other ``narrow`` tensors, whose elements lie as ``NARROW[dtype]``, kind b or w; all other ops are
    given them widened.

    Immutable by convention; a plain class because planning makes hundreds and time counts.
    """

    __slots__ = ("buffer", "dtype", "narrow", "offset", "shape", "strides")

    def __init__(
        self,
        buffer: Span,
        shape: Shape,
        strides: Shape,
        offset: int = 0,
        dtype: np.dtype = FLOAT,
        narrow: bool = False,
    ) -> None:
        self.buffer = buffer
        self.shape = shape
        self.strides = strides
        self.offset = offset
        self.dtype = dtype
        self.narrow = narrow

    def laid(self, shape: Shape, strides: Shape, offset: int | None = None) -> View:
        """Other dimensions over the same buffer."""
        offset = self.offset if offset is None else offset
        return View(self.buffer, shape, strides, offset, self.dtype, self.narrow)

    @property
    def kind(self) -> str:
        """``f`` for float32, ``i`` for int64, in which integers and booleans are computed; of a narrow
        tensor ``b`` for uint8 and ``w`` for int32."""
        if self.narrow:
            return "w" if self.dtype == WORD else "b"
        return "f" if self.dtype == FLOAT else "i"

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        if self.narrow:
            return NARROW[self.dtype].itemsize
        return 4 if self.dtype == FLOAT else 8

    def same(self, other: View) -> bool:
        """Whether the elements are the other's, in the same places."""
        return self.buffer is other.buffer and (self.shape, self.strides, self.offset) == (
            other.shape, other.strides, other.offset,
        )  # fmt: skip

    def typed(self, dtype: np.dtype) -> View:
        """The same elements under another dtype of the same storage."""
        return View(self.buffer, self.shape, self.strides, self.offset, dtype, self.narrow)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def dense(self) -> bool:
        """Whether the elements lie in C order without gaps."""
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides)):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True

    @property
    def ends(self) -> tuple[int, int]:
        """Where the elements lie in the buffer that come first and last there."""
        ways = [(size - 1) * stride for size, stride in zip(self.shape, self.strides)]
        back, on = sum([way for way in ways if way < 0]), sum([way for way in ways if way > 0])
        return self.offset + back, self.offset + on

    def run(self) -> View | None:
        """The elements as they lie in the buffer, or None where there are gaps between them."""
        expected = 1
        for stride, size in sorted(zip(self.strides, self.shape)):
            if size != 1:
                if stride != expected:
                    return None
                expected *= size
        return self.laid((expected,), (1,))

    def transposed(self, order) -> View:
        """The dimensions in another order."""
        shape, strides = self.shape, self.strides
        return self.laid(tuple([shape[axis] for axis in order]), tuple([strides[axis] for axis in order]))

    def sliced(self, bounds) -> View:
        """For each dimension (start, step, count)."""
        offset = self.offset
        strides = []
        for (start, step, count), stride in zip(bounds, self.strides):
            offset += start * stride if count else 0
            strides.append(step * stride)
        return self.laid(tuple([count for _, _, count in bounds]), tuple(strides), offset)

    def matrix(self) -> View:
        """The last two dimensions, the others being of size 1."""
        return self.laid(self.shape[-2:], self.strides[-2:])

    def broadcast(self, shape: Shape) -> View:
        """The same elements repeated by strides of 0."""
        if shape == self.shape:
            return self
        missing = len(shape) - len(self.shape)
        if missing < 0 or any([a != 1 and a != b for a, b in zip(self.shape, shape[missing:])]):
            raise Mismatch(f"{list(self.shape)} does not broadcast to {list(shape)}")
        strides = tuple(
            0 if size == 1 and wanted != 1 else stride
            for size, stride, wanted in zip(self.shape, self.strides, shape[missing:])
        )
        return self.laid(tuple(shape), (0,) * missing + strides)

    def reshaped(self, shape: Shape) -> View | None:
        """The same elements in another shape, or None where that takes a copy."""
        if self.size == 0:
            return self.laid(shape, dense_strides(shape))
        blocks = [[size, stride] for size, stride in zip(self.shape, self.strides) if size != 1]
        merged: list[list[int]] = []
        for size, stride in blocks:
            if merged and merged[-1][1] == size * stride:
                merged[-1] = [merged[-1][0] * size, stride]
            else:
                merged.append([size, stride])
        strides = [0] * len(shape)
        axis = len(shape) - 1
        for size, stride in reversed(merged):
            while size > 1:
                while shape[axis] == 1:
                    axis -= 1
                if size % shape[axis]:
                    return None
                strides[axis] = stride
                stride *= shape[axis]
                size //= shape[axis]
                axis -= 1
        return self.laid(shape, tuple(strides))


class Factor:
    """A matrix of ``n`` columns to multiply with: where it lies, packed in a format."""

    __slots__ = ("n", "of", "view")

    def __init__(self, view: View, n: int, of: WeightFormat) -> None:
        self.view = view
        self.n = n
        self.of = of


def dense_strides(shape: Shape) -> Shape:
    """C-order strides in elements."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def collapsed(shape: Shape, *strides: Shape) -> list[list[int]]:
    """The fewest dimensions that walk the same elements for all operands, y's smallest strides last.

    y is the last operand. Gives the sizes, then each operand's strides. Dimensions that y folds
    (stride 0) keep their order.
    """
    y = strides[-1]
    axes = [axis for axis, size in enumerate(shape) if size != 1]
    axes.sort(key=lambda axis: -abs(y[axis]))
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis in axes:
        size = shape[axis]
        now = [operand[axis] for operand in strides]
        if sizes and all([step[-1] == size * step_now for step, step_now in zip(steps, now)]):
            sizes[-1] *= size
            for step, step_now in zip(steps, now):
                step[-1] = step_now
        else:
            sizes.append(size)
            for step, step_now in zip(steps, now):
                step.append(step_now)
    return [sizes, *steps] if sizes else [[1], *([0] for _ in strides)]
