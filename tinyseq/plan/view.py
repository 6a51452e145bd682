"""Where a tensor lies while a program runs: a strided view of a buffer.

Reshaping, slicing and transposing make new views and no instructions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

Shape = tuple[int, ...]


class Buffer:
    """A run of bytes in one segment. In the arena, its place is chosen when the program is whole."""

    __slots__ = ("bytes", "first", "last", "offset", "segment")

    def __init__(self, size: int, segment: int, offset: int | None = None) -> None:
        self.bytes = size
        self.segment = segment
        self.offset = offset
        self.first = -1
        self.last = -1


@dataclass(frozen=True, slots=True)
class View:
    """A tensor: ``shape`` and ``strides`` and ``offset`` in elements from the buffer's start."""

    buffer: Buffer
    shape: Shape
    strides: Shape
    offset: int = 0
    dtype: np.dtype = np.dtype(np.float32)

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

    def transposed(self, order) -> View:
        """The dimensions in another order."""
        return replace(
            self,
            shape=tuple(self.shape[axis] for axis in order),
            strides=tuple(self.strides[axis] for axis in order),
        )

    def sliced(self, bounds) -> View:
        """For each dimension (start, step, count)."""
        offset = self.offset
        strides = []
        for (start, step, count), stride in zip(bounds, self.strides):
            offset += start * stride if count else 0
            strides.append(step * stride)
        return replace(self, shape=tuple(b[2] for b in bounds), strides=tuple(strides), offset=offset)

    def broadcast(self, shape: Shape) -> View:
        """The same elements repeated by strides of 0."""
        missing = len(shape) - len(self.shape)
        strides = tuple(
            0 if size == 1 and wanted != 1 else stride
            for size, stride, wanted in zip(self.shape, self.strides, shape[missing:])
        )
        return replace(self, shape=tuple(shape), strides=(0,) * missing + strides)

    def reshaped(self, shape: Shape) -> View | None:
        """The same elements in another shape, or None where that takes a copy."""
        if self.size == 0:
            return replace(self, shape=shape, strides=dense_strides(shape))
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
        return replace(self, shape=shape, strides=tuple(strides))


def dense_strides(shape: Shape) -> Shape:
    """C-order strides in elements."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def collapsed(shape: Shape, *strides: Shape) -> tuple[list[int], list[list[int]]]:
    """The fewest dimensions that walk the same elements in the same order for all operands."""
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        current = [operand[axis] for operand in strides]
        if sizes and all(step[-1] == size * now for step, now in zip(steps, current)):
            sizes[-1] *= size
            for step, now in zip(steps, current):
                step[-1] = now
        else:
            sizes.append(size)
            for step, now in zip(steps, current):
                step.append(now)
    if not sizes:
        return [1], [[0] for _ in strides]
    return sizes, steps
