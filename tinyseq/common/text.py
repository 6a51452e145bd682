"""What is shown to people: names and values of any kind, safe for a terminal and of bounded length."""

from __future__ import annotations

import re
from collections.abc import Iterable
from reprlib import Repr
from typing import Any

_CONTROLS = "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
"""The pattern of control characters, which terminals obey, line separators, and surrogates, which cannot be
encoded."""


def printable(text: str) -> str:
    """A text on one line, control characters in it written as Python writes them: ``\\x1b``."""
    if text.isprintable():
        return text
    return re.sub(_CONTROLS, lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class _Short(Repr):
    """``repr`` of bounded length and depth."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 200
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 16

    def repr_ndarray(self, array: Any, level: int) -> str:
        return repr(array) if array.size <= 4 else f"array of {array.dtype}{list(array.shape)}"


_short = _Short().repr


def shown(value: object) -> str:
    """What a message calls a value that may be anything: its ``repr``, shortened."""
    try:
        return _short(value)
    except Exception:  # an object that has no representation, or an int with too many digits for one
        return f"a value of type {type(value).__name__}"


def nearest(name: object, known: Iterable[str]) -> list[str]:
    """The up to three names that are most like a misspelt one."""
    # Imported here: only what is refused needs it.
    from difflib import get_close_matches

    return get_close_matches(name if isinstance(name, str) else "", list(known), n=3, cutoff=0.7)
