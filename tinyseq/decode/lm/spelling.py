"""How words are spelt in symbols, and read out of tokens again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyseq.common.text import shown
from tinyseq.decode.words import GOES_ON, word_mark
from tinyseq.errors import OptionError
from tinyseq.kernels.program import Buffer
from tinyseq.kernels.search.layout import SEPARATOR

if TYPE_CHECKING:
    from tinyseq.decode.lm.options import PrefixSearchOptions

BLANK = " "

STRANGE = -1
"""The symbol of a letter that no token has."""


class Spelling:
    """Tokens and texts as sequences of symbols: characters of the vocabulary's strings, or else tokens.

    The symbol ``SEPARATOR`` stands between words.
    """

    def __init__(self, options: PrefixSearchOptions, tokens: int) -> None:
        vocabulary, separator = options.vocabulary, options.word_separator
        self._vocabulary, self._separator = vocabulary, separator_of(separator, vocabulary)
        self.by_tokens = vocabulary is None or isinstance(options.lexicon, Mapping)
        self._symbols: dict[str, int] = {}
        self._size = tokens
        if not self.by_tokens and isinstance(separator, int):
            raise OptionError(
                f"word_separator={separator} is a token, and words are spelt by the vocabulary's strings; "
                "give the string that parts them"
            )
        self._has_blanks = any(" " in text for text in vocabulary or ())
        self.tokens = [self.of([token] if self.by_tokens else vocabulary[token]) for token in range(tokens)]
        self.tokens[options.blank] = []
        self._known = frozenset(self._symbols.values())
        self.separates = any(SEPARATOR in symbols for symbols in self.tokens)

    def of(self, what: str | Sequence[int], learns: bool = True) -> list[int]:
        """The symbols of a text, or of a sequence of tokens; of letters that it does not know new ones or,
        unless it ``learns``, ``STRANGE``."""
        if not isinstance(what, str):
            beyond = [token for token in what if token >= self._size]
            if beyond:
                raise OptionError(f"{shown(what)} names token {beyond[0]}, a row has {self._size} numbers")
            if self.by_tokens:
                return [symbol for token in what for symbol in self._of_token(token)]
            what = "".join(self._vocabulary[token] for token in what)
        elif self.by_tokens:
            raise OptionError(
                f"{shown(what)} cannot be spelt: give it as a sequence of tokens, or give a vocabulary and "
                "no lexicon but of words"
            )
        text = what if self._separator is None else what.replace(self._separator, "\0")
        if self._separator is not None and not self._has_blanks:
            text = text.replace(" ", "\0")
        return [SEPARATOR if letter == "\0" else self._symbol(letter, learns) for letter in text]

    def _symbol(self, letter: str, learns: bool) -> int:
        if not learns:
            return self._symbols.get(letter, STRANGE)
        return self._symbols.setdefault(letter, len(self._symbols) + 1)

    def _of_token(self, token: int) -> list[int]:
        """The token itself, and a separator where its string begins or ends with one."""
        separator = self._separator
        if not isinstance(separator, str) or self._vocabulary is None:
            return [SEPARATOR if token == separator else token + 1]
        text = self._vocabulary[token]
        if text == separator:
            return [SEPARATOR]
        before, behind = text.startswith(separator), text.endswith(separator)
        return [*[SEPARATOR] * before, token + 1, *[SEPARATOR] * behind]

    def knows(self, symbols: Sequence[int]) -> bool:
        """Whether tokens spell them."""
        known = range(1, len(self.tokens) + 1) if self.by_tokens else self._known
        return all(symbol == SEPARATOR or symbol in known for symbol in symbols)

    @cached_property
    def buffer(self) -> Buffer:
        """The table that kernels read: offsets[V + 2], symbols. The end of all is spelt as a separator."""
        ends = [SEPARATOR] if self.separates else []
        lengths = [0, *(len(symbols) for symbols in self.tokens), len(ends)]
        symbols = [symbol for token in self.tokens for symbol in token]
        return Buffer(np.array([*np.cumsum(lengths), *symbols, *ends], np.int32))


class WordReader:
    """Reads the words of a lexicon out of tokens.

    Args:
        words: each by its symbols.
        tokens: the symbols of each token.
        vocabulary: the tokens' strings, for words that have only begun.
    """

    def __init__(
        self, words: Mapping[tuple[int, ...], str], tokens: list[list[int]], vocabulary: Sequence[str] | None
    ) -> None:
        self._words, self._tokens, self._vocabulary = words, tokens, vocabulary

    def of(self, tokens: Sequence[int], is_over: bool) -> list[tuple[str, int, int]]:
        """The words, each with the places of its first and its last token; where all ``is_over`` without one
        that has only begun, else with its tokens' strings for it."""
        found, (symbols, first, last) = self._read(tokens)
        if symbols and (tuple(symbols) in self._words or not is_over):
            found.append((self._word(symbols, tokens[first : last + 1]), first, last))
        return found

    def ended(self, tokens: Sequence[int]) -> list[tuple[str, int, int]]:
        """Those that are over, whatever tokens follow."""
        return self._read(tokens)[0]

    def _read(self, tokens: Sequence[int]) -> tuple[list[tuple[str, int, int]], tuple[list[int], int, int]]:
        """The words that are over, and the symbols of one that has begun with its places."""
        found: list[tuple[str, int, int]] = []
        symbols: list[int] = []
        first = last = 0
        for place, token in enumerate(tokens):
            for symbol in self._tokens[token]:
                if symbol != SEPARATOR:
                    first, last = (first if symbols else place), place
                    symbols.append(symbol)
                elif symbols:
                    found.append((self._word(symbols, tokens[first : last + 1]), first, last))
                    symbols = []
        return found, (symbols, first, last)

    def _word(self, symbols: list[int], tokens: Sequence[int]) -> str:
        word = self._words.get(tuple(symbols))
        if word is not None:
            return word
        return "".join(
            str(token) if self._vocabulary is None else self._vocabulary[token] for token in tokens
        )


def separator_of(given: str | int | None, vocabulary: Sequence[str] | None) -> str | int | None:
    """What parts words: where no token holds a blank, which need not have been asked for, what else does."""
    if given != BLANK or vocabulary is None:
        return given
    mark = word_mark(vocabulary, given)
    return given if mark is None or mark == GOES_ON else mark


def spelt_words(given: Mapping[str, Sequence[Sequence[int]]] | Collection[str]) -> Iterator[tuple[str, Any]]:
    """Words and what spells them."""
    for word in given:
        if isinstance(given, Mapping):
            yield from ((word, how) for how in given[word])
        else:
            yield word, word


def stripped(symbols: list[int]) -> list[int]:
    """Symbols without a separator at either end."""
    start = 1 if symbols[:1] == [SEPARATOR] else 0
    return symbols[start : len(symbols) - (symbols[-1:] == [SEPARATOR])]
