"""Keras models against what Keras made of them (``data/make_keras.py``)."""

from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import tinyseq
from tests.test_errors import survives
from tinyseq.errors import ConversionWarning
from tinyseq.kernels import activations

DATA = Path(__file__).parent / "data"
EXPECTED = dict(np.load(DATA / "keras_expected.npz"))


def close(found, wanted, tolerance=1e-5):
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def expected(name: str) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """The inputs of a fixture and what Keras gave for them."""
    own = {
        key.removeprefix(f"{name}."): array for key, array in EXPECTED.items() if key.startswith(f"{name}.")
    }
    feeds = {key: array for key, array in own.items() if not key.isdigit()}
    return feeds, [own[str(index)] for index in range(len(own) - len(feeds))]


FIXTURES = sorted(path.name for path in DATA.iterdir() if path.suffix in (".keras", ".h5"))


HALF = 2e-3
"""How far numbers are apart that Keras computed in halves."""


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("name", [name for name in FIXTURES if not name.startswith(("hard", "halves"))])
def test_a_model_gives_what_keras_gives(name, device):
    session = tinyseq.load(DATA / name, device=device)
    feeds, wanted = expected(Path(name).stem)
    assert [value.name for value in session.inputs] == list(feeds)
    for found, right in zip(session.run(feeds).values(), wanted, strict=True):
        assert found.shape == right.shape
        assert (found.dtype.kind in "iu") == (right.dtype.kind in "iu")
        close(found, right)


def test_halves_are_computed_in_float32_with_a_note():
    with pytest.warns(ConversionWarning, match="mixed_float16 is computed in float32"):
        session = tinyseq.load(DATA / "halves.keras", device="reference")
    feeds, wanted = expected("halves")
    for found, right in zip(session.run(feeds).values(), wanted, strict=True):
        close(found, right, HALF)


def test_hard_sigmoids_within_layers():
    """Honoured with Keras 3's slope, or refused by the op table."""
    feeds, (wanted,) = expected("hard")
    try:
        session = tinyseq.load(DATA / "hard.keras", device="reference")
    except tinyseq.UnsupportedError as error:
        assert "activation" in str(error)
    else:
        (found,) = session.run(feeds).values()
        close(found, wanted)


def test_an_input_of_embeddings_is_of_whole_numbers():
    session = tinyseq.load(DATA / "functional.keras", device="reference")
    assert [str(value) for value in session.inputs] == [
        "words int64[rows, words_1]",
        "x float32[rows, x_1, 4]",
    ]
    assert [value.name for value in session.outputs] == ["scores", "multiply"]


def test_a_converted_model_needs_no_keras_file(tmp_path):
    session = tinyseq.load(DATA / "sequence.keras")
    session.save(tmp_path / "sequence.tinyseq")
    feeds, (wanted,) = expected("sequence")
    (found,) = tinyseq.load(tmp_path / "sequence.tinyseq").run(feeds).values()
    close(found, wanted)


# Keras 2: files written here, as Keras 2 writes them.


def keras2(path: Path, layers: list[dict], weights: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        document = {"class_name": "Sequential", "config": {"name": "sequential", "layers": layers}}
        file.attrs["model_config"] = json.dumps(document)
        file.attrs["keras_version"] = b"2.4.0"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [layer["config"]["name"].encode() for layer in layers]
        for name, arrays in weights.items():
            layer = group.create_group(name)
            parts = arrays if isinstance(arrays, dict) else {name: arrays}
            stored = {
                f"{part}/weight_{index}:0": array
                for part, own in parts.items()
                for index, array in enumerate(own)
            }
            layer.attrs["weight_names"] = [entry.encode() for entry in stored]
            for entry, array in stored.items():
                layer[entry] = array.astype(np.float32)
    return path


def layer(kind: str, name: str = "it", **config) -> dict:
    return {"class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32"} | config}


SHAPE = {"batch_input_shape": [None, None, 4]}
RECURRENT = SHAPE | {"units": 3, "return_sequences": True, "time_major": False, "implementation": 2}


