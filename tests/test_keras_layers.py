"""Keras' layers in streams, what their models are fed, and what is said of those that are not known."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from tinyseq.converters import keras
from tinyseq.converters.weights import read

import tinyseq
from tests.test_keras import DATA, RECURRENT, SHAPE, X, close, expected, keras2, layer, some, with_config

# Streams.


def streamed(session, feeds: dict[str, np.ndarray], axis: int = 1, size: int = 1) -> dict[str, np.ndarray]:
    """The outputs for feeds given in chunks along their frames."""
    stream, found = session.stream(), []
    for start in range(0, next(iter(feeds.values())).shape[axis], size):
        found.append(stream.step({name: x[:, start : start + size] for name, x in feeds.items()}))
    return {name: np.concatenate([part[name] for part in found], axis) for name in found[0]}


CELLS = [layer("LSTMCell", units=3), layer("GRUCell", units=2, reset_after=True)]
INNER = [layer("Dense", "one", units=3, batch_input_shape=[None, 4]), layer("Dense", "two", units=2)]
FORWARD = {
    "stack": [layer("RNN", "stack", cell=CELLS, return_sequences=True, **SHAPE)],
    "model for each frame": [
        layer(
            "TimeDistributed", "each", **SHAPE,
            layer={"class_name": "Sequential", "config": {"name": "inner", "layers": INNER}},
        ),
        layer("GRU", "gru", units=3, reset_after=True, return_sequences=True),
    ],
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("layers", FORWARD.values(), ids=FORWARD.keys())
def test_what_goes_forward_streams(tmp_path, layers, size):
    weights = {
        "stack": [some(4, 12), some(3, 12), some(12), some(3, 6), some(2, 6), some(2, 6)],
        "each": {"one": [some(4, 3), some(3)], "two": [some(3, 2), some(2)]},
        "gru": [some(2, 9), some(3, 9), some(2, 9)],
    }
    names = [entry["config"]["name"] for entry in layers]
    session = tinyseq.load(keras2(tmp_path / "x.h5", layers, {name: weights[name] for name in names}))
    x = X[:1]
    (whole,) = session.run({"input": x}).values()
    (found,) = streamed(session, {"input": x}, size=size).values()
    close(found, whole)


def conv_lstm(path: Path, frames: int | None) -> Path:
    kind = layer(
        "ConvLSTM1D", filters=2, kernel_size=[3], strides=[1], padding="same", data_format="channels_last",
        dilation_rate=[1], return_sequences=True, batch_input_shape=[None, frames, 5, 1],
    )  # fmt: skip
    return keras2(path, [kind], {"it": [some(3, 1, 8), some(3, 2, 8), some(8)]})


@pytest.mark.parametrize("frames", [None, 3])
def test_a_convolutional_lstm_streams(tmp_path, frames):
    session = tinyseq.load(conv_lstm(tmp_path / "x.h5", frames))
    x = some(1, 6, 5, 1)
    chunks = [session.run({"input": x})] if frames is None else []
    found = streamed(session, {"input": x}, size=frames or 1)
    again = streamed(tinyseq.load(conv_lstm(tmp_path / "y.h5", None)), {"input": x}, size=2)
    close(found["it"], again["it"])
    for whole in chunks:
        close(found["it"], whole["it"])


# Feeds.


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.float32, np.float64])
def test_an_embedding_takes_whole_numbers_of_any_type(dtype):
    session = tinyseq.load(DATA / "nested.keras")
    feeds, wanted = expected("nested")
    for found, right in zip(session.run(feeds | {"words": feeds["words"].astype(dtype)}).values(), wanted):
        close(found, right)
    for wrong in (0.5, np.nan, np.inf, 2.0**70):
        with pytest.raises(tinyseq.FeedError, match="must be int64"):
            session.run(feeds | {"words": np.full(feeds["words"].shape, wrong)})


def test_an_input_of_booleans_takes_zeros_and_ones():
    session = tinyseq.load(DATA / "kinds.keras")
    assert [str(value.dtype) for value in session.inputs] == ["float32", "bool", "int64", "int64"]
    feeds, wanted = expected("kinds")
    for dtype in (np.float32, np.int64):
        (found, *_) = session.run(feeds | {"shown": feeds["shown"].astype(dtype)}).values()
        close(found, wanted[0])
    with pytest.raises(tinyseq.FeedError, match="must be bool"):
        session.run(feeds | {"shown": np.full(feeds["shown"].shape, 2)})


@pytest.mark.parametrize("stateful", [False, True])
def test_only_stateful_layers_fix_the_number_of_rows(tmp_path, stateful):
    settings = RECURRENT | {"batch_input_shape": [2, None, 4], "stateful": stateful}
    weights = {"it": [some(4, 9), some(3, 9), some(9)]}
    session = tinyseq.load(keras2(tmp_path / "x.h5", [layer("GRU", **settings)], weights))
    assert session.inputs[0].shape[0] == (2 if stateful else "rows")
    session.run({"input": X})
    if not stateful:
        assert next(iter(session.run({"input": X[:1]}).values())).shape == (1, 6, 3)


# Small things.


def test_relu_gives_nothing_at_its_threshold(tmp_path):
    path = keras2(tmp_path / "x.h5", [layer("ReLU", threshold=1.0, **SHAPE)], {})
    x = np.array([[[0.5, 1.0, 1.5, -1.0]]], np.float32)
    (found,) = tinyseq.load(path, device="reference").run({"input": x}).values()
    assert found.tolist() == [[[0, 0, 1.5, 0]]]


@pytest.mark.parametrize("version", ["3.3.0", "3.4.0", "3.6.0"])
def test_what_masks_do_to_a_product_changed(tmp_path, version):
    """A hidden factor counts as 1 from Keras 3.6 on; in 3.4 and 3.5 that depends on the backend."""
    path = tmp_path / "x.keras"
    with zipfile.ZipFile(DATA / "merges.keras") as archive, zipfile.ZipFile(path, "w") as changed:
        for name in archive.namelist():
            data = archive.read(name)
            changed.writestr(
                name, json.dumps({"keras_version": version}) if name == "metadata.json" else data
            )
    feeds, wanted = expected("merges")
    if version == "3.4.0":
        with pytest.raises(tinyseq.UnsupportedError, match=r"Multiply.*depends on the backend"):
            tinyseq.load(path)
        return
    (found, *_) = tinyseq.load(path, device="reference").run(feeds).values()
    close(found, wanted[0] if version == "3.6.0" else feeds["x"] * feeds["z"] * ~_hidden(feeds))


def _hidden(feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Where Masking makes zeros of one of two inputs."""
    return np.any([(x == 0.5).all(-1, keepdims=True) for x in feeds.values()], 0)


