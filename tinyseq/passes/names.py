"""What the names of inputs and outputs say of state."""

from __future__ import annotations

import re

INPUT_WORDS = {"in", "input", "prev", "previous", "past", "initial", "init", "old", "last"}
OUTPUT_WORDS = {"out", "output", "next", "new", "n", "final", "present", "updated", "cur", "current"}
STATE_WORDS = {
    "h", "c", "s", "hx", "cx", "hidden", "cell", "state", "states", "cache", "caches", "memory", "mem",
    "buffer", "buf", "context", "carry", "rnn", "gru", "lstm",
}  # fmt: skip
"""Words that tell state from data."""

NEUTRAL = {"in", "input", "out", "output"}
"""Words of direction that data has as well."""


def stem(name: str, words: set[str]) -> tuple[str, ...]:
    """A tensor name in lower-case words, less those that only say which way it goes."""
    kept = tuple(part for part in _parts(name) if part not in words)
    if (
        len(kept) == 1
        and len(kept[0]) > 1
        and kept[0][-1] in "n0"
        and kept[0][:-1] in ("h", "c", "state", "hidden", "cell")
    ):
        return (kept[0][:-1],)
    return kept[:-1] if len(kept) > 1 and kept[-1] == "0" else kept


def alike(given: str, result: str) -> bool:
    """Whether an input and an output differ only in the words that say which way they go."""
    words = stem(given, INPUT_WORDS)
    return bool(words) and words == stem(result, OUTPUT_WORDS)


def says_state(given: str, result: str) -> bool:
    """Whether names that are alike speak of state, or of a time before and after."""
    if not STATE_WORDS.isdisjoint(stem(given, INPUT_WORDS)):
        return True
    before = (INPUT_WORDS - NEUTRAL).intersection(_parts(given))
    after = (OUTPUT_WORDS - NEUTRAL).intersection(_parts(result))
    return bool(before and after)


def _parts(name: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
