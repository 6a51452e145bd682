"""Options are checked here, and kept as plain values: whatever is wrong is refused by its name."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf

import numpy as np

from tinyseq.common.given import is_number, is_whole
from tinyseq.common.text import shown
from tinyseq.errors import OptionError

MAX_INT = 2**31 - 1
"""The largest token and count."""

MAX_BEAMS = 2**16
"""The most hypotheses that a search keeps side by side."""


def whole(options: object, name: str, least: int, most: int = MAX_INT) -> None:
    """A whole number.

    Raises:
        OptionError: it is none, or out of its range.
    """
    value = getattr(options, name)
    if not is_whole(value) or not least <= value <= most:
        raise OptionError(f"{name}={shown(value)} must be a whole number from {least} to {most}")
    object.__setattr__(options, name, int(value))


def real(options: object, name: str, low: float, high: float = inf, above: bool = False) -> None:
    """A number from ``low``, with ``above`` itself not allowed, to ``high``, never infinity.

    Raises:
        OptionError: it is none, or out of its range.
    """
    value = getattr(options, name)
    fits = is_number(value) and low <= value <= high and value != inf
    if not fits or (above and value == low):
        least = [] if low == -inf else [f"above {low:g}" if above else f"at least {low:g}"]
        most = [] if high == inf else [f"at most {high:g}"]
        raise OptionError(f"{name}={shown(value)} must be a number {' and '.join(least + most)}")
    object.__setattr__(options, name, float(value))


def flag(options: object, name: str, more: str = "") -> None:
    """A truth value.

    Raises:
        OptionError: it is none; ``more`` says what else may be given.
    """
    value = getattr(options, name)
    if not isinstance(value, (bool, np.bool_)):
        raise OptionError(f"{name}={shown(value)} must be True, False{more}")
    object.__setattr__(options, name, bool(value))


def one_of(options: object, name: str, *words: str) -> None:
    """A word.

    Raises:
        OptionError: it is another one, or none.
    """
    value = getattr(options, name)
    if not isinstance(value, str) or value not in words:
        raise OptionError(f"{name}={shown(value)} must be {' or '.join(map(repr, words))}")


def is_collection(value: object) -> bool:
    """Whether it is several things: a list, a set, a dict or an array, and no text."""
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Collection) and not isinstance(value, (str, bytes))


def is_listed(value: object) -> bool:
    """Whether it is several things in an order: a list or an array, and no text."""
    return is_collection(value) and isinstance(value, (Sequence, np.ndarray))
