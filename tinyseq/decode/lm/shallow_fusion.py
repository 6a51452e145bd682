"""What is added to the scores of rows, made ready for the kernels: language model, words, hotwords."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from warnings import warn

import numpy as np

from tinyseq.common.text import shown
from tinyseq.decode.lm.automata import START, Automaton, automaton
from tinyseq.decode.lm.hotwords import hotwords_automaton
from tinyseq.decode.lm.language_model import BEGIN, END, UNKNOWN
from tinyseq.decode.lm.spelling import Spelling, WordReader, spelt_words, stripped
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
    from tinyseq.decode.lm.options import Hotwords, PrefixSearchOptions

SOME_WORD = 2**31 - 3
"""What a word ends as where no language model knows words: the label of none."""

NOT_A_WORD = (UNKNOWN, BEGIN, END)
MOST_NAMED = 10
"""Hotwords that a message names."""

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
        reader: reads a lexicon's words.
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
    reader: WordReader | None = None

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


def fusion(options: PrefixSearchOptions, spelling: Spelling | None) -> Fusion:
    """Everything that options ask for but hotwords; ``spelling`` is None where that is nothing.

    Raises:
        OptionError: something asked for cannot be spelt.
    """
    model, parts, gain = options.lm, 0, 0.0
    if spelling is None:
        return NOTHING_ADDED
    tokens = len(spelling.tokens)
    by_word = model is not None and options.lm_level == "word"
    unknown = end = NONE
    labels = words = EMPTY
    begin = (START, START, START)
    reader = None
    if model is not None:
        unknown, end = model.label(UNKNOWN), model.words.get(END, NONE)
        begin = (model.begin, START, START)
        gain = options.alpha * model.automaton.most + options.beta + max(0.0, options.unk_score_offset)
        if not by_word:
            parts |= TOKEN_MODEL
            labels = _labels(options, tokens)
    if by_word or options.lexicon is not None:
        parts |= WORDS | (WORD_MODEL if by_word else 0)
        spelt = _spelt(options, spelling)
        label = model.label if by_word and model is not None else lambda word: SOME_WORD
        words = _trie((word, symbols, label(word)) for word, symbols in spelt).buffer
        if options.lexicon is not None:
            reader = _reader(spelt, spelling, options)
        most_ends = max(symbols.count(SEPARATOR) for symbols in spelling.tokens)
        if by_word or model is None:
            gain = most_ends * max(0.0, gain, options.beta) + max(0.0, options.unk_score_offset)
    automaton = EMPTY if model is None else model.automaton.buffer
    return Fusion(
        parts,
        (automaton, labels, words, EMPTY, spelling.buffer),
        begin,
        0.0,
        unknown,
        closed=options.lexicon is not None,
        end=end,
        gain=gain,
        lock=nullcontext() if model is None else model.lock,
        answer=(lambda: False) if model is None else model.answer,
        reader=reader,
    )


def boosted(plain: Fusion, spelling: Spelling, hotwords: SpeltHotwords) -> Fusion:
    """The same with hotwords, which ``spelt_hotwords`` gave."""
    bonuses, first = hotwords_automaton(hotwords)
    model, labels, words, _, _ = plain.buffers
    start, granted = plain.start, plain.granted
    if spelling.separates:
        state, granted = first[SEPARATOR]
        start = (*start[:2], state)
    return replace(
        plain,
        parts=plain.parts | HOTWORDS,
        buffers=(model, labels, words, bonuses.buffer, spelling.buffer),
        start=start,
        granted=granted,
        gain=plain.gain + bonuses.most * max(len(symbols) for symbols in spelling.tokens),
    )


def _labels(options: PrefixSearchOptions, tokens: int) -> Buffer:
    names = options.vocabulary if options.vocabulary is not None else [*map(str, range(tokens))]
    if not any(name in options.lm.words for name in names):
        _warn(f"the language model has none of the {len(names)} tokens", names[-1])
    return Buffer(np.array([options.lm.label(name) for name in names], np.int32))


def _spelt(options: PrefixSearchOptions, spelling: Spelling) -> list[tuple[str, list[int]]]:
    """The words that are known, the lexicon's, else the language model's, each with its symbols."""
    if not spelling.separates:
        raise OptionError(
            f"no token holds the word separator {options.word_separator!r}, so words cannot be told apart; "
            "set word_separator to what parts words in the vocabulary"
        )
    given = options.lexicon
    if given is None:
        given = [word for word in options.lm.words if word not in NOT_A_WORD]
    spelt = [(word, spelling.of(how)) for word, how in spelt_words(given)]
    if isinstance(given, Mapping):
        spelt = [(word, stripped(symbols)) for word, symbols in spelt]
    _check_spelt(spelt, spelling, options)
    return spelt


def _reader(
    spelt: list[tuple[str, list[int]]], spelling: Spelling, options: PrefixSearchOptions
) -> WordReader:
    """Of words that are spelt alike, it reads the first."""
    words: dict[tuple[int, ...], str] = {}
    alike = [
        (known, word) for word, symbols in spelt if (known := words.setdefault(tuple(symbols), word)) != word
    ]
    if alike:
        known, word = alike[0]
        others = f", as are {len(alike) - 1} others" if len(alike) > 1 else ""
        text = f"the words {known!r} and {word!r} are spelt alike{others}: results have the first"
        warn(text, VocabularyWarning, stacklevel=2)
    return WordReader(words, spelling.tokens, options.vocabulary)


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


SpeltHotwords = dict[tuple[int, ...], float]
"""Hotwords as symbols: whole words where words are parted by a separator."""


def spelt_hotwords(hotwords: Hotwords, blank: int, spelling: Spelling) -> SpeltHotwords:
    """Hotwords as symbols.

    Raises:
        OptionError: some cannot be spelt, one is empty, holds the blank or stands twice.
    """
    spelt: SpeltHotwords = {}
    strange: list[str] = []
    for hotword, weight in hotwords.items():
        if not isinstance(hotword, str) and blank in hotword:
            raise OptionError(f"the hotword {shown(hotword)} holds the blank, which no result has")
        symbols = spelling.of(hotword, learns=False)
        if not symbols:
            raise OptionError(f"the hotword {shown(hotword)} is empty")
        if not spelling.knows(symbols):
            strange.append(shown(hotword))
        if spelling.separates:
            symbols = [SEPARATOR, *stripped(symbols), SEPARATOR]
        if tuple(symbols) in spelt and not strange:
            raise OptionError(f"the hotword {shown(hotword)} stands twice")
        spelt[tuple(symbols)] = weight
    if strange:
        named = ", ".join(strange[:MOST_NAMED]) + (", ..." if len(strange) > MOST_NAMED else "")
        left = "leave it out" if len(strange) == 1 else f"leave these {len(strange)} hotwords out"
        raise OptionError(f"{named} cannot be spelt with the vocabulary's tokens; {left}")
    return spelt
