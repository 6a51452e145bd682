"""Decoders that are limited to some words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tinyseq
from tinyseq import CtcBeamSearch, CtcDecoder, CtcGreedy

VOCABULARY = ["_", " ", "a", "b"]
SPELT = {"ab": ["a", "b", " "], "b": ["b", "b", " "], "ba": ["b", "a", " "]}


@pytest.mark.parametrize("lexicon", [None, ["b", "ab", "ba"], SPELT])
def test_a_decoder_limited_to_words_is_one_of_that_lexicon(lexicon):
    options = CtcBeamSearch(vocabulary=VOCABULARY, lexicon=lexicon, beam_width=7)
    words = ["ba", "ab"]
    own = {word: SPELT[word] for word in ("ab", "ba")} if lexicon is SPELT else sorted(words)
    logp = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    limited = CtcDecoder(options).limited_to(words)
    assert limited.decode(logp) == CtcDecoder(replace(options, lexicon=own)).decode(logp)
    assert {word.word for word in limited.decode(logp)[0].words} <= set(words)
    assert limited.options.beam_width == 7


@pytest.mark.parametrize(
    ("options", "words", "said"),
    [
        (CtcGreedy(vocabulary=VOCABULARY), ["a"], "cannot be limited"),
        (CtcBeamSearch(vocabulary=VOCABULARY, lexicon=["a"]), ["a", "b"], "no word 'b'"),
        (CtcBeamSearch(vocabulary=VOCABULARY), [], "one at least"),
        (CtcBeamSearch(vocabulary=VOCABULARY), "ab", "words are strings"),
        (CtcBeamSearch(vocabulary=VOCABULARY), [""], "words are strings"),
    ],
)
def test_words_that_no_decoder_can_be_limited_to(options, words, said):
    with pytest.raises(tinyseq.errors.OptionError, match=said):
        CtcDecoder(options).limited_to(words)
