"""The pieces of words that the model reads and writes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..subwords import BLANK, END, Subwords
from .characters import plain

VOCABULARY = Path(__file__).with_name("vocabulary.txt")
LINE = "\n"
"""Between two lines, the piece in the place of the end."""


def cut(subwords: Subwords, text: str) -> list[str]:
    """A text's pieces."""
    first, *others = plain(text).split(LINE)
    parts = subwords.cut(first)
    for line in others:
        parts += [LINE, *subwords.cut(line)]
    return parts


def numbers(subwords: Subwords, parts: list[str]) -> np.ndarray:
    """int64[1 + pieces], pieces' numbers behind that of the line end which a text begins with."""
    found = np.array([END, *subwords.numbers(parts)], np.int64)
    found[[at for at, part in enumerate(parts, 1) if part == LINE]] = END
    return found


def named(subwords: Subwords, tokens: Iterable[int]) -> list[str]:
    """The pieces of numbers."""
    return [LINE if token == END else subwords.pieces[token] for token in tokens]


def shown(parts: Iterable[str], last: str = LINE) -> list[str]:
    """What pieces look like in a text, behind the last one: words have a blank before them, but not in the
    beginning of a line."""
    found = []
    for part in parts:
        found.append(part.replace(BLANK, "" if last == LINE else " "))
        last = part
    return found
