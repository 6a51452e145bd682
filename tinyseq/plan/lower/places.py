"""Places that planning knows: a table of indices that fill a box is a View, and what it moves a copy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinyseq.plan.view import Shape, View


class Box:
    """Evenly spaced places: element [i, j, ...] of the table is at ``starts[k]`` + i * ``steps[k][0]`` + j *
    ``steps[k][1]`` + ... along dimension k."""

    __slots__ = ("shape", "starts", "steps")

    def __init__(self, shape: Shape, starts: tuple[int, ...], steps: tuple[Shape, ...]) -> None:
        self.shape = shape
        self.starts = starts
        self.steps = steps

    def of(self, x: View) -> View:
        """x at these places: the table's dimensions in place of x's first ones."""
        depth = len(self.starts)
        offset, strides = x.offset, [0] * len(self.shape)
        for start, steps, stride in zip(self.starts, self.steps, x.strides):
            offset += start * stride
            strides = [total + step * stride for total, step in zip(strides, steps)]
        return x.laid((*self.shape, *x.shape[depth:]), (*strides, *x.strides[depth:]), offset)


def is_known(indices: np.ndarray | View) -> bool:
    """Whether planning knows an operand that holds whole numbers."""
    return isinstance(indices, np.ndarray) and indices.dtype.kind in "iub"


def coordinates(shape: Shape) -> list[np.ndarray]:
    """Along each dimension the places of a tensor's elements in it."""
    axes = range(len(shape))
    return [np.arange(n).reshape([n if a == axis else 1 for a in axes]) for axis, n in enumerate(shape)]


class Table:
    """Known places in a tensor's first dimensions: for each of them indices, all of which broadcast to
    ``shape``; ``sizes`` are the tensor's."""

    def __init__(self, indices: Sequence[np.ndarray], shape: Shape, sizes: Shape) -> None:
        self.shape = shape
        self.inside = True
        wide = [np.broadcast_to(column.astype(np.int64), shape) for column in indices]
        self._columns = [self._counted(column, size) for column, size in zip(wide, sizes)]

    def _counted(self, column: np.ndarray, size: int) -> tuple[np.ndarray, int]:
        """Indices and what is to be added to them; a size counts only where some are counted from the end."""
        if column.size == 0:
            return column, 0
        low, high = column.min().item(), column.max().item()
        self.inside = self.inside and -size <= low and high < size
        if low >= 0 or not self.inside:
            return column, 0
        return (column, size) if high < 0 else (np.where(column < 0, column + int(size), column), 0)

    def box(self) -> Box | None:
        """The box that the places fill, in the table's order; None where they are not evenly spaced."""
        if not self.inside:
            return None
        starts, steps = [], []
        for column, added in self._columns:
            first = column.flat[0].item() if column.size else 0
            step = tuple(_step(column, axis) for axis in range(column.ndim))
            expected = np.full(column.shape, first)
            for axis, one in enumerate(step):
                expected += one * np.arange(column.shape[axis]).reshape(-1, *[1] * (column.ndim - axis - 1))
            if not np.array_equal(column, expected):
                return None
            starts.append(first + added)
            steps.append(step)
        return Box(self.shape, tuple(starts), tuple(steps))

    def runs(self) -> list[tuple[int, int, int]]:
        """Of a table of single indices (start, step, count) of evenly spaced runs, one after the other, as
        few as are found."""
        ((column, added),) = self._columns
        picks, found, start = column.ravel().tolist(), [], 0
        while start < len(picks):
            step = picks[start + 1] - picks[start] if start + 1 < len(picks) else 1
            end = start + 1
            while end < len(picks) and picks[end] - picks[end - 1] == step:
                end += 1
            found.append((picks[start] + added, step, end - start))
            start = end
        return found

    def distinct(self) -> bool:
        """Whether no place is there twice."""
        count = math.prod(self.shape)
        columns = [(column - column.min()).ravel() for column, _ in self._columns] if count else []
        if not self.inside or not columns:
            return self.inside and count < 2
        spans = [column.max().item() + 1 for column in columns]
        if math.prod(spans) >= 2**62:
            return False
        return np.unique(np.ravel_multi_index(columns, spans)).size == count


def _step(column: np.ndarray, axis: int) -> int:
    if column.size == 0 or column.shape[axis] == 1:
        return 0
    return (np.take(column, 1, axis).flat[0] - column.flat[0]).item()
