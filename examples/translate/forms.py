"""Sentences in the form that the networks read and write.

Names in braces and numbers stand as slots, for they are copied, and a sentence's first capital is set down:
so words are learnt once, wherever they stand. A translation gets both back from its source.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

SLOTS = "①②③④⑤⑥"
"""Stand for a source's different names and numbers, in their order; further ones stay as they are."""
_NAME = re.compile(rf"\{{[^}}]*\}}|\d+|[{SLOTS}]")
_WORD = re.compile(r"\w+")


class Source(NamedTuple):
    """A sentence to translate."""

    text: str
    """As it is read."""
    names: list[str]
    """What its slots stand for."""
    is_capital: bool
    """Whether it begins with a capital."""

    @classmethod
    def of(cls, sentence: str) -> Source:
        """The form of a sentence as it is typed."""
        names = list(dict.fromkeys(_NAME.findall(sentence)))[: len(SLOTS)]
        text = _with_slots(sentence, names)
        word = _WORD.search(text)
        is_capital = bool(word) and word[0][0].isupper()
        return cls(_small(text) if is_capital else text, names, is_capital)

    def translation(self, text: str) -> str:
        """What the networks wrote, as it is shown."""
        word = _WORD.search(text)
        if self.is_capital and word:
            text = text[: word.start()] + text[word.start()].upper() + text[word.start() + 1 :]
        return re.sub(f"[{SLOTS}]", lambda slot: "".join(self.names[SLOTS.index(slot[0]) :][:1]), text)

    def target(self, translation: str, small: set[str]) -> str:
        """A translation as the networks are to write it.

        Args:
            small: the words whose capital, at the beginning, is only there since they begin.
        """
        text = _with_slots(translation, self.names)
        word = _WORD.search(text)
        return _small(text) if self.is_capital and word and word[0].lower() in small else text


def small_words(sentences: Iterable[str]) -> set[str]:
    """Words that have, after the first of a sentence, no capital at least as often as they have one."""
    counts = Counter(word for sentence in sentences for word in _WORD.findall(sentence)[1:])
    return {word for word, count in counts.items() if word.islower() and count >= counts[word.capitalize()]}


def _with_slots(sentence: str, names: list[str]) -> str:
    return _NAME.sub(lambda name: SLOTS[names.index(name[0])] if name[0] in names else name[0], sentence)


def _small(text: str) -> str:
    """With the first word's capital set down, if it has just that one."""
    word = _WORD.search(text)
    if word is None or word[0][1:] != word[0][1:].lower():
        return text
    return text[: word.start()] + word[0].lower() + text[word.end() :]
