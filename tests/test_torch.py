"""PyTorch's files and layers, against what PyTorch made of them (``data/make_torch.py``)."""

from __future__ import annotations

import io
import pickle
import random
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from tinyseq.converters import npz, safetensors, torch
from tinyseq.converters.weights import ConversionWarning, Weights

import tinyseq
from tests.test_errors import survives
from tinyseq.ops import OPS

DATA = Path(__file__).parent / "data"
FORMATS = ["layers.pt", "layers_legacy.pt"]


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return dict(np.load(DATA / "layers_expected.npz"))


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def run(graph: tinyseq.Graph, **feeds) -> dict[str, np.ndarray]:
    return tinyseq.load(graph).run(feeds)


# Files.


def test_both_formats_hold_the_same():
    one, other = (torch.read(DATA / name) for name in FORMATS)
    assert list(one) == list(other)
    assert one["epoch"] == 3
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])


def test_types_views_numbers_and_nesting():
    with pytest.warns(ConversionWarning) as notes:
        found = torch.read(DATA / "odd.pt")
    for kind in ("float16", "bfloat16", "float64"):
        assert any(kind in str(note.message) for note in notes)
    for name in ("half", "bfloat16"):
        np.testing.assert_array_equal(found[name], np.array([0.5, -2], np.float32))
    np.testing.assert_array_equal(found["double"], np.array([0.1, -2], np.float32))
    assert found["words"].tolist() == [3, -1] and found["flags"].tolist() == [True, False]
    assert found["parameter"] == 2.5 and found["parameter"].dtype == np.float32
    assert found["history.0"] == 1 and found["history.1"] == 2.5 and found["history.2.loss"] == [0.25]
    assert "history.3" not in found and "history.4" not in found and "history.5" not in found
    base = np.arange(12, dtype=np.float32)
    np.testing.assert_array_equal(found["views.rows"], base.reshape(3, 4).T)
    np.testing.assert_array_equal(found["views.tail"], base[5:9:2])
    assert found["views.none"].shape == (0, 3)
    assert np.shares_memory(found["views.rows"], found["views.base"])
    with pytest.raises(ValueError, match="read-only"):
        found["views.base"][0] = 1


class Reduces:
    """Pickles to a call."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def zipped(path: Path, pickled: bytes, storage: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", storage)
    return path


def touch(path: Path):
    raise AssertionError(f"{path} ran")


HOSTILE = {
    "system": (Reduces(__import__("os").system, "true"), "system"),
    "eval": (Reduces(eval, "1/0"), ".eval'"),
    "deep": ({"a": [{"b": Reduces(exec, "1/0")}]}, ".exec'"),
    "in an OrderedDict": (OrderedDict(a=Reduces(getattr, "x", "y")), ".getattr'"),
    "a class": (SimpleNamespace(a=1), "refused"),
    "a function": (touch, "touch"),
    "an array": (np.zeros(2), "refused"),
    "a set": ({1, 2}, "refused"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(("content", "word"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_could_run_code_is_refused_by_name(tmp_path, content, word, protocol):
    path = zipped(tmp_path / "bad.pt", pickle.dumps(content, protocol))
    with pytest.raises(tinyseq.UnsupportedError) as caught:
        torch.read(path)
    assert word in str(caught.value)
    if protocol == 2:
        legacy = tmp_path / "legacy.pt"
        parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content, [])
        legacy.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
        with pytest.raises(tinyseq.UnsupportedError):
            torch.read(legacy)


def tensor_pickle(count=4, offset=0, shape=(4,), strides=(1,), kind=b"FloatStorage") -> bytes:
    """A pickle of one tensor in the archive's storage "0"."""

    def plain(value) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    key = (
        b"(" + plain("storage") + b"ctorch\n" + kind + b"\n" + plain("0") + plain("cpu") + plain(count) + b"t"
    )
    sizes = plain(offset) + plain(shape) + plain(strides)
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + key + b"Q" + sizes + b"tR."


FOUR = struct.pack("<4f", 1, 2, 3, 4)


def test_a_tensor_written_by_hand_is_read(tmp_path):
    path = zipped(tmp_path / "x.pt", tensor_pickle(shape=(2, 2), strides=(1, 2)), FOUR)
    np.testing.assert_array_equal(torch.read(path)[""], [[1, 3], [2, 4]])


