"""Where results may be written: nowhere twice, and not over the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import TypeVar

import numpy as np

from tinyseq.errors import FeedError
from tinyseq.ir.model import Value

A = TypeVar("A")

MOST_WORK = 1000
"""Steps of NumPy's search for a shared element; where they are not enough, there may be one."""


def check_apart(out: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> None:
    """Refuses arrays in which one result would be written over another, over itself or over the state.

    Raises:
        FeedError: two share elements, or are so interleaved that they may; says which.
    """
    for name, array in out.items():
        if _meets_itself(array):
            raise FeedError(
                f"out[{name!r}] has several elements in one place (shape {list(array.shape)}, strides "
                f"{list(array.strides)}); give an array that holds each once, as np.empty makes it"
            )
    check_pairs(out, state, _meet)


def check_pairs(out: Mapping[str, A], state: Mapping[str, A], meet: Callable[[A, A], bool]) -> None:
    """Refuses arrays of which two ``meet``, or one and a field of the state.

    Raises:
        FeedError: says which.
    """
    for name, array in out.items():
        for field, kept in state.items():
            if meet(array, kept):
                raise FeedError(
                    f"out[{name!r}] overlaps the state {field!r}, over which the result would be written; "
                    "give an array of its own"
                )
    for (name, array), (other, its) in combinations(out.items(), 2):
        if meet(array, its):
            raise FeedError(f"out[{name!r}] and out[{other!r}] overlap; give each result an array of its own")


def check_out(out: object, results: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> None:
    """Refuses what cannot take results.

    Raises:
        FeedError: it is no dict with a writable array of the right kind for each of ``results``, or as
            ``check_apart``.
    """
    if not isinstance(out, Mapping) or set(out) != set(results):
        raise FeedError(f"out must be a dict with an array for each of {', '.join(results)}")
    for name, array in results.items():
        given = out[name]
        if not isinstance(given, np.ndarray) or given.shape != array.shape or given.dtype != array.dtype:
            raise FeedError(f"out[{name!r}] must be an array for {Value(name, array.dtype, array.shape)}")
        if not given.flags.writeable:
            raise FeedError(f"out[{name!r}] is read-only; give an array that can be written to")
    check_apart({name: out[name] for name in results}, state)


def _meet(one: np.ndarray, other: np.ndarray) -> bool:
    try:
        return np.shares_memory(one, other, max_work=MOST_WORK)
    except np.exceptions.TooHardError:
        return True


def _meets_itself(array: np.ndarray) -> bool:
    """Whether a step along some axis does not lead past all elements of the axes with smaller steps, as it
    does in every part of an array."""
    if array.flags.forc:
        return False
    reach = array.itemsize
    for stride, size in sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape)):
        if size > 1 and stride < reach:
            return True
        reach += stride * (size - 1)
    return False
