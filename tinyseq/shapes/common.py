"""What the shape rules share: axes, broadcasting and the error they raise."""

from __future__ import annotations

from typing import Any

import numpy as np

Shape = tuple[int, ...]
Attributes = dict[str, Any]


class Mismatch(ValueError):
    """Inputs that do not fit each other or the op."""


MOST_DIMENSIONS = 64 if int(np.__version__.split(".")[0]) > 1 else 32
"""Dimensions that a tensor may have: as many as NumPy's arrays."""


def checked_rank(shape: Shape) -> Shape:
    """A shape that is not of more dimensions than a tensor may have."""
    if len(shape) > MOST_DIMENSIONS:
        raise Mismatch(f"a result of {len(shape):,} dimensions; {MOST_DIMENSIONS} are the most")
    return shape


def whole_numbers(values: np.ndarray, what: str) -> list[int]:
    """The elements of a tensor of integers; refuses one of others. Open sizes are objects and stay open."""
    if values.dtype.kind not in "iuO" and values.size:
        raise Mismatch(f"{what} given as {values.dtype}; they are whole numbers")
    return values.ravel().tolist()


def listed(values: np.ndarray, what: str) -> list[int]:
    """The elements of a vector of integers."""
    if values.ndim != 1:
        raise Mismatch(f"{what} in {values.ndim} dimensions; they are given in a list")
    return whole_numbers(values, what)


def sizes_of(values: np.ndarray) -> list[int]:
    """A shape given as a tensor; refuses one of more dimensions than a tensor may have."""
    if values.size > MOST_DIMENSIONS:
        raise Mismatch(f"{values.size:,} sizes; {MOST_DIMENSIONS} dimensions are the most")
    return listed(values, "sizes")


def axis_of(axis: int, rank: int) -> int:
    """A possibly negative axis as a position in 0 ... rank - 1."""
    if not -rank <= axis < rank:
        raise Mismatch(f"axis {axis} is outside a tensor of {rank} dimensions")
    return axis % rank


def axes_of(axes, rank: int) -> list[int]:
    """Axes given as a tensor or list, made positive; refuses doubles."""
    given = whole_numbers(axes, "axes") if isinstance(axes, np.ndarray) else list(axes)
    positions = [axis_of(axis, rank) for axis in given]
    if len(set(positions)) != len(positions):
        raise Mismatch(f"axes {given} name a dimension twice")
    return positions


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The common shape of tensors under multidirectional broadcasting."""
    rank = max(map(len, shapes))
    result = []
    for sizes in zip(*[(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]):
        common = 1
        for size in sizes:
            if size != 1 and size != common:
                if common != 1:
                    raise Mismatch(f"shapes {', '.join(str(list(s)) for s in shapes)} do not broadcast")
                common = size
        result.append(common)
    return tuple(result)
