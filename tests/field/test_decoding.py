"""Rows, vocabularies, language models and lexicons as other toolkits write them."""

from __future__ import annotations

import gzip
import json
import warnings
from math import log

import numpy as np
import pytest

import tinyseq

ARPA = "\\data\\\nngram 1=4\n\n\\1-grams:\n-1.0\t%s\n-99\t%s\n-0.9\t%s\n-0.6\ta\n\n\\end\\\n"
STRINGS = ["_", "a", "b", "|"]
PIECES = ["_", "▁a", "b", "▁b"]


def rows(tokens: list[int], size: int = 4) -> np.ndarray:
    """Log-probabilities that favour these tokens."""
    scores = np.full((len(tokens), size), -6.0)
    scores[range(len(tokens)), tokens] = 0
    return np.float32(scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True)))


AB = rows([1, 0, 2, 3, 2, 1])


@pytest.mark.parametrize("search", [tinyseq.ctc_greedy, tinyseq.ctc_beam_search])
def test_probabilities_are_refused_unless_they_are_said_to_be(search):
    best = search(AB, vocabulary=STRINGS)
    with pytest.raises(tinyseq.FeedError, match=r"row 0 of sequence 0 holds probabilities.*scores='prob"):
        search(np.exp(AB), vocabulary=STRINGS)
    with pytest.raises(tinyseq.FeedError, match="row 0 of sequence 1 holds probabilities"):
        search(np.stack([AB, np.exp(AB)]))
    for kind, given in (("probabilities", np.exp(AB)), ("logits", AB + 3), ("logits", np.float64(AB) - 40)):
        (found,) = search(given, vocabulary=STRINGS, scores=kind)
        assert (found.tokens, found.frames, found.text) == (best[0].tokens, best[0].frames, "ab|ba")
        assert found.score == pytest.approx(best[0].score, abs=1e-4)
    with pytest.raises(tinyseq.FeedError, match="at least 0"):
        search(AB, scores="probabilities")
    with pytest.raises(tinyseq.OptionError, match="'logp' or 'logits' or 'probabilities'"):
        search(AB, scores="softmax")


def test_scores_of_chunks_are_those_of_the_whole():
    given = np.random.default_rng(0).standard_normal((50, 33)).astype(np.float32) * 4
    decoder = tinyseq.CtcDecoder(tinyseq.CtcBeamSearch(scores="logits"))
    whole = decoder.decode(given)
    for size in (1, 3, 50):
        stream = decoder.stream()
        for start in range(0, 50, size):
            stream.step(given[start : start + size])
        assert stream.finish() == whole


def test_scores_that_no_model_normalised_are_taken_as_they_are():
    for given in (AB + 2, np.float32([[0.5, 0.7, 0, 0]]), np.float32([[1.0]]), np.zeros((1, 4), np.float32)):
        assert tinyseq.ctc_greedy(given)


@pytest.mark.parametrize(
    "vocabulary",
    [
        {"b": 2, "a": 1, "_": 0, "|": 3}, {2: "b", 3: "|", 0: "_", 1: "a"}, ("_", "a", "b", "|"),
        np.array(STRINGS),
    ],
)  # fmt: skip
def test_a_vocabulary_goes_by_its_numbers(vocabulary):
    (found,) = tinyseq.ctc_greedy(AB, vocabulary=vocabulary)
    assert found.text == "ab|ba"
    assert [one.word for one in tinyseq.word_times(found, vocabulary, 0.1)] == ["ab", "ba"]


@pytest.mark.parametrize(
    ("vocabulary", "words"),
    [
        ({"_", "a", "b", "|"}, "a sequence of strings"),
        ({"_": 0, "a": 1, "b": 2, "|": 4}, "no string for token 3"),
        ({"_": 0, "a": 1, "b": 1, "|": 2}, "two strings for token 1"),
        ({"_": 0, "a": 1.5}, "between strings and tokens"),
        ("_ab|", "a sequence of strings"),
        (["_", "a", "b"], "the vocabulary has 3 tokens, a row has 4"),
    ],
)
def test_other_vocabularies_are_refused(vocabulary, words):
    with pytest.raises(tinyseq.OptionError, match=words):
        tinyseq.ctc_beam_search(AB, vocabulary=vocabulary)


@pytest.mark.parametrize(
    ("name", "text", "strings"),
    [
        ("tokens.txt", "<blk> 0\na 1\nb 2\n", {0: "<blk>", 1: "a", 2: "b"}),
        ("tokens.txt", "b 2\n▁ 1\n<blank>\t0\n", {0: "<blank>", 1: "▁", 2: "b"}),
        ("tokens.txt", "<s> 0\n  1\n", {0: "<s>", 1: " "}),
        ("tokens.txt", "\ufeff<s>\nж\n\u2028\n \n", {0: "<s>", 1: "ж", 2: "\u2028", 3: " "}),
        ("tokens.txt", "_\r\na\r\n", {0: "_", 1: "a"}),
        ("tokens.txt", "a 1\nb\n", {0: "a 1", 1: "b"}),
        ("tokens.txt", "no 7\nno 7\n", {0: "no 7", 1: "no 7"}),
        ("vocab.json", '\ufeff{"b": 1, "a": 0}', {0: "a", 1: "b"}),
        ("vocab.json", '["a", "b"]', {0: "a", 1: "b"}),
    ],
)
def test_files_of_vocabularies(tmp_path, name, text, strings):
    path = tmp_path / name
    path.write_bytes(text.encode())
    assert tinyseq.read_vocabulary(path) == strings


