"""Words and their times."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tinyseq.decode.words import spelt, word_mark

VOCABULARIES = {
    "characters": ["_", " ", "a", "b", "c"],
    "pieces": ["_", "▁", "▁a", "b", "▁bc", "c"],
    "continued pieces": ["_", "a", "##b", "bc", "##c", "##"],
    "byte-level pairs": ["_", "Ġa", "b", "Ġ", "Ġbc", "c"],
    "bars": ["_", "|", "a", "b", "c"],
    "bars within": ["_", "a|b", "|", "c"],
}


def heard(tokens: list[int], frames: list[int] | None = None) -> tinyseq.Hypothesis:
    confidences = [0.9 - 0.1 * place for place in range(len(tokens))]
    return tinyseq.Hypothesis(tokens, 0.0, frames or list(range(0, 2 * len(tokens), 2)), confidences)


@pytest.mark.parametrize(
    ("vocabulary", "tokens", "wanted"),
    [
        ("characters", [2, 3, 1, 4], [("ab", 0, 1), ("c", 3, 3)]),
        ("characters", [1, 1, 2, 1, 1], [("a", 2, 2)]),
        ("pieces", [2, 3, 4, 5], [("ab", 0, 1), ("bcc", 2, 3)]),
        ("pieces", [3, 1, 3, 2], [("b", 0, 0), ("b", 2, 2), ("a", 3, 3)]),
        ("continued pieces", [1, 2, 4, 3], [("abc", 0, 2), ("bc", 3, 3)]),
        ("continued pieces", [2, 1], [("b", 0, 0), ("a", 1, 1)]),
        ("byte-level pairs", [1, 2, 4, 3, 5], [("ab", 0, 1), ("bc", 2, 2), ("c", 4, 4)]),
        ("bars", [2, 1, 3, 4], [("a", 0, 0), ("bc", 2, 3)]),
        ("characters", [], []),
    ],
)
def test_words_are_parted_by_what_the_vocabulary_has(vocabulary, tokens, wanted):
    strings = VOCABULARIES[vocabulary]
    assert spelt(tokens, strings, word_mark(strings)) == wanted
    words = tinyseq.word_times(heard(tokens), strings, 0.25)
    assert words == [(word, 0.5 * first, 0.5 * last + 0.25, 0.9 - 0.1 * last) for word, first, last in wanted]
    assert all(type(word) is tinyseq.Word for word in words)


def test_separators_can_be_named():
    strings = VOCABULARIES["bars within"]
    assert spelt([1, 3, 2, 3], strings, word_mark(strings, "|")) == [("a", 0, 0), ("bc", 0, 1), ("c", 3, 3)]
    assert spelt([1, 3, 2, 3], strings, word_mark(strings, 2)) == [("a|bc", 0, 1), ("c", 3, 3)]
    ended = ["_", "he", "llo</w>", "you</w>"]
    words = tinyseq.word_times(heard([1, 2, 3], [4, 6, 9]), ended, 0.1, word_separator="</w>")
    assert [word.word for word in words] == ["hello", "you"]
    np.testing.assert_allclose([word[1:3] for word in words], [(0.4, 0.7), (0.9, 1.0)])


@given(st.sampled_from(sorted(VOCABULARIES)), st.lists(st.integers(1, 3), max_size=9))
def test_words_are_those_of_the_text(name, tokens):
    strings = VOCABULARIES[name]
    mark = word_mark(strings)
    text = "".join(strings[token] for token in tokens)
    words = spelt(tokens, strings, mark)
    if mark == "##":
        text = "".join(
            s[2:] if s.startswith("##") and n else f" {s.removeprefix('##')}"
            for n, s in enumerate(strings[t] for t in tokens)
        )
        mark = " "
    assert [word for word, *_ in words] == [word for word in text.split(mark) if word]
    assert all(first <= last for _, first, last in words)
    assert all(one[2] <= other[1] for one, other in pairwise(words))


def test_what_has_no_words_is_refused():
    for vocabulary, options, reason in (
        (["_", "a"], {}, "nothing in the vocabulary says where words begin"),
        (["_", "a"], {"word_separator": 2}, "token 2 is not in a vocabulary of 2"),
        (["_"], {"word_separator": 0}, "token 1 is not in a vocabulary of 1"),
        (["_", "a", " "], {"word_separator": "|"}, "no string of the vocabulary holds"),
        (["_", "a", " "], {"word_separator": ""}, "no string of the vocabulary holds"),
    ):
        with pytest.raises(tinyseq.OptionError, match=reason):
            tinyseq.word_times(heard([1]), vocabulary, 0.1, **options)
    with pytest.raises(tinyseq.OptionError, match="1 tokens, 2 frames and 1 confidences"):
        tinyseq.word_times(heard([1], [0, 2]), [" ", "a"], 0.1)
    with pytest.raises(tinyseq.OptionError, match="over frames"):
        tinyseq.word_times(tinyseq.Hypothesis([1], 0.0), [" ", "a"], 0.1)
    with pytest.raises(tinyseq.OptionError, match="is not in a vocabulary"):
        tinyseq.word_times(heard(["a"]), [" ", "a"], 0.1)
