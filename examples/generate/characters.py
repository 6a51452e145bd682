"""The characters that the model knows, and texts as their numbers."""

from __future__ import annotations

import numpy as np

CHARACTERS = "\n !'(),-.:;?ABCDEFGHIJKLMNOPQRSTUVWYZabcdefghijklmnopqrstuvwxyz"
"""What the model reads and writes: all characters of the training text that occur more than once."""
OTHER = len(CHARACTERS)
"""The number of every other character."""
COUNT = OTHER + 1

_NUMBERS = {character: number for number, character in enumerate(CHARACTERS)}
_PLAIN = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014\t\r", "''''-- \n")


def plain(text: str) -> str:
    """A text with the typewriter's quotation marks, dashes and blanks in the place of print's."""
    return text.translate(_PLAIN)


def numbers(text: str) -> np.ndarray:
    """int64[characters] of a text, made plain."""
    return np.array([_NUMBERS.get(character, OTHER) for character in plain(text)], np.int64)