def test_pieces_are_joined_to_words():
    given = rows([1, 0, 2, 3, 2])
    (found,) = tinyseq.ctc_greedy(given, vocabulary=PIECES)
    assert found.text == "ab bb"
    stream = tinyseq.CtcDecoder(tinyseq.CtcGreedy(vocabulary=PIECES)).stream()
    for row in given:
        stream.step(row[None])
        stable, tentative = stream.partial()
        assert found.text.startswith(stable.text + tentative.text)


@pytest.mark.parametrize("names", [("<unk>", "<s>", "</s>"), ("<UNK>", "<S>", "</S>")])
def test_special_words_may_be_in_capitals(tmp_path, names):
    path = tmp_path / "lm.arpa"
    path.write_text(ARPA % names)
    given = np.full((1, 3), -np.inf, np.float32)
    given[0, 2] = 0
    options = {"lm_level": "token", "vocabulary": ["_", "a", "zz"], "alpha": 1.0, "beta": 0.0}
    (best,) = tinyseq.ctc_beam_search(given, lm=tinyseq.read_arpa(path), unk_score_offset=0.0, **options)
    assert best.score / log(10) == pytest.approx(-1.9)


def test_language_models_are_told_by_what_is_in_them(tmp_path):
    text = (ARPA % ("<unk>", "<s>", "</s>")).encode()
    for name, content in (
        ("lm.lm", text), ("lm.arpa", gzip.compress(text)), ("lm", b"\xef\xbb\xbf" + text), ("lm.gz", text),
    ):  # fmt: skip
        tmp_path.joinpath(name).write_bytes(content)
        assert set(tinyseq.read_arpa(tmp_path / name).words) == {"<unk>", "<s>", "</s>", "a"}
    both = ARPA.replace("-0.6\ta", "-0.6\t<UNK>") % ("<unk>", "<s>", "</s>")
    tmp_path.joinpath("both").write_text(both)
    assert {"<unk>", "<UNK>"} <= set(tinyseq.read_arpa(tmp_path / "both").words)


def language_model(tmp_path, word: str):
    tmp_path.joinpath("lm.arpa").write_text(ARPA.replace("\ta\n", f"\t{word}\n") % ("<unk>", "<s>", "</s>"))
    return tinyseq.read_arpa(tmp_path / "lm.arpa")


def test_what_meets_no_token_draws_one_warning(tmp_path):
    capitals = ["_", "A", "B", "|"]
    lm = language_model(tmp_path, "ab")
    for options, words in (
        ({"lexicon": ["ab", "BA", "ba"]}, "tokens do not spell 2 of the lexicon's 3 words, such as 'ab'"),
        ({"lm": lm}, "tokens spell none of the language model's 1 words, such as 'ab'"),
        ({"lm": lm, "lexicon": ["AB"]}, "the language model has none of the lexicon's 1 words"),
        ({"lm": lm, "lm_level": "token"}, "the language model has none of the 4 tokens"),
    ):
        with pytest.warns(tinyseq.VocabularyWarning, match=words) as found:
            tinyseq.ctc_beam_search(np.stack([AB, AB]), vocabulary=capitals, **options)
        assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tinyseq.ctc_beam_search(AB, vocabulary=STRINGS, lm=lm, lexicon=["ab", "ba"])
    with pytest.raises(tinyseq.OptionError, match="'ab' cannot be spelt"):
        tinyseq.ctc_beam_search(AB, vocabulary=capitals, hotwords=["ab"])


@pytest.mark.parametrize("separator", ["▁", " "])
@pytest.mark.parametrize(
    "lexicon",
    [
        {"ab": [1, 2], "b": [3]}, {"ab": ["▁a", "b"], "b": [["▁b"]]}, ["ab", "b"],
        {"ab": [[3, 2], [1, 2]], "b": [[2, 2], [3]]},
    ],
)  # fmt: skip
def test_lexicons_of_word_pieces(lexicon, separator):
    given = rows([1, 0, 2, 0, 3, 0])
    (best,) = tinyseq.ctc_beam_search(given, vocabulary=PIECES, lexicon=lexicon, word_separator=separator)
    assert (best.tokens, best.text) == ([1, 2, 3], "ab b")
    other = {"ba": [3, 2]} if isinstance(lexicon, dict) else ["bb"]
    found = tinyseq.ctc_beam_search(given, vocabulary=PIECES, lexicon=other, word_separator=separator)
    assert {word.word for one in found for word in one.words} == set(other)