def test_outputs_with_one_name_are_all_there(tmp_path):
    """A layer's second result and another layer may be called alike, and a result may be given twice."""
    _, wanted = expected("stacks")
    session = tinyseq.load(DATA / "stacks.keras", device="reference")
    names = [value.name for value in session.outputs]
    assert len(set(names)) == len(names) == len(wanted)
    assert names[:3] == ["rnn", "rnn:1", "rnn:2"]

    def twice(document):
        document["config"]["output_layers"] = [document["config"]["output_layers"]] * 2

    path = with_config(DATA / "pooling.keras", tmp_path / "x.keras", twice)
    one, other = tinyseq.load(path, device="reference").outputs
    assert other.name == f"{one.name}:2"


@pytest.mark.parametrize(
    ("kind", "config", "near"),
    [("Conv1d", {"trainable": True}, "Conv1D"), ("LSTMS", {"trainable": True}, "LSTM"), ("Meen", {}, "Mean")],
)
def test_what_is_not_known_names_what_is_near(tmp_path, kind, config, near):
    entry = {"class_name": kind, "config": {"name": "it"} | config}
    path = keras2(tmp_path / "x.h5", [layer("Dense", "first", units=2, **SHAPE), entry], {})
    with pytest.raises(
        tinyseq.UnsupportedError, match=rf"'it' .*near it are {near}.*Export the model"
    ) as caught:
        tinyseq.load(path)
    assert len(str(caught.value)) < 300


def test_functions_of_tensorflow_that_are_not_known_are_named(tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes((DATA / "tensorflow.h5").read_bytes())
    with h5py.File(path, "a") as file:
        text = file.attrs["model_config"]
        file.attrs["model_config"] = text.replace("math.reduce_mean", "math.reduce_meen")
    with pytest.raises(tinyseq.UnsupportedError, match=r"reduce_meen.*near it are math.reduce_mean"):
        tinyseq.load(path)


# Weights without a model.


def test_weights_of_keras_without_a_model(tmp_path):
    """By the names that files of both versions have, and put together by tinyseq.Graph."""
    with zipfile.ZipFile(DATA / "stacks.keras") as archive:
        (tmp_path / "x.weights.h5").write_bytes(archive.read("model.weights.h5"))
    found = keras.read(tmp_path / "x.weights.h5")
    assert found.keys() == keras.read(DATA / "stacks.keras").keys() == read(DATA / "stacks.keras").keys()
    weights = keras.Weights(found).under("layers.rnn.cell.cells.lstm_cell.vars")
    graph = tinyseq.Graph()
    x = graph.input("x", ["frames", "rows", 4])
    with weights:
        y, *_ = graph.lstm(x, [weights.take(name) for name in "012"], layout="keras")
    graph.output("y", y)
    feeds, wanted = expected("stacks")
    _, h, *_ = wanted
    (found,) = tinyseq.load(graph, device="reference").run({"x": feeds["x"].swapaxes(0, 1)}).values()
    close(found[-1], h)
    second = keras.read(DATA / "sequence.h5")
    assert [name for name in second if "lstm" in name and "forward" in name]
    with pytest.raises(tinyseq.UnsupportedError, match=r"weights without a model.*keras.read"):
        tinyseq.load(tmp_path / "x.weights.h5")
    with pytest.raises(tinyseq.ModelError, match="check the path"):
        keras.read(tmp_path / "nowhere.h5")
