"""``tinyseq decode``: what it prints and its exit status."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tinyseq
from tests.models import recogniser
from tests.test_ctc import ARPA, VOCABULARY, peaked
from tinyseq.tools.cli import main
from tinyseq.tools.console import FINE, UNREADABLE, USAGE

LOGP = peaked(30, len(VOCABULARY), 0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with rows, a vocabulary and what else the command reads."""
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", LOGP)
    np.savez("rows.npz", logp=np.stack([LOGP, LOGP[::-1]]), other=np.zeros(3))
    np.save("probabilities.npy", np.exp(LOGP))
    np.save("logits.npy", LOGP * 1.0 + 3)
    tmp_path.joinpath("tokens.txt").write_text("\n".join(VOCABULARY) + "\n")
    tmp_path.joinpath("tokens.json").write_text(json.dumps(VOCABULARY))
    tmp_path.joinpath("words.txt").write_text("a\nab\nb\ncab\n")
    tmp_path.joinpath("model.onnx").write_bytes(recogniser(3))
    np.savez("feeds.npz", x=np.random.default_rng(0).standard_normal((20, 1, 3)).astype(np.float32))
    ARPA.write(tmp_path / "lm.arpa")
    tmp_path.joinpath("lm.bin").write_bytes(b"mmap lm http://kheafield.com/code format version 5")
    return tmp_path


def printed(capsys, *arguments: str) -> str:
    assert main(["decode", *arguments]) == FINE
    return capsys.readouterr().out


def test_text_and_tokens(folder, capsys):
    (best,) = tinyseq.ctc_beam_search(LOGP, vocabulary=VOCABULARY)
    assert printed(capsys, "rows.npy", "--vocabulary", "tokens.txt") == best.text + "\n"
    assert printed(capsys, "rows.npy", "--vocabulary", "tokens.json") == best.text + "\n"
    assert printed(capsys, "rows.npy") == " ".join(map(str, best.tokens)) + "\n"
    assert printed(capsys, "probabilities.npy", "--scores", "probabilities").split() == [
        *map(str, best.tokens)
    ]
    assert printed(capsys, "logits.npy", "--scores", "logits").split() == [*map(str, best.tokens)]
    (greedy,) = tinyseq.ctc_greedy(LOGP)
    assert printed(capsys, "rows.npy", "--greedy").split() == [*map(str, greedy.tokens)]


def test_json_holds_every_hypothesis_of_a_batch(folder, capsys):
    options = ["--name", "logp", "--lengths", "30,12", "--nbest", "3", "--json"]
    sequences = json.loads(printed(capsys, "rows.npz", *options))["sequences"]
    expected = tinyseq.ctc_beam_search(np.stack([LOGP, LOGP[::-1]]), lengths=[30, 12], nbest=3)
    assert [[h["tokens"] for h in best] for best in sequences] == [[h.tokens for h in b] for b in expected]
    assert [[h["score"] for h in best] for best in sequences] == [[h.score for h in b] for b in expected]
    assert set(sequences[0][0]) == {"tokens", "score", "frames", "confidences", "text"}


def test_json_holds_words_and_their_times(folder, capsys):
    options = ["--vocabulary", "tokens.txt", "--json", "--frame-seconds", "0.04"]
    (((best,),),) = json.loads(printed(capsys, "rows.npy", *options)).values()
    (found,) = tinyseq.ctc_beam_search(LOGP, vocabulary=VOCABULARY)
    words = tinyseq.word_times(found, VOCABULARY, 0.04)
    assert best["words"] == [word._asdict() for word in words] != []
    assert set(best["words"][0]) == {"word", "start", "end", "confidence"}
    assert main(["decode", "rows.npy", "--frame-seconds", "0.04"]) != FINE
    assert "--frame-seconds is for words in JSON" in capsys.readouterr().err
    options[1:2] = ["letters.txt"]
    folder.joinpath("letters.txt").write_text("".join(f"{chr(97 + n)}\n" for n in range(len(VOCABULARY))))
    assert main(["decode", "rows.npy", *options]) != FINE
    assert "nothing in the vocabulary says where words begin" in capsys.readouterr().err


def test_every_option_reaches_the_search(folder, capsys):
    options = ["--vocabulary", "tokens.txt", "--lm", "lm.arpa", "--alpha", "0.7", "--beta", "0.25"]
    options += [
        "--unk-score-offset",
        "-4",
        "--lexicon",
        "words.txt",
        "--hotword",
        "ab",
        "--hotword",
        "b a=2.5",
    ]
    options += ["--hotword-weight", "3", "--beam-width", "7", "--beam-prune-logp", "-30", "--nbest", "4"]
    options += ["--token-min-logp=-inf", "--tokens-per-frame", "5", "--json"]
    (best,) = json.loads(printed(capsys, "rows.npy", *options))["sequences"]
    expected = tinyseq.ctc_beam_search(
        LOGP,
        7,
        vocabulary=VOCABULARY,
        lm=tinyseq.read_arpa("lm.arpa"),
        alpha=0.7,
        beta=0.25,
        unk_score_offset=-4,
        lexicon=["a", "ab", "b", "cab"],
        hotwords={"ab": 3, "b a": 2.5},
        beam_prune_logp=-30,
        token_min_logp=-np.inf,
        tokens_per_frame=5,
        nbest=4,
    )
    assert [(h["text"], h["score"]) for h in best] == [(h.text, h.score) for h in expected]


def test_a_model_gives_the_rows(folder, capsys):
    arguments = ["model.onnx", "--inputs", "feeds.npz", "--scores", "logits", "--json", "--time-axis", "0"]
    (best,) = json.loads(printed(capsys, *arguments))["sequences"]
    (scores,) = tinyseq.load("model.onnx").run(dict(np.load("feeds.npz"))).values()
    scores = scores.reshape(20, -1)
    logp = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    assert best[0]["tokens"] == tinyseq.ctc_beam_search(logp)[0].tokens


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["missing.npy"], UNREADABLE, "missing.npy"),
        (["missing.onnx"], UNREADABLE, "missing.onnx"),
        (["rows.npz"], USAGE, "logp, other"),
        (["rows.npz", "--name", "other"], USAGE, "[T, V]"),
        (["rows.npy", "--greedy", "--alpha", "1"], USAGE, "--alpha"),
        (["rows.npy", "--scores", "probabilities"], USAGE, "at least 0"),
        (["rows.npy", "--hotword", "ab=x"], USAGE, "no number"),
        (["rows.npy", "--hotword", "ab"], USAGE, "vocabulary"),
        (["rows.npy", "--vocabulary", "absent.txt"], UNREADABLE, "absent.txt"),
        (["rows.npy", "--vocabulary", "words.txt"], USAGE, "4 tokens"),
        (["rows.npy", "--lm", "lm.bin"], USAGE, "--lexicon"),
        (["rows.npy", "--lm", "absent.arpa"], UNREADABLE, "absent.arpa"),
        (["rows.npy", "--time-axis", "1"], USAGE, "--time-axis"),
        (["rows.npy", "--beam-width", "0"], USAGE, "beam_width"),
    ],
)
def test_wrong_use(folder, capsys, arguments, status, words):
    assert main(["decode", *arguments]) == status
    assert words in capsys.readouterr().err
