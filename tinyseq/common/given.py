"""What users give, of any kind: one check for paths and one for arrays."""

from __future__ import annotations

import os
from collections.abc import Collection
from numbers import Integral, Real
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import ModelError, TinyseqError

if TYPE_CHECKING:
    from pathlib import Path

_TYPED = ("__array__", "__array_interface__", "__array_struct__", "__dlpack__")
"""What objects have that say of which type their numbers are."""


def as_path(given: object, what: str) -> Path:
    """The path of what is read or written; ``what`` names it in messages.

    Raises:
        ModelError: it is none.
    """
    # Imported here: a model that is loaded and run need not wait for it.
    from pathlib import Path

    return Path(as_path_text(given, what))


def as_path_text(given: object, what: str) -> str:
    """``as_path``, as text."""
    if not isinstance(given, (str, os.PathLike)):
        raise ModelError(f"{what} is given by its path, not by {shown(given)}")
    try:
        path = os.fspath(given)
        if not isinstance(path, str):
            raise TypeError("it is bytes")
        if b"\0" in os.fsencode(path):
            raise ValueError("a null character is in it")
    except (TypeError, ValueError) as error:
        raise ModelError(f"{what} is given by its path, which {shown(given)} is not: {error}") from error
    return path


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder of this name, which may be one that no file can have."""
    return os.path.isdir(path)


def as_array(given: object) -> np.ndarray:
    """What is given as an array.

    Raises:
        ValueError: it gives none; says why.
    """
    if type(given) is np.ndarray:
        return given
    if _is_masked(given):
        raise ValueError(
            "numbers that are masked are none; give array.filled(value), or the numbers that are not masked"
        )
    try:
        return np.asarray(given)
    except Exception as error:  # objects of other packages raise what they like
        raise ValueError(str(error)) from error


def as_numbers(given: object, what: str, refusal: type[TinyseqError] = ModelError) -> np.ndarray:
    """What is given as an array of numbers or truth values; ``what`` names it in messages.

    Raises:
        ``refusal``: it is none.
    """
    try:
        array = as_array(given)
    except ValueError as error:
        raise refusal(f"{what} is no array: {error}") from error
    if array.dtype.kind not in "fiub":
        raise refusal(f"{what} holds {array.dtype}; give numbers")
    return array


def has_type(given: object) -> bool:
    """Whether what is given says of which type its numbers are, as arrays and tensors do and lists do not."""
    if isinstance(given, (np.ndarray, memoryview)) or any(hasattr(given, name) for name in _TYPED):
        return True
    # Imported here: few have such arrays.
    from array import array

    return isinstance(given, array)


def converted(given: object, dtype: np.dtype) -> np.ndarray:
    """Python's numbers and lists of them as an array of a type.

    Raises:
        ValueError: they are no numbers, or that type does not hold them; says why.
    """
    array = as_array(given)
    if array.size and not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ValueError(f"{array.dtype} numbers given")
    if array.dtype.kind == dtype.kind == "i" and array.dtype != dtype:
        bounds = np.iinfo(dtype)
        if array.size and not (bounds.min <= array.min() and array.max() <= bounds.max):
            raise ValueError(f"a number is beyond {bounds.min} to {bounds.max}")
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    if dtype.kind == "f" and not np.array_equal(np.isfinite(result), np.isfinite(array)):
        raise ValueError(f"a number is too large for {dtype}")
    return result


def is_one_of(given: object, names: Collection[str]) -> bool:
    """Whether it is one of some words; anything may be given."""
    return isinstance(given, str) and given in names


def is_whole(given: object) -> TypeGuard[int]:
    """Whether it is a whole number: Python's or NumPy's, no truth value and no span of time."""
    return isinstance(given, Integral) and not isinstance(given, (bool, np.timedelta64))


def is_number(given: object) -> TypeGuard[float]:
    """Whether it is a real number that a float holds, NaN and infinity among them."""
    if not isinstance(given, Real) or isinstance(given, (bool, np.timedelta64)):
        return False
    try:
        float(given)
    except (OverflowError, ValueError):
        return False
    return True


def _is_masked(given: object, depth: int = 64) -> bool:
    if isinstance(given, (list, tuple)):
        return depth > 0 and any(_is_masked(inner, depth - 1) for inner in given)
    return isinstance(given, np.ma.MaskedArray)
