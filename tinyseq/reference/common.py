"""What the reference functions share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MOST_ELEMENTS = 2**31
"""A tensor above this size, asked for by a shape computation, is taken for damage."""

MOST_DIMENSIONS = 64
"""Dimensions that a tensor may have at the most, whatever NumPy's version."""

FUNCTIONS: dict[str, Callable] = {}
"""By op, of the families imported so far: takes the inputs in order, None where absent, and the attributes as
keywords. Functions of ops that run graphs take ``run(graph, *inputs) -> outputs`` first."""


def defines(name: str):
    """Registers a function as the meaning of an op."""

    def register(function):
        FUNCTIONS[name] = function
        return function

    return register


def checked_shape(shape) -> tuple[int, ...]:
    """Sizes given as a tensor; refuses negative ones and those of no real tensor."""
    sizes = tuple(int(size) for size in _few(shape))
    if any(size < 0 for size in sizes):
        raise ValueError(f"shape {list(sizes)} has a negative size")
    total = 1
    for size in sizes:
        total *= size
    if total > MOST_ELEMENTS:
        raise ValueError(f"shape {list(sizes)} asks for {total} elements")
    return sizes


def tuple_of(axes):
    """Axes given as a tensor, or None."""
    return None if axes is None else tuple(int(axis) for axis in _few(axes))


def _few(numbers) -> np.ndarray:
    """Numbers that are each of a dimension; refuses more than any tensor has."""
    numbers = np.ravel(numbers)
    if numbers.size > MOST_DIMENSIONS:
        raise ValueError(f"{numbers.size:,} dimensions are too many")
    return numbers
