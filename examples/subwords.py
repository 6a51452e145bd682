"""Sub-words by byte-pair encoding (Sennrich et al. 2016), of characters."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path
from random import Random

BLANK = "▁"
"""Stands before a piece that begins a word."""
SPECIAL = "</s>", "<unk>"
END, UNKNOWN = range(2)
"""The numbers of what ends a sentence or line, and of every character that is no piece."""
VARIANTS = 8
"""Ways to cut a word, of which one is taken each time that a text is cut at random."""


class Subwords:
    """A vocabulary: the pieces in the order of their numbers. From the special tokens and single characters
    on, each is the join of two earlier ones, and the earlier it stands the earlier it is joined."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces
        self._numbers = {piece: number for number, piece in enumerate(pieces)}
        self._parts = cache(self._word)
        self._varied = cache(self._variants)

    @classmethod
    def read(cls, path: Path) -> Subwords:
        """The vocabulary of a file, a piece a line."""
        return cls(path.read_text(encoding="utf-8").split("\n"))

    def save(self, path: Path) -> None:
        """Writes what ``read`` reads."""
        path.write_text("\n".join(self.pieces), encoding="utf-8")

    def __len__(self) -> int:
        return len(self.pieces)

    def cut(self, text: str) -> list[str]:
        """A text's pieces, and characters that are none."""
        return [part for word in split(text) for part in self._parts(word)]

    def varied(self, text: str, chance: Random, dropped: float) -> list[str]:
        """As ``cut``, each join left out with a probability (Provilkov et al. 2020): words that are seldom
        read are learnt from their parts."""
        return [part for word in split(text) for part in chance.choice(self._varied(word, chance, dropped))]

    def numbers(self, parts: Iterable[str]) -> list[int]:
        """The numbers of pieces."""
        return [self._numbers.get(part, UNKNOWN) for part in parts]

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's pieces, the end token not among them."""
        return self.numbers(self.cut(text))

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of pieces."""
        return "".join(self.pieces[number] for number in numbers).replace(BLANK, " ").strip()

    def _variants(self, word: str, chance: Random, dropped: float) -> list[list[str]]:
        return [self._word(word, lambda: chance.random() < dropped) for _ in range(VARIANTS)]

    def _word(self, word: str, is_dropped: Callable[[], bool] = bool) -> list[str]:
        parts = list(word)
        while len(parts) > 1:
            joins = [
                len(self) if is_dropped() else self._numbers.get(a + b, len(self)) for a, b in pairwise(parts)
            ]
            first = min(range(len(joins)), key=joins.__getitem__)
            if joins[first] == len(self):
                break
            parts[first : first + 2] = ["".join(parts[first : first + 2])]
        return parts


def split(text: str) -> list[str]:
    """Words and marks; pieces do not cross their borders."""
    marked = "".join(BLANK + word for word in text.split())
    return re.findall(rf"{BLANK}?\w+|{BLANK}?[^\w\s{BLANK}]|{BLANK}", marked)


def learned(texts: Iterable[str], size: int, tokens: Iterable[str] = (), rarest: int = 5) -> Subwords:
    """A vocabulary of up to ``size`` pieces; characters found less than ``rarest`` times are unknown.

    Args:
        tokens: what is no text, numbered from the two special ones on.
    """
    counts = Counter(word for text in texts for word in split(text))
    letters = Counter()
    for word, count in counts.items():
        letters.update(dict.fromkeys(word, 0) | {c: count * word.count(c) for c in word})
    pieces = [*SPECIAL, *tokens, *sorted(c for c, count in letters.items() if count >= rarest)]
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
        # With a count that was, or is: each pair's own is among them.
        self._heap = [(-count, pair) for pair, count in self._pairs.items()]
        heapify(self._heap)

    def join(self) -> str:
        """Joins the pair that is found most often everywhere; gives the piece, none if no pair is left."""
        best = self._best()
        if best is None:
            return ""
        changed = set()
        for word in sorted(self._where.pop(best)):
            changed.update(self._tally(word, -1))
            self._parts[word] = list(_joined(self._parts[word], best))
            changed.update(self._tally(word, 1))
        for pair in changed:
            heappush(self._heap, (-self._pairs[pair], pair))
        return "".join(best)

    def _best(self) -> tuple[str, str] | None:
        while self._heap:
            count, pair = heappop(self._heap)
            if count and -count == self._pairs[pair]:
                return pair
        return None

    def _tally(self, word: str, sign: int) -> list[tuple[str, str]]:
        pairs = list(pairwise(self._parts[word]))
        for pair in pairs:
            self._pairs[pair] += sign * self._counts[word]
            if sign > 0:
                self._where[pair].add(word)
        return pairs


def _joined(parts: list[str], pair: tuple[str, str]) -> Iterator[str]:
    at = 0
    while at < len(parts):
        both = tuple(parts[at : at + 2]) == pair
        yield "".join(pair) if both else parts[at]
        at += 2 if both else 1
