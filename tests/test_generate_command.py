"""``tinyseq generate``."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest

import tinyseq
from tests import seq2seq
from tinyseq.tools.cli import main
from tinyseq.tools.commands.generate import HELP, METHODS
from tinyseq.tools.console import FINE, UNREADABLE, USAGE

WORD = "helicopter"


@pytest.fixture
def files(asset, tmp_path):
    decoder = seq2seq.graphemes(asset("graphemes"))
    decoder.session.save(tmp_path / "decoder.tinyseq")
    decoder.encoder.save(tmp_path / "encoder.tinyseq")
    np.savez(tmp_path / "words.npz", **seq2seq.spelled(WORD))
    (tmp_path / "phonemes.txt").write_text("\n".join(seq2seq.PHONEMES))
    (tmp_path / "phonemes.json").write_text(json.dumps(seq2seq.PHONEMES))
    return tmp_path


def arguments(files, *more: str) -> list[str]:
    return [
        *("generate", f"{files}/decoder.tinyseq", "--encoder", f"{files}/encoder.tinyseq"),
        *("--inputs", f"{files}/words.npz", "--decoder-start-token-id", "2", "--eos-token-id", "3", *more),
    ]


def test_help_says_a_line_of_every_option(capsys):
    assert HELP.keys() == {field.name for method in METHODS.values() for field in fields(method)}
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    assert "--top-k VALUE" in capsys.readouterr().out


def wanted(files, options):
    models = (tinyseq.load(files / f"{name}.tinyseq") for name in ("decoder", "encoder"))
    return tinyseq.generate(tinyseq.Decoder(*models), seq2seq.spelled(WORD), options)[0]


def test_text(files, capsys):
    more = ("--vocabulary", f"{files}/phonemes.txt", "--separator", " ", "--num-return-sequences", "2")
    assert main(arguments(files, *more)) == FINE
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    number, score, text = lines[0].split("\t")
    right = wanted(files, tinyseq.Beam(decoder_start_token_id=2, eos_token_id=3))[0]
    assert (number, text) == ("0", " ".join(seq2seq.PHONEMES[token] for token in right.tokens))
    assert abs(float(score) - right.score) < 1e-4


def test_json(files, capsys):
    more = ("--method", "greedy", "--vocabulary", f"{files}/phonemes.json", "--suppress-tokens", "4,5")
    assert main(arguments(files, *more, "--json")) == FINE
    ((shown,),) = json.loads(capsys.readouterr().out)
    (right,) = wanted(files, tinyseq.Greedy(decoder_start_token_id=2, eos_token_id=3, suppress_tokens=(4, 5)))
    assert (shown["tokens"], shown["score"]) == (right.tokens, right.score)
    assert shown["text"] == "".join(seq2seq.PHONEMES[token] for token in right.tokens)


WRONG = {
    "no option of --method greedy": ("--method", "greedy", "--num-beams", "3"),
    "num_beams=0": ("--num-beams", "0"),
    "missing 'letters'": ("--inputs", "{files}/none.npz"),
}


@pytest.mark.parametrize("reason", WRONG)
def test_wrong_usage_is_told(files, capsys, reason):
    np.savez(files / "none.npz", other=np.zeros(1))
    more = [text.format(files=files) for text in WRONG[reason]]
    assert main(arguments(files, *more)) == USAGE
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("held", [None, "{", "3", '{"a": "b"}', "[1]", '{"tokens": 3}'])
@pytest.mark.parametrize("command", ["generate", "decode"])
def test_vocabularies_that_cannot_be_read(files, capsys, held, command):
    path = files / "tokens.json"
    if held is not None:
        path.write_text(held)
    np.save(files / "rows.npy", np.zeros((2, 3), np.float32))
    given = arguments(files) if command == "generate" else ["decode", f"{files}/rows.npy"]
    assert main([*given, "--vocabulary", str(path)]) == UNREADABLE
    said = capsys.readouterr().err
    assert "cannot read" in said and "tokens.json" in said
