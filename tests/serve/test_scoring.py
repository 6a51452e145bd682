"""Offline scoring of batches of columns: what ``map_batches`` of Ray Data is given."""

from __future__ import annotations

import numpy as np
import pytest

import tinyseq
from tinyseq.errors import FeedError, ModelError
from tinyseq.serve.scoring import Score

HIDDEN = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A layer over frames: x[frames, rows, 4] in, y out."""
    generator = np.random.default_rng(0)
    g = tinyseq.Graph()
    x = g.input("x", ["frames", "rows", 4])
    w, r = (
        g.constant(generator.normal(size=(1, 3 * HIDDEN, size)).astype(np.float32)) for size in (4, HIDDEN)
    )
    y = g.apply("GRU", x, w, r, hidden_size=HIDDEN)
    g.output("y", g.apply("Squeeze", y, g.constant(np.array([1]))))
    path = tmp_path_factory.mktemp("scoring") / "layer.tinyseq"
    tinyseq.load(g).save(path)
    return path


def test_rows_have_the_bits_of_a_run(model):
    generator = np.random.default_rng(1)
    lengths = [5, 9, 5, 1]
    column = np.empty(len(lengths), object)
    for place, length in enumerate(lengths):
        column[place] = generator.normal(size=(length, 4)).astype(np.float32)
    names = np.array(["a", "b", "c", "d"])
    made = Score(model)({"x": column, "file": names})
    assert list(made) == ["x", "file", "y"] and made["file"] is names
    session = tinyseq.load(model)
    for given, found in zip(column, made["y"]):
        assert np.array_equal(found, session.run({"x": given[:, None]})["y"][:, 0])


def test_equal_shapes_make_one_array(model):
    given = np.random.default_rng(2).normal(size=(3, 6, 4))
    made = Score(model)({"x": given})
    assert made["y"].shape == (3, 6, HIDDEN) and made["y"].dtype == np.float32
    whole = Score(model)({"x": given.astype(np.float32)[:, :, None]})
    assert whole["y"].shape == (3, 6, 1, HIDDEN)
    assert np.array_equal(whole["y"][:, :, 0], made["y"])


def test_a_state_begins_anew_in_each_row():
    from tinyseq.speech.voice_detector import MODEL

    windows = np.random.default_rng(3).uniform(-0.3, 0.3, (4, 576)).astype(np.float32)
    made = Score(MODEL, {"sr": 16000})({"input": windows})
    assert list(made) == ["input", "output"] and made["output"].shape == (4, 1)
    for window, found in zip(windows, made["output"]):
        alone = tinyseq.load(MODEL).stream().step({"input": window[None], "sr": np.array(16000)})["output"]
        assert np.array_equal(found, alone[0])


def test_what_does_not_fit_is_refused(model, tmp_path):
    score = Score(model)
    with pytest.raises(FeedError, match="no column is named like an input: there are z; the model takes x"):
        score({"z": np.zeros(2)})
    with pytest.raises(FeedError, match="row 0 of the batch: input 'x'"):
        score({"x": np.zeros((2, 3, 5), np.float32)})
    with pytest.raises(FeedError, match="row 0 of the batch: input 'x' takes float32"):
        score({"x": np.array([["a"]])})
    with pytest.raises(FeedError, match="feeds name 'sr'; the model has x"):
        Score(model, {"sr": 1})
    with pytest.raises(FeedError, match="outputs name 'z'; the model has y"):
        Score(model, outputs=["z"])
    with pytest.raises(ModelError):
        Score(tmp_path / "none.onnx")
