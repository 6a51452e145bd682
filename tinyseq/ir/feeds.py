"""Checks what a user feeds against what a model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tinyseq.common.given import as_array, converted, has_type
from tinyseq.common.text import shown
from tinyseq.errors import FeedError
from tinyseq.ir.model import Value


def checked_feeds(values: Sequence[Value], feeds: Mapping[str, object]) -> dict[str, np.ndarray]:
    """The feeds as arrays, one for every input.

    Arrays, NumPy's and those of other packages, must have the input's dtype, but that inputs of int64 take
    whole numbers of any type, and inputs of booleans 0 and 1; Python numbers and lists are converted. Masked
    arrays are refused.

    Raises:
        FeedError: a name is missing or unknown, or a dtype, rank or size differs; says which.
    """
    if not isinstance(feeds, Mapping):
        raise FeedError(f"inputs are given as a dict from name to array, not {type(feeds).__name__}")
    names = {value.name for value in values}
    unknown = [name for name in feeds if name not in names]
    missing = [value.name for value in values if value.name not in feeds]
    if unknown or missing:
        problems = [f"missing {name!r}" for name in missing] + [f"unknown {shown(name)}" for name in unknown]
        raise FeedError(
            f"inputs do not match the model: {', '.join(problems)}; it takes {'; '.join(map(str, values))}"
        )
    return {value.name: checked_array(value, feeds[value.name], "input") for value in values}


def as_whole(array: np.ndarray, dtype: np.dtype) -> np.ndarray | None:
    """The same numbers as int64, or as booleans where they are 0 and 1; None where they are not whole, or
    another type is wanted."""
    if dtype not in (np.int64, np.bool_) or array.dtype.kind not in "iubf":
        return None
    with np.errstate(invalid="ignore"):
        converted = array.astype(dtype)
    return converted if np.array_equal(converted, array) else None


def checked_array(value: Value, given: object, what: str) -> np.ndarray:
    """One array checked against its declaration; ``what`` names its part in messages. For a scalar any array
    of one element is taken."""
    try:
        array = as_array(given) if has_type(given) else converted(given, value.dtype)
    except ValueError as error:
        raise FeedError(f"{what} {value.name!r} is not an array of {value.dtype}: {error}") from error
    if array.dtype != value.dtype and (array := as_whole(array, value.dtype)) is None:
        array = as_array(given)
        raise FeedError(
            f"{what} {value.name!r} is {array.dtype} and must be {value.dtype}; "
            f"convert it with .astype(np.{value.dtype})"
        )
    if value.shape is None:
        return array
    if not value.shape and array.size == 1:
        return array.reshape(())
    if array.ndim != len(value.shape):
        raise FeedError(
            f"{what} {value.name!r} has shape {list(array.shape)}, {array.ndim} dimensions; "
            f"{len(value.shape)} are needed: {value}"
        )
    for axis, (size, wanted) in enumerate(zip(array.shape, value.shape)):
        if isinstance(wanted, int) and size != wanted:
            raise FeedError(
                f"{what} {value.name!r} has shape {list(array.shape)}; axis {axis} must be {wanted}: {value}"
            )
    return array