BOUNDS = {
    "storage shorter than it says": dict(count=5),
    "huge storage": dict(count=2**40),
    "more than the storage holds": dict(shape=(5,)),
    "a huge tensor of one number": dict(shape=(2**40,), strides=(0,)),
    "past the end": dict(offset=1),
    "negative offset": dict(offset=-1),
    "negative stride": dict(strides=(-1,)),
    "negative size": dict(shape=(-4,)),
    "strides of another rank": dict(strides=(1, 1)),
    "sizes that overflow": dict(shape=(2**62, 2**62), strides=(0, 0)),
    "an empty tensor of huge sizes": dict(shape=(0, 2**62, 2**62), strides=(0, 0, 0)),
    "no sizes": dict(shape=("a",)),
    "count is no number": dict(count="4"),
    "complex numbers": dict(kind=b"ComplexFloatStorage"),
}


@pytest.mark.parametrize("wrong", BOUNDS.values(), ids=BOUNDS.keys())
def test_tensors_outside_their_storage_are_refused(tmp_path, wrong):
    path = zipped(tmp_path / "x.pt", tensor_pickle(**wrong), FOUR)
    with pytest.raises(tinyseq.ModelError, match=r"x\.pt"):
        torch.read(path)


def nested_twice(levels: int) -> list:
    inner: list = [1]
    for _ in range(levels):
        inner = [inner, inner]
    return inner


def in_itself() -> list:
    inner: list = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize("content", [nested_twice(30), in_itself()], ids=["doubling", "cycle"])
def test_containers_that_grow_without_end_are_refused(tmp_path, content):
    path = zipped(tmp_path / "x.pt", pickle.dumps(content, 2))
    with pytest.raises(tinyseq.ModelError, match="too many or too deep"):
        torch.read(path)


def test_a_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor_pickle(count=10**7, shape=(10**7,)))
        archive.writestr("archive/data/0", bytes(4 * 10**7))
    with pytest.raises(tinyseq.ModelError, match="compressed"):
        torch.read(path)


WRONG_FILES = {
    "empty": (b"", "empty"),
    "no pickle": (b"RIFF" * 9, "beginning"),
    "another pickle": (pickle.dumps({"a": 1}, 2), "beginning"),
    "no end": (b"\x80\x02]", "STOP"),
}


