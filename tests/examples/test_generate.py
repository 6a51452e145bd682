"""The demonstration generate: what it writes, how it scores, and the n-grams beside it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tinyseq.demo.generate import characters, data, ngram, picture, pieces, run, score
from tinyseq.demo.subwords import END, UNKNOWN, Subwords

import tinyseq
from tinyseq.errors import ModelError, OptionError

EXPECTED = np.load(Path(__file__).parents[1] / "data" / "demo_generate.npz")
HELD_OUT = (
    "And she said unto her, All that thou sayest unto me I will do.\n"
    "And when Boaz had eaten and drunk, and his heart was merry, he went to lie down at the end of the heap "
    "of corn: and she came softly, and uncovered his feet, and laid her down.\n"
)
"""Out of Ruth, which the model has not read."""


@pytest.fixture(scope="module")
def model() -> tinyseq.Session:
    return tinyseq.load(run.MODEL)


@pytest.fixture(scope="module")
def subwords() -> Subwords:
    return Subwords.read(pieces.VOCABULARY)


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def test_narrow_weights_give_nearly_what_torch_gave(model):
    logits = model.run({"tokens": EXPECTED["tokens"]})["logits"]
    expected, found = (log_probabilities(each) for each in (EXPECTED["logits"], logits))
    divergence = (np.exp(expected) * (expected - found)).sum(-1)
    assert divergence.mean() < 0.01
    assert np.mean(expected.argmax(-1) == found.argmax(-1)) > 0.95


def test_each_method_writes_on_from_the_prompt(capsys):
    assert run.main(["--prompt", "The king", "--length", "40", "--beams", "3"]) == 0
    said = capsys.readouterr().out
    titles = [line for line in said.splitlines() if line.startswith("---")]
    assert [title.split()[1].rstrip(":") for title in titles] == list(run.METHODS)
    written = re.findall(r"^The king(.*?)\n\([\d,]+ pieces a second\)$", said, re.DOTALL | re.MULTILINE)
    assert len(written) == 3 and all(40 <= len(text) < 400 for text in written)


def test_greedy_search_is_the_likeliest_piece_of_the_whole_text_each_time(model, subwords, capsys):
    assert run.main(["--prompt", "In the", "--length", "30", "--method", "greedy"]) == 0
    said = capsys.readouterr().out.split("\n(")[0].split("\n", 1)[1]
    tokens = pieces.numbers(subwords, pieces.cut(subwords, "In the")).tolist()
    begin = len(tokens)
    for _ in range(30):
        logits = model.run({"tokens": np.array([tokens])})["logits"][0, -1]
        logits[UNKNOWN] = -np.inf
        tokens.append(int(logits.argmax()))
    assert said == "In the" + "".join(pieces.shown(pieces.named(subwords, tokens[begin:]), "the"))


def test_a_seed_decides_what_is_drawn(capsys):
    written = []
    for seed in ("1", "1", "2"):
        assert run.main(["--length", "60", "--method", "sampling", "--seed", seed]) == 0
        written.append(capsys.readouterr().out.split("\n(")[0].split("\n", 1)[1])
    assert written[0] == written[1] != written[2]


def test_streamed_scores_are_those_of_the_whole(model, subwords, monkeypatch):
    whole = score.surprises(model, subwords, HELD_OUT)
    monkeypatch.setattr(score, "CHUNK", 7)
    assert np.array_equal(score.surprises(model, subwords, HELD_OUT).bits, whole.bits)
    assert "".join(whole.pieces) == HELD_OUT and len(whole.pieces) == len(whole.bits)


def test_the_text_that_it_has_not_read_is_foreseen(model, subwords):
    assert score.surprises(model, subwords, HELD_OUT).mean < 1.5
    assert score.surprises(model, subwords, HELD_OUT[::-1]).mean > 4


def test_a_file_is_scored(capsys, tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("And he said, \u00e4\u00df\n", encoding="utf-8")
    assert run.main(["--text", str(path), "--plot", str(tmp_path / "own.png")]) == 0
    said = capsys.readouterr().out
    assert "15 characters in" in said and "2 of them are none that the model knows" in said
    assert (tmp_path / "own.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe\xff"])
def test_a_file_without_text_is_refused(tmp_path, content):
    path = tmp_path / "own.txt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"own\.txt"):
        run.main(["--text", str(path)])


def test_options_out_of_range_are_refused():
    with pytest.raises(OptionError, match="temperature"):
        run.main(["--temperature", "0"])
    with pytest.raises(OptionError, match="max_new_tokens"):
        run.main(["--length", "0"])


def test_lines_of_the_picture_hold_the_text_and_no_more():
    text = "a " * 100 + "\n\n" + "b" * 200
    lines = picture._lines(text)
    assert all(end - start <= picture.COLUMNS for start, end in lines)
    assert "".join(text[start:end] for start, end in lines).replace(" ", "") == "a" * 100 + "b" * 200


def test_pieces_come_back_as_the_text(subwords):
    for text in (HELD_OUT, "Two\n\nlines", "\n", ""):
        parts = pieces.cut(subwords, text)
        tokens = pieces.numbers(subwords, parts)
        assert tokens[0] == END and pieces.named(subwords, tokens[1:]) == parts
        assert "".join(pieces.shown(parts)) == text
    assert pieces.cut(subwords, "\u201cYea\u2019  so\u201d") == pieces.cut(subwords, "'Yea' so'")


def test_characters_of_the_ngrams():
    assert characters.numbers(characters.CHARACTERS).tolist() == list(range(characters.OTHER))
    assert characters.numbers("\u201cY\u2019\u00e4").tolist() == [
        *characters.numbers("'Y'"),
        characters.OTHER,
    ]


@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_of_ngrams_sum_to_one(order):
    tokens = np.random.default_rng(order).integers(0, 5, 400)
    model = ngram.NGrams(tokens, order)
    for at in (0, 7, 100):
        before = tokens[at : at + order - 1]
        total = sum(2 ** -model.bits(np.append(before, last)) for last in range(characters.COUNT))
        assert total == pytest.approx(1)


def test_ngrams_foresee_what_they_have_seen():
    tokens = np.tile(np.arange(6), 50)
    assert ngram.NGrams(tokens, 3).bits(tokens) < 0.2
    assert ngram.NGrams(tokens, 1).bits(tokens) > 2.4


def test_no_book_is_in_two_parts(asset):
    asset("bible")
    train, validation, test = data.texts()
    assert all(verse in test and verse not in train for verse in HELD_OUT.splitlines())
    assert [round(len(part) / 1000) for part in (train, validation, test)] == [4016, 50, 72]
    assert set(validation + test) <= set(characters.CHARACTERS)
