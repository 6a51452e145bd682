"""A transducer that was trained, on spoken digits, in two forms, beside what PyTorch's own search hears.

``data/make_transducer.py`` has trained it and says what the files hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import tinyseq

FOLDER = Path(__file__).parent / "data" / "transducer"
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
STACKED = 4


class Said(NamedTuple):
    """An utterance: what the encoder takes, what was said, what PyTorch hears, and rows of a CTC layer."""

    x: np.ndarray
    text: str
    tokens: list[int]
    ctc: np.ndarray


@pytest.fixture(scope="module")
def said() -> list[Said]:
    given = np.load(FOLDER / "digits.npz")
    frames, lengths = given["frames"], given["lengths"]
    cut = lambda name, sizes: np.split(given[name], np.cumsum(sizes)[:-1])  # noqa: E731
    return [
        Said(((x.astype(np.float32) - 90) / 32).reshape(1, len(rows), -1), text, tokens.tolist(), rows)
        for x, text, tokens, rows in zip(
            cut("features", frames),
            given["texts"].tolist(),
            cut("tokens", lengths),
            cut("ctc", frames // STACKED),
            strict=True,
        )
    ]


@pytest.fixture(scope="module")
def vocabulary() -> dict[int, str]:
    return tinyseq.read_vocabulary(FOLDER / "tokens.txt")


def loaded(form: str) -> tinyseq.Transducer:
    if form == "three files":
        return tinyseq.Transducer.load(FOLDER)
    nemo = tinyseq.Transducer.load(FOLDER / "nemo")
    return tinyseq.Transducer(nemo.predictor, nemo.joiner, tinyseq.load(FOLDER / "encoder.onnx"))


@pytest.mark.parametrize("form", ["three files", "nemo"])
def test_it_hears_what_it_hears_in_pytorch(isa, said, vocabulary, form):
    given = loaded(form)
    right = 0
    for one in said:
        (frames,) = given.encode({"x": one.x})
        (found,) = tinyseq.transducer_greedy(given, frames, vocabulary=vocabulary)
        assert found.tokens == one.tokens
        right += found.text == one.text
    assert right == 17  # of 24


def test_it_hears_the_same_live(said):
    given = loaded("nemo")
    decoder = tinyseq.TransducerDecoder(given, tinyseq.TransducerGreedy())
    for one in said[:6]:
        hearing, live = given.encoder.stream(), decoder.stream()
        for start in range(0, one.x.shape[1], 3):
            live.step(hearing.step({"x": one.x[:, start : start + 3]})["encoder_out"][0])
        (found,) = live.finish()
        assert found.tokens == one.tokens


def test_a_lexicon_gives_digits_only(said, vocabulary):
    given = loaded("three files")
    options = {"vocabulary": vocabulary, "lexicon": DIGITS}
    for one in said[:6]:
        (frames,) = given.encode({"x": one.x})
        for found in tinyseq.transducer_beam_search(given, frames, 8, **options):
            assert set(found.text.split()) <= set(DIGITS)


def test_pruning_of_real_rows_loses_no_word_of_a_lexicon(said, vocabulary):
    """What is found is what is found without any bound; bounds for searches without a lexicon lose words."""
    options = {"vocabulary": vocabulary, "lexicon": DIGITS, "beam_width": 16}

    def heard(**bounds: float) -> list[str]:
        found = [tinyseq.ctc_beam_search(one.ctc.astype(np.float32), **options, **bounds) for one in said]
        return [hypotheses[0].text if hypotheses else "" for hypotheses in found]

    given = heard()
    assert given == heard(token_min_logp=-np.inf, beam_prune_logp=-np.inf)
    narrow = heard(token_min_logp=-5.0, beam_prune_logp=-10.0)
    assert sum(len(text.split()) for text in narrow) < sum(len(text.split()) for text in given)
    assert sum(text == one.text for text, one in zip(given, said)) == 19
