"""What a Graph under construction is given, checked: names, numbers, sizes, types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinyseq.common.given import is_number, is_whole
from tinyseq.common.text import shown
from tinyseq.errors import ModelError
from tinyseq.ir.model import Dimension


class Names:
    """The names of a graph's tensors, or of its nodes: words, none of them twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._taken

    def claimed(self, name: str) -> str:
        """A name that is taken from now on."""
        if not isinstance(name, str) or not name or name in self._taken:
            raise ModelError(f"a tensor cannot be named {shown(name)}: names are words, unique in a graph")
        self._taken.add(name)
        return name

    def fresh(self, stem: str) -> str:
        """The stem, or the stem with a number where it is taken, claimed."""
        check_word(stem)
        name, number = stem, self._numbers.get(stem, 1)
        while name in self._taken:
            number += 1
            name = f"{stem}{number}"
        self._numbers[stem] = number
        return self.claimed(name)


def check_word(name: object) -> None:
    """Refuses a name that is no word."""
    if not isinstance(name, str) or not name:
        raise ModelError(f"a tensor or node cannot be named {shown(name)}: names are words")


def number(given: float, what: str) -> float:
    """One number."""
    if not is_number(given):
        raise ModelError(f"{what} is a number, not {shown(given)}")
    return float(given)


def sizes(given: Sequence[Dimension], name: str) -> tuple[Dimension, ...]:
    """The shape of an input: whole numbers, and words for what feeds decide."""
    try:
        shape = tuple(given)
    except TypeError as error:
        raise ModelError(f"input {name!r}: its shape is a list of sizes, not {shown(given)}") from error
    return tuple(int(size) if is_whole(size) else size for size in shape)


def as_dtype(given: DTypeLike, name: str) -> np.dtype:
    """A type that NumPy knows."""
    try:
        return np.dtype(given)
    except Exception as error:  # NumPy reads types out of objects of every kind
        raise ModelError(f"{name!r} is of type {shown(given)}, which NumPy does not know") from error


def listed(given: Iterable[Any], what: str) -> tuple[Any, ...]:
    """What is given in a list."""
    try:
        return tuple(given)
    except TypeError as error:
        raise ModelError(f"{what} are given in a list, not as {shown(given)}") from error


def whole_numbers(given: Sequence[int], what: str) -> tuple[int, ...]:
    """Whole numbers that int64 holds."""
    numbers = listed(given, what)
    if not all(is_whole(number) and -(2**63) <= number < 2**63 for number in numbers):
        raise ModelError(f"{what} are whole numbers, not {shown(given)}")
    return tuple(int(number) for number in numbers)
