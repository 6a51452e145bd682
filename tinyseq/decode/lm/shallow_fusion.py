"""What is added to the scores of rows, made ready for the kernels: language model, words, hotwords."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from warnings import warn

import numpy as np

from tinyseq.common.text import shown
from tinyseq.decode.lm.automata import START, Automaton, automaton
from tinyseq.decode.lm.hotwords import hotwords_automaton
from tinyseq.decode.lm.language_model import BEGIN, END, UNKNOWN
from tinyseq.decode.words import GOES_ON, word_mark
from tinyseq.errors import OptionError, VocabularyWarning
from tinyseq.kernels.program import Buffer
from tinyseq.kernels.search.layout import (
    EMITS,
    HOTWORDS,
    NONE,
    ROOM,
    SEPARATOR,
    STATE_TABLE,
    TOKEN_MODEL,
    WORD_MODEL,
    WORDS,
)

if TYPE_CHECKING:
    from tinyseq.decode.lm.options import PrefixSearchOptions

SOME_WORD = 2**31 - 3
"""What a word ends as where no language model knows words: the label of none."""

BLANK = " "
NOT_A_WORD = (UNKNOWN, BEGIN, END)
EMPTY = Buffer(np.zeros(8, np.int64))


@dataclass(frozen=True, slots=True)
class Fusion:
    """All that takes part.

    Attributes:
        parts: the bits of ``layout.py``.
        buffers: language model, its labels of tokens, words, hotwords, spelling.
        start: the states of language model, words and hotwords before the first token.
        granted: what the state of the hotwords has granted by then.
        unknown: the language model's label of unknown words.
        closed: whether no words but the lexicon's are allowed.
        end: the language model's label of the end, or -1.
        gain: the most that one token can add to a score.
        lock: held while the kernels walk the language model.
        answer: answers what they asked of it; whether they did.
    """

    parts: int
    buffers: tuple[Buffer, Buffer, Buffer, Buffer, Buffer]
    start: tuple[int, int, int]
    granted: float
    unknown: int
    closed: bool
    end: int
    gain: float
    lock: AbstractContextManager
    answer: Callable[[], bool]

    @property
    def is_asked(self) -> bool:
        """Whether the language model is one that is asked."""
        return bool(self.buffers[0].array[ROOM])

    @property
    def state_ranges(self) -> tuple[tuple[int, int], ...]:
        """The least and the most that the states of language model, words and hotwords may be."""
        model, _, words, hotwords, _ = (buffer.array for buffer in self.buffers)
        outside = -1 if self.parts & WORDS else 0
        return (0, _last_state(model)), (outside, _last_state(words)), (0, _last_state(hotwords))


def _last_state(automaton: np.ndarray) -> int:
    return max(0, int(automaton[EMITS] - automaton[STATE_TABLE]) // 8 - 1)


NOTHING_ADDED = Fusion(
    0, (EMPTY,) * 5, (START,) * 3, 0.0, NONE, False, NONE, 0.0, nullcontext(), lambda: False
)


class Spelling:
    """Tokens and texts as sequences of symbols: characters of the vocabulary's strings, or else tokens.

    The symbol ``SEPARATOR`` stands between words.
    """

    def __init__(self, options: PrefixSearchOptions, tokens: int) -> None:
        vocabulary, separator = options.vocabulary, options.word_separator
        self._vocabulary, self._separator = vocabulary, _separator(separator, vocabulary)
        self.by_tokens = vocabulary is None or isinstance(options.lexicon, Mapping)
        self._symbols: dict[str, int] = {}
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

    def of(self, what: str | Sequence[int]) -> list[int]:
        """The symbols of a text, or of a sequence of tokens."""
        if not isinstance(what, str):
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
        return [
            SEPARATOR if letter == "\0" else self._symbols.setdefault(letter, len(self._symbols) + 1)
            for letter in text
        ]

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

    def must_know(self, what: str | Sequence[int], symbols: list[int]) -> None:
        """Refuses what no tokens spell."""
        if not self.knows(symbols):
            raise OptionError(f"{shown(what)} cannot be spelt with the vocabulary's tokens; leave it out")

    def buffer(self) -> Buffer:
        """The table that kernels read: offsets[V + 2], symbols. The end of all is spelt as a separator."""
        ends = [SEPARATOR] if self.separates else []
        lengths = [0, *(len(symbols) for symbols in self.tokens), len(ends)]
        symbols = [symbol for token in self.tokens for symbol in token]
        return Buffer(np.array([*np.cumsum(lengths), *symbols, *ends], np.int32))


def _separator(given: str | int | None, vocabulary: Sequence[str] | None) -> str | int | None:
    """What parts words: where no token holds a blank, which need not have been asked for, what else does."""
    if given != BLANK or vocabulary is None:
        return given
    mark = word_mark(vocabulary, given)
    return given if mark is None or mark == GOES_ON else mark


def fusion(options: PrefixSearchOptions, tokens: int) -> Fusion:
    """Everything that options ask for, for rows of ``tokens`` numbers.

    Raises:
        OptionError: the vocabulary does not fit the rows, or something asked for cannot be spelt.
    """
    model, parts, gain = options.lm, 0, 0.0
    if model is None and options.lexicon is None and not options.hotwords:
        return NOTHING_ADDED
    spelling = Spelling(options, tokens)
    by_word = model is not None and options.lm_level == "word"
    unknown = end = NONE
    labels = words = hotwords = EMPTY
    begin, granted = (START, START, START), 0.0
    if model is not None:
        unknown, end = model.label(UNKNOWN), model.words.get(END, NONE)
        begin = (model.begin, START, START)
        gain = options.alpha * model.automaton.most + options.beta + max(0.0, options.unk_score_offset)
        if not by_word:
            parts |= TOKEN_MODEL
            labels = _labels(options, tokens)
    if by_word or options.lexicon is not None:
        parts |= WORDS | (WORD_MODEL if by_word else 0)
        words = _words(options, spelling, by_word).buffer
        most_ends = max(symbols.count(SEPARATOR) for symbols in spelling.tokens)
        if by_word or model is None:
            gain = most_ends * max(0.0, gain, options.beta) + max(0.0, options.unk_score_offset)
    if options.hotwords:
        parts |= HOTWORDS
        bonuses, first = hotwords_automaton(_hotwords(options, spelling))
        hotwords = bonuses.buffer
        gain += bonuses.most * max(len(symbols) for symbols in spelling.tokens)
        if spelling.separates:
            state, granted = first[SEPARATOR]
            begin = (*begin[:2], state)
    buffers = (
        EMPTY if model is None else model.automaton.buffer,
        labels,
        words,
        hotwords,
        spelling.buffer(),
    )
    return Fusion(
        parts,
        buffers,
        begin,
        granted,
        unknown,
        closed=options.lexicon is not None,
        end=end,
        gain=gain,
        lock=nullcontext() if model is None else model.lock,
        answer=(lambda: False) if model is None else model.answer,
    )


def _labels(options: PrefixSearchOptions, tokens: int) -> Buffer:
    names = options.vocabulary if options.vocabulary is not None else [*map(str, range(tokens))]
    if not any(name in options.lm.words for name in names):
        _warn(f"the language model has none of the {len(names)} tokens", names[-1])
    return Buffer(np.array([options.lm.label(name) for name in names], np.int32))


def _words(options: PrefixSearchOptions, spelling: Spelling, by_word: bool) -> Automaton:
    """The trie of the words that are known: the lexicon's, else the language model's."""
    if not spelling.separates:
        raise OptionError(
            f"no token holds the word separator {options.word_separator!r}, so words cannot be told apart; "
            "set word_separator to what parts words in the vocabulary"
        )
    given = options.lexicon
    if given is None:
        given = [word for word in options.lm.words if word not in NOT_A_WORD]
    spelt = [(word, spelling.of(how)) for word, how in _spelt(given)]
    if isinstance(given, Mapping):
        spelt = [(word, _stripped(symbols)) for word, symbols in spelt]
    _check_spelt(spelt, spelling, options)
    label = options.lm.label if by_word else lambda word: SOME_WORD
    return _trie((word, symbols, label(word)) for word, symbols in spelt)


def _spelt(given: Mapping[str, Sequence[Sequence[int]]] | Collection[str]) -> Iterator[tuple[str, Any]]:
    """Words and what spells them."""
    for word in given:
        if isinstance(given, Mapping):
            yield from ((word, how) for how in given[word])
        else:
            yield word, word


def _check_spelt(
    spelt: list[tuple[str, list[int]]], spelling: Spelling, options: PrefixSearchOptions
) -> None:
    """Says so where a lexicon's words, or all of a language model's, are strange to the rest."""
    strange = [word for word, symbols in spelt if not spelling.knows(symbols)]
    if options.lexicon is None:
        if len(strange) == len(spelt) > 0:
            _warn(f"tokens spell none of the language model's {len(spelt)} words", strange[0])
    elif strange:
        _warn(f"tokens do not spell {len(strange)} of the lexicon's {len(spelt)} words", strange[0])
    elif options.lm is not None and options.lm_level == "word":
        if spelt and not any(word in options.lm.words for word, _ in spelt):
            _warn(f"the language model has none of the lexicon's {len(spelt)} words", spelt[0][0])


def _warn(what: str, example: str) -> None:
    text = f"{what}, such as {shown(example)}: are both in the same letters, capital or small?"
    warn(text, VocabularyWarning, stacklevel=2)


def _trie(words: Iterable[tuple[str, list[int], int]]) -> Automaton:
    children: dict[tuple[int, int], int] = {}
    emits, names = [NONE], [""]
    for word, symbols, label in words:
        if not symbols or SEPARATOR in symbols:
            raise OptionError(f"the word {word!r} is empty or holds the word separator")
        state = START
        for symbol in symbols:
            if (state, symbol) not in children:
                children[state, symbol] = len(emits)
                emits.append(NONE)
                names.append("")
            state = children[state, symbol]
        if emits[state] not in (NONE, label):
            raise OptionError(
                f"the words {names[state]!r} and {word!r} are spelt alike, and the language model tells them "
                "apart; keep one of them"
            )
        emits[state], names[state] = label, word
    arcs = np.array(list(children), np.int64).reshape(-1, 2)
    targets = np.fromiter(children.values(), np.int64, len(children))
    columns = (arcs[:, 0], arcs[:, 1], targets, np.zeros(len(children)))
    return automaton(columns, np.full(len(emits), NONE), emits=np.array(emits))


def _hotwords(options: PrefixSearchOptions, spelling: Spelling) -> dict[tuple[int, ...], float]:
    """Hotwords as symbols: whole words where words are parted by a separator."""
    weights = options.hotwords
    if not isinstance(weights, Mapping):
        weights = dict.fromkeys(map(_hashable, weights), options.hotword_weight)
    spelt: dict[tuple[int, ...], float] = {}
    for hotword, weight in weights.items():
        if not isinstance(hotword, str) and options.blank in hotword:
            raise OptionError(f"the hotword {shown(hotword)} holds the blank, which no result has")
        symbols = spelling.of(hotword)
        if not symbols:
            raise OptionError(f"the hotword {shown(hotword)} is empty")
        spelling.must_know(hotword, symbols)
        if spelling.separates:
            symbols = [SEPARATOR, *_stripped(symbols), SEPARATOR]
        if tuple(symbols) in spelt:
            raise OptionError(f"the hotword {shown(hotword)} stands twice")
        spelt[tuple(symbols)] = float(weight)
    return spelt


def _hashable(hotword: str | Sequence[int]) -> str | tuple[int, ...]:
    return hotword if isinstance(hotword, str) else tuple(hotword)


def _stripped(symbols: list[int]) -> list[int]:
    start = 1 if symbols[:1] == [SEPARATOR] else 0
    return symbols[start : len(symbols) - (symbols[-1:] == [SEPARATOR])]
