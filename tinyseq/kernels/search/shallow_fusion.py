"""What a search adds to the scores of a model's rows: a language model, words, hotwords.

All of it is a function of the tokens alone. A hypothesis carries three states; a token moves them on and
weighs something. ``search`` holds the settings, see ``layout.py``.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.llvm.intrinsics import compiled, doubles, integers, integers32
from tinyseq.kernels.search.automata import advance, emitted, target_of
from tinyseq.kernels.search.layout import (
    ALPHA,
    BETA,
    CLOSED,
    END_LABEL,
    FUSED,
    HOTWORDS,
    SEPARATOR,
    STATES,
    TOKEN_MODEL,
    UNKNOWN_LABEL,
    UNKNOWN_OFFSET,
    VOCABULARY,
    WORD_MODEL,
    WORDS,
)
from tinyseq.kernels.search.ranking import LOG_ZERO

OUT_OF_ALL = 2**31 - 2
"""A symbol that no hotword holds: what was granted for the beginning of one goes back."""

START, OUTSIDE = 0, -1
"""States of the words' automaton: between words, and in a word that it does not know."""


@compiled()
def _modelled(search, model, state, label):
    """(weight, next state): alpha * ln p(label) + beta, and what unknown words cost beside it."""
    weight, following = advance(model, state, label)
    if weight == LOG_ZERO:
        return weight, following
    return doubles(search)[ALPHA] * weight + doubles(search)[BETA], following


@compiled()
def _word_end(search, model, words, state, word_state):
    """(weight, next state of the language model) where a word ends."""
    settings = integers(search)
    word = emitted(words, word_state) if word_state != OUTSIDE else np.int64(-1)
    if word < 0:
        if settings[CLOSED]:
            return LOG_ZERO, state
        word = settings[UNKNOWN_LABEL]
    # Outside, the offset was paid when the known words were left.
    offset = word == settings[UNKNOWN_LABEL] and word_state != OUTSIDE
    weight = doubles(search)[UNKNOWN_OFFSET] if offset else 0.0
    if settings[FUSED] & WORD_MODEL:
        scored, state = _modelled(search, model, state, word)
        return weight + scored, state
    return weight + (0.0 if settings[FUSED] & TOKEN_MODEL else doubles(search)[BETA]), state


@compiled()
def _spelt(search, model, words, spelling, token, state, word_state):
    """(weight, language model's state, words' state) after the symbols of a token."""
    offsets = integers32(spelling)
    symbols = integers32(spelling + (integers(search)[VOCABULARY] + 2) * 4)
    weight = 0.0
    for i in range(offsets[token], offsets[token + 1]):
        symbol = np.int64(symbols[i])
        if symbol == SEPARATOR:
            if word_state != START:
                scored, state = _word_end(search, model, words, state, word_state)
                weight += scored
            word_state = np.int64(START)
        elif word_state != OUTSIDE:
            word_state = target_of(words, word_state, symbol)
            if word_state < 0:
                if integers(search)[CLOSED]:
                    return LOG_ZERO, state, np.int64(OUTSIDE)
                weight += doubles(search)[UNKNOWN_OFFSET]
                word_state = np.int64(OUTSIDE)
    return weight, state, word_state


@compiled()
def _hot(search, hotwords, spelling, token, state):
    """(weight, next state) of the hotwords after the symbols of a token."""
    offsets = integers32(spelling)
    symbols = integers32(spelling + (integers(search)[VOCABULARY] + 2) * 4)
    weight = 0.0
    for i in range(offsets[token], offsets[token + 1]):
        step, state = advance(hotwords, state, np.int64(symbols[i]))
        weight += step
    return weight, state


@compiled()
def fused(search, scorers, record, token):
    """(weight, the three states) of a hypothesis after a token; the token ``vocabulary`` is the end of all.

    ``scorers``: language model, its labels of tokens, words, hotwords, spelling.
    """
    model, labels, words, hotwords, spelling = scorers
    state = integers(record)[STATES]
    word_state = integers(record)[STATES + 1]
    hot_state = integers(record)[STATES + 2]
    settings = integers(search)
    parts = settings[FUSED]
    ends = token == settings[VOCABULARY]
    weight = 0.0
    if parts & TOKEN_MODEL and not ends:
        label = np.int64(integers32(labels)[token])
        step, state = _modelled(search, model, state, label)
        weight += step
        weight += doubles(search)[UNKNOWN_OFFSET] if label == settings[UNKNOWN_LABEL] else 0.0
    if parts & WORDS:
        step, state, word_state = _spelt(search, model, words, spelling, token, state, word_state)
        weight += step
    if parts & HOTWORDS:
        step, hot_state = _hot(search, hotwords, spelling, token, hot_state)
        weight += step
        if ends:
            weight += advance(hotwords, hot_state, np.int64(OUT_OF_ALL))[0]
    if ends and parts & (TOKEN_MODEL | WORD_MODEL) and settings[END_LABEL] >= 0:
        step, state = advance(model, state, settings[END_LABEL])
        weight += doubles(search)[ALPHA] * step if step > LOG_ZERO else LOG_ZERO
    return weight, state, word_state, hot_state