def some(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype(np.float32)


X = some(2, 6, 4)


def results(path: Path) -> np.ndarray:
    (found,) = tinyseq.load(path, device="reference").run({"input": X}).values()
    return found


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3)])
def test_weights_of_cudnn_are_the_same_layer(tmp_path, kind, gates):
    kernel, recurrent, bias = some(4, gates * 3), some(3, gates * 3), some(2 * gates * 3)
    plain = [kernel, recurrent, bias.reshape(2, -1).sum(0) if kind == "LSTM" else bias.reshape(2, -1)]
    # CuDNN's own: each gate's matrix [units, features], laid out anew in the kernel's shape.
    stored = [
        np.hstack([part.T.ravel().reshape(part.shape) for part in np.hsplit(kernel, gates)]),
        np.hstack([part.T for part in np.hsplit(recurrent, gates)]),
        bias,
    ]
    settings = RECURRENT | {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
    settings |= {"reset_after": True} if kind == "GRU" else {}
    one = keras2(tmp_path / "one.h5", [layer(kind, **settings)], {"it": plain})
    other = keras2(tmp_path / "other.h5", [layer(f"CuDNN{kind}", **RECURRENT)], {"it": stored})
    close(results(other), results(one))


def test_the_hard_sigmoid_of_keras_2(tmp_path):
    layers = [layer("Activation", activation="hard_sigmoid", **SHAPE)]
    path = keras2(tmp_path / "x.h5", layers, {})
    close(results(path), np.clip(0.2 * X + 0.5, 0, 1))


def test_a_keras_2_sequence(tmp_path):
    layers = [
        layer("Bidirectional", merge_mode="sum", layer=layer("SimpleRNN", "rnn", units=3, activation="tanh",
              return_sequences=True, use_bias=True), **SHAPE),
        layer("BatchNormalization", "norm", axis=[2], momentum=0.99, epsilon=0.001, center=True, scale=False),
        layer("Dense", "dense", units=2, activation="linear", use_bias=False),
    ]  # fmt: skip
    rnns = [[some(4, 3), some(3, 3), some(3)], [2 * some(4, 3), some(3, 3), 0 * some(3)]]
    beta, mean, variance, kernel = some(3), 2 * some(3), some(3) ** 2, some(3, 2)
    weights = {"it": rnns[0] + rnns[1], "norm": [beta, mean, variance], "dense": [kernel]}
    path = keras2(tmp_path / "x.h5", layers, weights)

    def rnn(x, kernel, recurrent, bias):
        h, frames = np.zeros((2, 3)), []
        for frame in x.swapaxes(0, 1):
            h = np.tanh(frame @ kernel + h @ recurrent + bias)
            frames.append(h)
        return np.stack(frames, 1)

    y = rnn(X, *rnns[0]) + rnn(X[:, ::-1], *rnns[1])[:, ::-1]
    close(results(path), ((y - mean) / np.sqrt(variance + 0.001) + beta) @ kernel)


ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "softsign": lambda x: x / (1 + abs(x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "elu": lambda x: np.where(x < 0, np.expm1(x), x),
    "leaky_relu": lambda x: np.where(x < 0, 0.2 * x, x),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_alone_and_within_a_layer(tmp_path, name):
    weights = [some(4, 3), some(3, 3), some(3)]
    within = keras2(tmp_path / "a.h5", [layer("SimpleRNN", **RECURRENT, activation=name)], {"it": weights})
    h, wanted = np.zeros((2, 3)), []
    for frame in X.swapaxes(0, 1):
        h = ACTIVATIONS[name](frame @ weights[0] + h @ weights[1] + weights[2])
        wanted.append(h)
    close(results(within), np.stack(wanted, 1))
    alone = keras2(tmp_path / "b.h5", [layer("Activation", activation=name, **SHAPE)], {})
    close(results(alone), ACTIVATIONS[name](X))


def test_all_activations_of_the_table_are_here():
    assert {row.keras for row in activations.ACTIVATIONS.values() if row.keras} == ACTIVATIONS.keys()


def test_models_within_models_of_keras_2(tmp_path):
    """Keras 2 counts the making of a functional model as its first call in all places."""
    path = tmp_path / "x.h5"
    path.write_bytes((DATA / "nested.h5").read_bytes())
    with h5py.File(path, "a") as file:
        document = json.loads(file.attrs["model_config"])
        for place, key in spots(document):
            if key == "keras_history" and place[key][0] == "outer":
                place[key][1] += 1
        file.attrs["model_config"] = json.dumps(document)
        file.attrs["keras_version"] = b"2.15.0"
    feeds, wanted = expected("nested")
    for found, right in zip(tinyseq.load(path).run(feeds).values(), wanted, strict=True):
        close(found, right)


# What is refused.


def one_layer(kind: str, **config) -> Callable[[Path], Path]:
    return lambda folder: keras2(folder / "x.h5", [layer(kind, **SHAPE, **config)], {})


def masked_layers(*layers: dict) -> Callable[[Path], Path]:
    return lambda folder: keras2(folder / "x.h5", [layer("Masking", mask_value=0.0, **SHAPE), *layers], {})


GRU = {"units": 3, "activation": "tanh", "recurrent_activation": "sigmoid"}

QUANTISED = {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": "float32"}}

REFUSED = {
    "unknown layer": (one_layer("Lambda", function="x"), ("'it' (Lambda)", "does not know")),
    "unknown field": (one_layer("GRU", **GRU, phase=1), ("'it'", "phase=1")),
    "time major": (one_layer("GRU", **GRU, time_major=True), ("'it'", "time_major=True")),
    "mask picked by": (masked_layers(layer("Softmax", "share")), ("'share'", "mask")),
    "activation": (one_layer("Activation", activation="sine"), ("'it'", "'sine'")),
    "activation within": (one_layer("GRU", units=3, activation="gelu"), ("'it'", "'gelu'")),
    "another precision": (one_layer("Dense", units=1, dtype="complex64"), ("'it'", "complex64")),
    "quantised": (one_layer("Dense", units=1, dtype=QUANTISED), ("'it'", "quantised", "model.quantize")),
    "low rank": (one_layer("Dense", units=1, lora_rank=2), ("'it'", "LoRA", ".keras")),
    "merge": (
        one_layer("Bidirectional", merge_mode="max", layer=layer("GRU", **GRU)), ("merge_mode='max'",),
    ),
    "time distributed": (
        one_layer("TimeDistributed", layer=layer("Lambda")), ("Lambda", "does not know")
    ),
    "missing weights": (one_layer("Dense", units=1, use_bias=False), ("fewer weights",)),
    "other weights": (
        lambda folder: keras2(
            folder / "x.h5", [layer("Dense", units=1, use_bias=False, **SHAPE)], {"it": [some(5, 1)]}
        ),
        ("[5, 1]", "[4, 1]"),
    ),
    "leftover weights": (
        lambda folder: keras2(
            folder / "x.h5", [layer("Dropout", rate=0.5, **SHAPE)], {"it": [some(5, 1)]}
        ),
        ("no layer uses", "weight_0"),
    ),
    "stateful and not": (
        lambda folder: keras2(
            folder / "x.h5",
            [layer("GRU", "a", **GRU, stateful=True, **SHAPE, return_sequences=True),
             layer("GRU", "b", **GRU, stateful=False)],
            {"a": [some(4, 9), some(3, 9), some(9)], "b": [some(3, 9), some(3, 9), some(9)]},
        ),
        ("some layers are stateful",),
    ),
}  # fmt: skip


def test_masked_layers_that_run_backward_are_not_streamed():
    """As they are without masks."""
    with pytest.raises(tinyseq.ModelError, match=r"runs (reverse|bidirectional)"):
        tinyseq.load(DATA / "masked.keras").stream()


def test_a_stateful_layer_called_twice_is_refused(tmp_path):
    def change(document):
        for entry in document["config"]["layers"]:
            for own in (entry, entry["config"].get("layer", {})):
                if "stateful" in own.get("config", {}):
                    own["config"]["stateful"] = True
            if entry["class_name"] == "Functional":
                for inner in entry["config"]["layers"]:
                    if "stateful" in inner["config"]:
                        inner["config"]["stateful"] = True

    with pytest.raises(tinyseq.UnsupportedError, match=r"stateful and called 2 times"):
        tinyseq.load(with_config(DATA / "nested.keras", tmp_path / "x.keras", change))


@pytest.mark.parametrize(("make", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_changes_results_is_refused_by_name(tmp_path, make, words):
    with pytest.raises(tinyseq.ModelError) as caught:
        tinyseq.load(make(tmp_path))
    assert [word for word in words if word not in str(caught.value)] == []


def with_config(path: Path, target: Path, change: Callable[[dict], None]) -> Path:
    """A copy of a .keras file, its configuration changed."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as changed:
        for name in archive.namelist():
            data = archive.read(name)
            if name == "config.json":
                document = json.loads(data)
                change(document)
                data = json.dumps(document).encode()
            changed.writestr(name, data)
    return target


def spots(document, path=()):
    """Every place in a JSON document."""
    pairs = document.items() if isinstance(document, dict) else enumerate(document)
    for key, inner in pairs:
        yield document, key
        if isinstance(inner, (dict, list)):
            yield from spots(inner)


JUNK = (None, -1, 2**40, 0.5, "word", [], {}, [1, 2], True)


DAMAGED = ["sequence", "functional", "masked", "nested", "stacks", "ops", "axes", "conv_lstm", "heads"]


@pytest.mark.parametrize("name", [f"{name}.keras" for name in DAMAGED])
def test_damaged_files_are_survived(tmp_path, name):
    whole, dice = (DATA / name).read_bytes(), random.Random(name)
    for round_ in range(16):
        path = tmp_path / "x.keras"
        if round_ % 2:

            def change(document):
                place, key = dice.choice(list(spots(document)))
                place[key] = dice.choice(JUNK)

            with_config(DATA / name, path, change)
        else:
            damaged = bytearray(whole)
            for _ in range(dice.randint(1, 3)):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            path.write_bytes(damaged[: dice.randrange(len(damaged)) if dice.random() < 0.2 else None])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConversionWarning)
            survives(lambda path=path: tinyseq.load(path))


def test_weights_that_no_layer_uses_are_refused(tmp_path):
    with zipfile.ZipFile(DATA / "nested.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    stored = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(stored, "a") as file:
        file["layers/gru/cell/vars/9"] = np.zeros(3, np.float32)
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        for name, data in (parts | {"model.weights.h5": stored.getvalue()}).items():
            archive.writestr(name, data)
    with pytest.raises(tinyseq.ModelError, match="no layer uses the weight 'layers/gru/cell/vars/9'"):
        tinyseq.load(tmp_path / "x.keras")


def test_compressed_weights_are_refused(tmp_path):
    """A dataset that the file does not hold number by number could be of any size."""
    path = keras2(tmp_path / "x.h5", [layer("Dense", units=1, use_bias=False, **SHAPE)], {})
    with h5py.File(path, "a") as file:
        group = file["model_weights"].create_group("it")
        group.attrs["weight_names"] = [b"kernel"]
        group.create_dataset("kernel", (4, 1), "f4", chunks=(4, 1), compression="gzip")
    with pytest.raises(tinyseq.ModelError, match="compressed, linked"):
        tinyseq.load(path)


def test_other_files_are_explained(tmp_path):
    with pytest.raises(tinyseq.ModelError, match="missing"):
        tinyseq.load(tmp_path / "nowhere.keras")
    (tmp_path / "x.h5").write_bytes(b"RIFF" * 20)
    with pytest.raises(tinyseq.ModelError, match="not a Keras model"):
        tinyseq.load(tmp_path / "x.h5")
    with h5py.File(tmp_path / "weights.h5", "w"):
        pass
    with pytest.raises(tinyseq.UnsupportedError, match="weights without a model"):
        tinyseq.load(tmp_path / "weights.h5")


# A real model.


def test_a_transliterator_of_khmer(asset):
    session = tinyseq.load(asset("khmer"), device="reference")
    assert [str(value.dtype) for value in session.inputs] == ["int64", "int64"]
    wanted = np.load(DATA / "khmer_expected.npz")
    names = [value.name for value in session.inputs]
    (shares,) = session.run(dict(zip(names, (wanted["letters"], wanted["sounds"])))).values()
    close(shares, wanted["shares"])


def test_the_config_and_weights_of_a_transliterator_are_read(asset):
    with zipfile.ZipFile(asset("khmer")) as archive:
        assert h5py.File(io.BytesIO(archive.read("model.weights.h5")))["layers"]
    tinyseq.load(asset("khmer"), device="reference")
