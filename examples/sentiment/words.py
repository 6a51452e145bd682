"""From texts to the numbers of their words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from html import unescape
from pathlib import Path

import numpy as np

UNKNOWN = 0
SPECIAL = ("<unknown>",)
_WORD = re.compile(r"[^\W_]+|'\w+|[!?]")


def words(text: str) -> list[str]:
    """Words in lower case, ``isn't`` as three: is, n, 't; of marks those of emphasis."""
    plain = re.sub(r"''|``", " ", unescape(text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")).lower()
    return _WORD.findall(re.sub(r"(\w)n't\b", r"\1 n't", plain))


class Vocabulary:
    """The words that the model knows; others are one unknown word."""

    def __init__(self, known: Sequence[str]) -> None:
        self.known = list(known)
        self._numbers = {word: number for number, word in enumerate(self.known)}

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """The vocabulary of a file, a word a line."""
        return cls(path.read_text(encoding="utf-8").split("\n"))

    @classmethod
    def of(cls, texts: Iterable[str], rarest: int) -> Vocabulary:
        """The words that are found at least ``rarest`` times, the most frequent ones first."""
        counts = Counter(word for text in texts for word in words(text))
        kept = sorted((-count, word) for word, count in counts.items() if count >= rarest)
        return cls([*SPECIAL, *(word for _, word in kept)])

    def save(self, path: Path) -> None:
        """Writes what ``read`` reads."""
        path.write_text("\n".join(self.known), encoding="utf-8")

    def __len__(self) -> int:
        return len(self.known)

    def numbers(self, text: str) -> np.ndarray:
        """int64[words]; of a text without words, one unknown word."""
        return np.array([self._numbers.get(word, UNKNOWN) for word in words(text)] or [UNKNOWN], np.int64)
