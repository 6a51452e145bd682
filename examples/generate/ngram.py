"""An n-gram model of characters with interpolated Kneser-Ney smoothing (Chen & Goodman 1998)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .characters import COUNT

BITS = 6
"""Of a character in a window's number."""
LONGEST = 63 // BITS

assert COUNT <= 1 << BITS


class _Level(NamedTuple):
    """Windows of one length: their numbers, sorted, and counts; and the same of all but their last character,
    with the number of different characters that follow."""

    windows: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    sums: np.ndarray
    followers: np.ndarray
    discount: float


class NGrams:
    """A model of windows of up to ``order`` characters of a text, int64[characters]."""

    def __init__(self, tokens: np.ndarray, order: int) -> None:
        self._levels = []
        windows, counts = np.unique(_windows(tokens, order), return_counts=True)
        for length in range(order, 0, -1):
            self._levels.insert(0, _level(windows, counts))
            # Shorter ones count as often as they follow different characters.
            windows, counts = np.unique(windows & ((1 << BITS * (length - 1)) - 1), return_counts=True)

    @property
    def entries(self) -> int:
        """Windows that have a count of their own."""
        return sum(len(level.windows) for level in self._levels)

    def bits(self, tokens: np.ndarray) -> float:
        """Bits per character of a text but for its first ``order - 1`` characters, which are given."""
        probability = np.full(len(tokens) - len(self._levels) + 1, 1 / COUNT)
        for length, level in enumerate(self._levels, 1):
            windows = _windows(tokens, length)[-len(probability) :]
            counts = _looked_up(level.windows, level.counts, windows)
            sums = _looked_up(level.contexts, level.sums, windows >> BITS)
            followers = _looked_up(level.contexts, level.followers, windows >> BITS)
            left = np.maximum(counts - level.discount, 0) + level.discount * followers * probability
            probability = np.where(sums > 0, left / np.maximum(sums, 1), probability)
        return float(-np.log2(probability).mean())


def _windows(tokens: np.ndarray, length: int) -> np.ndarray:
    """The numbers of all windows of that length."""
    number = np.zeros(len(tokens) - length + 1, np.int64)
    for at in range(length):
        number = number << BITS | tokens[at : at + len(number)]
    return number


def _level(windows: np.ndarray, counts: np.ndarray) -> _Level:
    contexts, first, followers = np.unique(windows >> BITS, return_index=True, return_counts=True)
    once, twice = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
    discount = once / (once + 2 * twice) if once else 0.5
    return _Level(windows, counts, contexts, np.add.reduceat(counts, first), followers, discount)


def _looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The values of keys; 0 of those that are not there."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