@pytest.mark.parametrize(("content", "word"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_other_files_are_refused(tmp_path, content, word):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(tinyseq.ModelError, match=word):
        torch.read(path)
    with pytest.raises(tinyseq.ModelError, match="check the path"):
        torch.read(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("name", [*FORMATS, "odd.pt"])
def test_damaged_files_are_survived(tmp_path, name):
    """Mutations of the whole file, and for archives, whose checksums find those, of the pickle within."""
    whole, dice, path = (DATA / name).read_bytes(), random.Random(name), tmp_path / name
    archive = zipfile.ZipFile(io.BytesIO(whole)) if zipfile.is_zipfile(io.BytesIO(whole)) else None
    inner = archive.read(f"{Path(name).stem}/data.pkl") if archive else whole
    storages = [n for n in archive.namelist() if "/data/" in n] if archive else []
    for round_ in range(300):
        damaged = bytearray(inner if round_ % 2 else whole)
        for _ in range(dice.randint(1, 3)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        if dice.random() < 0.2:
            del damaged[dice.randrange(len(damaged)) :]
        if archive and round_ % 2:
            with zipfile.ZipFile(path, "w") as rewritten:
                rewritten.writestr("x/data.pkl", bytes(damaged))
                for storage in storages:
                    rewritten.writestr(f"x/data/{storage.split('/')[-1]}", archive.read(storage))
        else:
            path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConversionWarning)
            survives(lambda: torch.read(path))


# Layers.


@pytest.fixture(params=FORMATS)
def weights(request) -> Weights:
    return Weights(torch.read(DATA / request.param)).under("layers")


def test_recurrent_layers(weights, expected):
    g = tinyseq.Graph()
    x = g.input("x", ["N", "T", 4])
    frames_first = g.transpose(x, [1, 0, 2])
    for name, tensor in zip(
        ("lstm", "lstm.h", "lstm.c"), torch.lstm(g, x, weights, "lstm", batch_first=True)
    ):
        g.output(name, tensor)
    # The fixture's GRU and RNN take the rows for frames.
    for name, tensor in zip(("gru", "gru.h"), torch.gru(g, x, weights, "gru")):
        g.output(name, tensor)
    g.output("rnn", torch.rnn(g, x, weights, "rnn")[0])
    first = g.squeeze(g.slice(frames_first, 0, 0, 1), [0])
    for name, tensor in zip(("cell.h", "cell.c"), torch.lstm_cell(g, first, weights, "cell")):
        g.output(name, tensor)
    g.output("grucell", torch.gru_cell(g, first, weights, "grucell"))
    for name, found in run(g, x=expected["x"]).items():
        close(found, expected[name])


def test_initial_states_of_all_layers(weights, expected):
    """A sequence in two parts, the states of the first given to the second."""
    g = tinyseq.Graph()
    x, h = g.input("x", ["T", "N", 4]), g.input("h", [2, "N", 3])
    y, hn = torch.gru(g, x, weights, "gru", h=h)
    g.output("y", y)
    g.output("hn", hn, carries="h")
    stream = tinyseq.load(g).stream()
    x = expected["x"][:, :1]
    found = [stream.step({"x": x[t : t + 1]})["y"][0] for t in range(2)]
    close(np.stack(found), expected["gru"][:, :1])


def test_plain_layers(weights, expected):
    g = tinyseq.Graph()
    x = g.input("x", ["N", "T", 4])
    channels = g.transpose(x, [0, 2, 1])
    g.output("linear", torch.linear(g, x, weights, "linear"))
    g.output("conv", torch.conv1d(g, channels, weights, "conv", stride=2, padding=1))
    for name, found in run(g, x=expected["x"]).items():
        close(found, expected[name])


def needs(*ops: str):
    return pytest.mark.skipif(not set(ops) <= set(OPS), reason=f"the op table lacks {', '.join(ops)}")


@needs("LayerNormalization", "BatchNormalization")
def test_norms(weights, expected):
    g = tinyseq.Graph()
    x = g.input("x", ["N", "T", 4])
    g.output("layer_norm", torch.layer_norm(g, x, weights, "layer_norm"))
    g.output("batch_norm", torch.batch_norm(g, g.transpose(x, [0, 2, 1]), weights, "batch_norm"))
    for name, found in run(g, x=expected["x"]).items():
        close(found, expected[name])


def test_an_embedding(weights, expected):
    g = tinyseq.Graph()
    g.output("y", torch.embedding(g, g.input("x", ["T"], np.int64), weights, "embedding"))
    close(tinyseq.load(g, device="reference").run({"x": np.arange(5)})["y"], expected["embedding"])


def test_unused_weights_are_refused(weights):
    torch.linear(tinyseq.Graph(), np.zeros((1, 4)), weights, "linear")
    with pytest.raises(tinyseq.ModelError, match=r"no layer uses 'lstm.weight_ih_l0'.* and \d+ more"):
        weights.finish()
    rest = ("lstm", "gru", "rnn", "cell", "grucell", "embedding", "conv", "layer_norm", "batch_norm")
    weights.leave(*rest)
    weights.finish()


def test_projections_are_refused():
    projected = Weights({"weight_hr_l0": np.zeros((1, 1))})
    with pytest.raises(tinyseq.UnsupportedError, match="projections"):
        torch.lstm(tinyseq.Graph(), np.zeros((1, 1, 1)), projected)


# Modules: classes that look like PyTorch's stand in for them; with PyTorch installed, its own are tried.


class FakeTensor:
    dtype = "torch.float32"

    def __init__(self, array) -> None:
        self.array = array

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return self.array


def module(kind: str, children=(), weights=None, training=False, **settings):
    """An object whose class has the name ``kind``, with what PyTorch's module of that name has."""

    def state_dict(self):
        own = {name: FakeTensor(array) for name, array in (weights or {}).items()}
        for name, child in children:
            own |= {f"{name}.{key}": tensor for key, tensor in child.state_dict().items()}
        return own

    made = type(kind, (), {"state_dict": state_dict, "named_children": lambda self: iter(children)})()
    for name, setting in ({"training": training} | settings).items():
        setattr(made, name, setting)
    return made


def sequential(*children, **settings):
    return module("Sequential", [(str(index), child) for index, child in enumerate(children)], **settings)


def part(name: str) -> dict[str, np.ndarray]:
    """The fixture's weights of one layer."""
    start = f"layers.{name}."
    arrays = torch.read(DATA / "layers.pt")
    return {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}


def test_a_sequential_is_its_layers(expected):
    made = sequential(
        module("Linear", weights=part("linear")),
        sequential(module("Dropout"), module("ReLU")),
    )
    x = expected["x"]
    found = run(torch.from_module(made, ["N", "T", 4]), x=x)
    assert list(found) == ["y"]
    close(found["y"], np.maximum(expected["linear"], 0))


def test_a_recurrent_module_gives_its_states(expected):
    made = module("LSTM", weights=part("lstm"), batch_first=True)
    found = run(torch.from_module(made, ["N", "T", 4]), x=expected["x"])
    for name, right in (("y", "lstm"), ("h", "lstm.h"), ("c", "lstm.c")):
        close(found[name], expected[right])


CONV = {"stride": (2,), "padding": (1,), "dilation": (1,), "groups": 1, "kernel_size": (3,)}
CONV |= {"weights": part("conv"), "padding_mode": "zeros"}


def test_a_convolution_module(expected):
    found = run(torch.from_module(module("Conv1d", **CONV), ["N", 4, "T"]), x=expected["x"].swapaxes(1, 2))
    close(found["y"], expected["conv"])


MODULES = {
    "unknown": (module("Transformer"), "Transformer"),
    "training": (module("ReLU", training=True), "eval()"),
    "after states": (
        sequential(module("LSTM", weights=part("lstm"), batch_first=True), module("ReLU")),
        "module '1' (ReLU)",
    ),
    "padding mode": (module("Conv1d", **CONV | {"padding_mode": "circular"}), "circular"),
    "leftover": (module("ReLU", weights={"slope": np.zeros(1, np.float32)}), "'slope'"),
    "flatten": (module("Flatten", start_dim=0, end_dim=-1), "start_dim"),
}


@pytest.mark.parametrize(("made", "word"), MODULES.values(), ids=MODULES.keys())
def test_modules_that_cannot_be_read_are_named(made, word):
    with pytest.raises(tinyseq.ModelError) as caught:
        torch.from_module(made, ["N", "T", 4])
    assert word in str(caught.value)


def test_modules_of_pytorch_itself():
    nn = pytest.importorskip("torch.nn")
    made = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.SiLU(), nn.Linear(6, 3), nn.GRU(3, 5, 2)).eval()
    x = np.random.default_rng(0).standard_normal((7, 2, 4)).astype(np.float32)
    found = run(torch.from_module(made, ["T", "N", 4]), x=x)
    y, h = made(pytest.importorskip("torch").from_numpy(x))
    close(found["y"], y.detach().numpy())
    close(found["h"], h.detach().numpy())


# Real files.


def test_a_speaker_encoder(asset):
    weights = Weights(torch.read(asset("speaker-encoder")))
    assert "step" in weights
    weights = weights.under("model_state")
    weights.leave("similarity_weight", "similarity_bias")
    g = tinyseq.Graph()
    _, h, _ = torch.lstm(g, g.input("x", ["N", "T", 40]), weights, "lstm", batch_first=True)
    last = g.squeeze(g.slice(h, 0, 2, 3), [0])
    raw = g.relu(torch.linear(g, last, weights, "linear"))
    length = g.apply("Sqrt", g.apply("ReduceSum", g.mul(raw, raw), np.array([1]), keepdims=1))
    g.output("y", g.apply("Div", raw, length))
    weights.finish()
    x = np.abs(np.random.default_rng(7).standard_normal((2, 20, 40)).astype(np.float32))
    close(run(g, x=x)["y"], np.load(DATA / "resemblyzer_expected.npz")["embeddings"])


def test_weights_for_a_forecast_of_ammonia(asset):
    weights = Weights(torch.read(asset("ammonia")))
    g = tinyseq.Graph()
    y, _ = torch.rnn(g, g.input("x", ["T", "N", 119]), weights, "rnn")
    g.output("y", torch.linear(g, g.relu(torch.linear(g, y, weights, "fc1")), weights, "fc2"))
    weights.leave("embeddings")
    weights.finish()
    x = np.random.default_rng(0).standard_normal((5, 2, 119)).astype(np.float32)
    wanted = tinyseq.load(g, device="reference").run({"x": x})["y"]
    np.testing.assert_allclose(run(g, x=x)["y"], wanted, rtol=1e-4, atol=1e-4)


def test_a_torchscript_program_is_refused(asset):
    with pytest.raises(tinyseq.UnsupportedError, match="TorchScript"):
        torch.read(asset("silero-torchscript"))


def silero(weights: Weights) -> tinyseq.Graph:
    """The voice detector of 16 kHz, as silero's own code for these weights has it."""
    g = tinyseq.Graph()
    x, state = g.input("input", ["N", 576]), g.input("state", [2, "N", 128])
    x = g.unsqueeze(g.apply("Pad", x, np.array([0, 0, 0, 64]), mode="reflect"), [1])
    spectrum = torch.conv1d(g, x, weights, "stft_conv", stride=128)
    squares = g.mul(spectrum, spectrum)
    x = g.apply("Sqrt", g.add(g.slice(squares, 1, 0, 129), g.slice(squares, 1, 129, 258)))
    for number, stride in enumerate((1, 2, 2, 1), start=1):
        x = g.relu(torch.conv1d(g, x, weights, f"conv{number}", stride=stride, padding=1))
    h, c = (g.squeeze(g.slice(state, 0, part, part + 1), [0]) for part in (0, 1))
    h, c = torch.lstm_cell(g, g.squeeze(x, [2]), weights, "lstm_cell", h=h, c=c)
    y = g.sigmoid(torch.conv1d(g, g.relu(g.unsqueeze(h, [2])), weights, "final_conv"))
    g.output("output", g.squeeze(y, [2]))
    g.output("stateN", g.concat([g.unsqueeze(h, [0]), g.unsqueeze(c, [0])], axis=0), carries="state")
    return g


ONNX_NAMES = {
    "stft_conv.weight": "model.stft.forward_basis_buffer",
    **{
        f"conv{number}.{kind}": f"model.encoder.{number - 1}.reparam_conv.{kind}"
        for number in range(1, 5)
        for kind in ("weight", "bias")
    },
    **{
        f"lstm_cell.{kind}_{side}": f"model.decoder.rnn.{kind}_{side}"
        for kind in ("weight", "bias")
        for side in ("ih", "hh")
    },
    **{f"final_conv.{kind}": f"model.decoder.decoder.2.{kind}" for kind in ("weight", "bias")},
}
"""What the ONNX file calls the weights of the safetensors file."""


@pytest.fixture(scope="module")
def sounds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "input": rng.normal(0, 0.1, (3, 576)).astype(np.float32),
        "state": rng.normal(0, 0.1, (2, 3, 128)).astype(np.float32),
    }


def test_a_voice_detector_from_weights_is_the_one_of_the_onnx_file(asset, sounds):
    path = asset("silero-chunk")
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    with Weights({name: stored[other] for name, other in ONNX_NAMES.items()}) as weights:
        g = silero(weights)
    wanted = onnxruntime.InferenceSession(path).run(None, sounds | {"sr": np.array(16000)})
    for found, right in zip(run(g, **sounds).values(), wanted, strict=True):
        close(found, right)


def test_a_voice_detector_from_safetensors(asset, sounds):
    """Of another training than the ONNX files, so against the reference."""
    with Weights(safetensors.read(asset("silero-safetensors"))) as weights:
        g = silero(weights)
    wanted = tinyseq.load(g, device="reference").run(sounds)
    for name, found in run(g, **sounds).items():
        close(found, wanted[name])
    assert list(tinyseq.load(g).stream().snapshot()) == ["state"]


def test_a_reader_of_graphemes(asset):
    """The encoder, against the package's own formula."""
    weights = Weights(npz.read(asset("graphemes")))
    g = tinyseq.Graph()
    names = ("enc_w_ih", "enc_w_hh", "enc_b_ih", "enc_b_hh")
    given = [weights.take(name) for name in names]
    embedded = g.unsqueeze(g.embedding(g.input("x", ["T"], np.int64), weights.take("enc_emb")), [1])
    y, _ = g.gru(embedded, given, layout="torch")
    g.output("y", y)
    weights.leave("dec_emb", "dec_w_ih", "dec_w_hh", "dec_b_ih", "dec_b_hh", "fc_w", "fc_b")
    weights.finish()
    letters = np.array([3 + ord(letter) - ord("a") for letter in "helicopter"] + [2])
    h = np.zeros(256)
    w_ih, w_hh, b_ih, b_hh = given
    for frame in weights.take("enc_emb")[letters]:
        (r, z, n), (hr, hz, hn) = np.split(w_ih @ frame + b_ih, 3), np.split(w_hh @ h + b_hh, 3)
        r, z = 1 / (1 + np.exp(-r - hr)), 1 / (1 + np.exp(-z - hz))
        h = (1 - z) * np.tanh(n + r * hn) + z * h
    close(tinyseq.load(g, device="reference").run({"x": letters})["y"][-1, 0], h)