def test_files_of_lexicons(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("ab\ta b |\nba b a |\nab b b |\n")
    lexicon = tinyseq.read_lexicon(path)
    assert lexicon == {"ab": [["a", "b", "|"], ["b", "b", "|"]], "ba": [["b", "a", "|"]]}
    (best,) = tinyseq.ctc_beam_search(AB, vocabulary=STRINGS, lexicon=lexicon)
    assert best.text == "ab ba"
    path.write_text("ab\nnew york\n\n")
    assert tinyseq.read_lexicon(path) == ["ab", "new york"]
    path.write_text("ab\ta b\nba\n")
    with pytest.raises(tinyseq.ModelError, match="not that of the line 'ba'"):
        tinyseq.read_lexicon(path)
    with pytest.raises(tinyseq.OptionError, match="read_lexicon"):
        tinyseq.ctc_beam_search(AB, vocabulary=STRINGS, lexicon=["ab\ta b"])
    with pytest.raises(tinyseq.OptionError, match="'q' is no token of the vocabulary"):
        tinyseq.ctc_beam_search(AB, vocabulary=STRINGS, lexicon={"ab": ["a", "q"]})


@pytest.mark.parametrize("vocabulary", [STRINGS, ["_", "a", "b", " "], ["_", "a", "b", "▁"]])
def test_words_of_hotwords_are_parted_by_blanks(vocabulary):
    given = np.log(np.float32([[0.02, 0.5, 0.46, 0.02], [0.02, 0.02, 0.02, 0.94], [0.02, 0.5, 0.46, 0.02]]))
    (plain,) = tinyseq.ctc_beam_search(given, vocabulary=vocabulary)
    (best,) = tinyseq.ctc_beam_search(given, vocabulary=vocabulary, hotwords=["b b"])
    assert (plain.tokens, best.tokens) == ([1, 3, 1], [2, 3, 2])


def test_vocabularies_of_dicts_are_saved_as_lists(tmp_path):
    given = {text: token for token, text in enumerate(STRINGS)}
    tmp_path.joinpath("vocab.json").write_text(json.dumps({"tokens": given}))
    read = tinyseq.read_vocabulary(tmp_path / "vocab.json")
    one, other = (tinyseq.CtcBeamSearch(vocabulary=each) for each in (given, read))
    assert one == other and one.vocabulary == tuple(STRINGS)


PHONES = ["_", "t", "uw", "w", "ah", "n", "|"]
NUMBERS = {"two": [["t", "uw"], ["t", "w", "uw"]], "one": ["w", "ah", "n"], "too": ["t", "uw"]}


def test_pronunciations_give_words():
    given = rows([1, 0, 2, 6, 0, 3, 4, 5, 6, 6, 0, 6, 1, 3, 2], len(PHONES))
    with pytest.warns(tinyseq.VocabularyWarning, match="'two' and 'too' are spelt alike"):
        decoder = tinyseq.CtcDecoder(
            tinyseq.CtcBeamSearch(vocabulary=PHONES, lexicon=NUMBERS, word_separator="|")
        )
        (best,) = decoder.decode(given)
    assert best.text == "two one two"
    assert [(one.word, one.start, one.end) for one in best.words] == [
        ("two", 0, 3), ("one", 5, 8), ("two", 12, 15),
    ]  # fmt: skip
    assert all(one.confidence == pytest.approx(0.985, abs=0.01) for one in best.words)
    (_, one, _) = tinyseq.word_times(best, PHONES, 0.25)
    assert one == ("one", 1.25, 2.0, best.words[1].confidence)


@pytest.mark.parametrize(
    ("spoken", "text"), [([1, 2, 3, 1], "ab"), ([1, 2, 3], "ab"), ([1], ""), ([1, 2, 3, 1, 2], "ab ab")]
)
def test_a_search_that_ends_within_a_word_gives_its_whole_words(spoken, text):
    decoder = tinyseq.CtcDecoder(tinyseq.CtcBeamSearch(2, vocabulary=STRINGS, lexicon=["ab"]))
    (whole,) = decoder.decode(rows(spoken))
    live = decoder.stream()
    for row in rows(spoken):
        live.step(row[None])
    assert live.finish() == [whole]
    assert whole.text == text and [one.word for one in whole.words] == text.split()


def test_texts_of_words_have_no_doubled_separators():
    (best,) = tinyseq.ctc_beam_search(
        rows([3, 1, 2, 3, 0, 3, 2, 1, 3]), vocabulary=STRINGS, lexicon=["ab", "ba"]
    )
    assert best.text == "ab ba"


def test_many_words_that_are_spelt_alike_draw_one_warning():
    lexicon = {word: ["t", "uw"] for word in ("two", "too", "to", "tu")}
    options = {"vocabulary": PHONES, "lexicon": lexicon, "word_separator": "|"}
    with pytest.warns(tinyseq.VocabularyWarning, match="'two' and 'too' .*, as are 2 others") as found:
        (best,) = tinyseq.ctc_beam_search(rows([1, 2], len(PHONES)), **options)
    assert (len(found), best.text) == (1, "two")
