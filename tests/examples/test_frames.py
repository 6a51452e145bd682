"""The demonstration frames: films that are what they say, and drawings near to what comes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tinyseq.demo.frames import run
from tinyseq.demo.frames.data import SIZE, films
from tinyseq.demo.frames.foresight import MODEL, Foresight
from tinyseq.demo.frames.scores import errors

import tinyseq
from tinyseq.errors import FeedError

EXPECTED = Path(__file__).parent / "data" / "frames_expected.npz"


def test_films_are_seeded_and_move_within_their_frame():
    made = films(20, 30, 3)
    assert made.shape == (20, 30, SIZE, SIZE) and made.dtype == np.float32
    assert made.tobytes() == films(20, 30, 3).tobytes() != films(20, 30, 4).tobytes()
    assert made.min() == 0 and made.max() == 1
    assert (np.abs(np.diff(made, axis=1)).sum((2, 3)) > 1).all()
    area = made.sum((2, 3))
    assert area.min() > 10 and area.max() < 50


def test_drawings_are_nearer_than_the_last_frame():
    found = errors(20, 6, 6, 77)
    assert (found["this model"] < found["the last frame"] / 1.5).all()
    assert found["this model"][0] < 0.02
    assert (found["this model"] < found["nothing"]).all()


def test_looking_ahead_loses_no_place():
    (film,) = films(1, 10, 5)
    one, other = Foresight(), Foresight()
    for frame in film[:6]:
        one.push(frame), other.push(frame)
    drawn = one.ahead(4)
    assert drawn.tobytes() == one.ahead(4).tobytes()
    for frame in film[6:]:
        assert one.push(frame).tobytes() == other.push(frame).tobytes()
    with pytest.raises(FeedError, match="push a frame first"):
        Foresight().ahead(1)


def test_the_network_computes_what_torch_computed():
    with np.load(EXPECTED) as arrays:
        stream = tinyseq.load(MODEL).stream()
        found = [stream.step({"frame": frame[None, None]})["next"][0, 0] for frame in arrays["film"]]
        np.testing.assert_allclose(found, arrays["next"], atol=5e-3)


def test_json_and_text(capsys, tmp_path):
    plot = f"--plot={tmp_path / 'own.png'}"
    assert run.main([plot, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {len(made) for made in report["errors"].values()} == {report["ahead"]}
    assert run.main([plot, "--seed=9"]) == 0
    assert "this model" in capsys.readouterr().out
    assert (tmp_path / "own.png").read_bytes().startswith(b"\x89PNG")
