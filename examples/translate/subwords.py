"""Sub-words by byte-pair encoding (Sennrich et al. 2016), of characters."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

BLANK = "▁"
"""Stands before a piece that begins a word."""
END, UNKNOWN, SPANISH, GERMAN = range(4)
SPECIAL = ("</s>", "<unk>", "<es>", "<de>")
START = {"es": SPANISH, "de": GERMAN}
"""The token that a decoder is given first, by language."""


class Subwords:
    """A vocabulary: the pieces in the order of their numbers. From the special tokens and single characters
    on, each is the join of two earlier ones, and the earlier it stands the earlier it is joined."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces
        self._numbers = {piece: number for number, piece in enumerate(pieces)}
        self._encoded = cache(self._word)

    @classmethod
    def read(cls, path: Path) -> Subwords:
        """The vocabulary of a file, a piece a line."""
        return cls(path.read_text(encoding="utf-8").split("\n"))

    def save(self, path: Path) -> None:
        """Writes what ``read`` reads."""
        path.write_text("\n".join(self.pieces), encoding="utf-8")

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's pieces, the end token not among them."""
        return [number for word in split(text) for number in self._encoded(word)]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of pieces."""
        return "".join(self.pieces[number] for number in numbers).replace(BLANK, " ").strip()

    def _word(self, word: str) -> tuple[int, ...]:
        parts = list(word)
        while len(parts) > 1:
            joins = [self._numbers.get(a + b, len(self)) for a, b in pairwise(parts)]
            first = min(range(len(joins)), key=joins.__getitem__)
            if joins[first] == len(self):
                break
            parts[first : first + 2] = ["".join(parts[first : first + 2])]
        return tuple(self._numbers.get(part, UNKNOWN) for part in parts)


def split(text: str) -> list[str]:
    """Words and marks; pieces do not cross their borders."""
    marked = "".join(BLANK + word for word in text.split())
    return re.findall(rf"{BLANK}?\w+|{BLANK}?[^\w\s{BLANK}]|{BLANK}", marked)


def learned(texts: Iterable[str], size: int, rarest: int = 5) -> Subwords:
    """A vocabulary of up to ``size`` pieces; characters found less than ``rarest`` times are unknown."""
    counts = Counter(word for text in texts for word in split(text))
    letters = Counter()
    for word, count in counts.items():
        letters.update(dict.fromkeys(word, 0) | {c: count * word.count(c) for c in word})
    pieces = [*SPECIAL, *sorted(c for c, count in letters.items() if count >= rarest)]
    pairs = _Pairs(counts)
    while len(pieces) < size and (joined := pairs.join()):
        if joined not in pieces:
            pieces.append(joined)
    return Subwords(pieces)


class _Pairs:
    """How often two pieces stand side by side."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts
        self._parts = {word: list(word) for word in counts}
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._where: dict[tuple[str, str], set[str]] = defaultdict(set)
        for word in counts:
            self._tally(word, 1)

    def join(self) -> str:
        """Joins the pair that is found most often everywhere; gives the piece, none if no pair is left."""
        best = max(self._pairs, key=lambda pair: (self._pairs[pair], pair), default=None)
        if not self._pairs[best]:
            return ""
        for word in sorted(self._where.pop(best)):
            self._tally(word, -1)
            self._parts[word] = list(_joined(self._parts[word], best))
            self._tally(word, 1)
        return "".join(best)

    def _tally(self, word: str, sign: int) -> None:
        parts = self._parts[word]
        for pair in pairwise(parts):
            self._pairs[pair] += sign * self._counts[word]
            if sign > 0:
                self._where[pair].add(word)


def _joined(parts: list[str], pair: tuple[str, str]) -> Iterator[str]:
    at = 0
    while at < len(parts):
        both = tuple(parts[at : at + 2]) == pair
        yield "".join(pair) if both else parts[at]
        at += 2 if both else 1
