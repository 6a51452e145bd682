"""PyTorch's layers and modules, against what PyTorch made of them (``data/make_torch.py``)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tinyseq.converters import torch
from tinyseq.converters.weights import Weights

import tinyseq
from tinyseq.ir.ops import OPS

DATA = Path(__file__).parent / "data"
FORMATS = ["layers.pt", "layers_legacy.pt"]


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def run(graph: tinyseq.Graph, **feeds) -> dict[str, np.ndarray]:
    return tinyseq.load(graph).run(feeds)


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return dict(np.load(DATA / "layers_expected.npz"))


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
    for name, found in tinyseq.load(g, device="reference").run({"x": expected["x"]}).items():
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


LIVE = json.loads((DATA / "modules.json").read_text())
RESULTS = dict(np.load(DATA / "modules_expected.npz"))


def under(prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): array for key, array in RESULTS.items() if key.startswith(prefix)}


def rebuilt(document: dict, weights: dict[str, np.ndarray]):
    """The module that a description is of."""
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in document["settings"].items()}
    children = []
    for name, child in document["children"].items():
        own = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}
        children.append((name, rebuilt(child, own)))
    return module(document["kind"], children, {} if children else weights, **settings)


@pytest.mark.parametrize("name", LIVE)
def test_a_live_module_gives_what_pytorch_gives(name):
    x = RESULTS[f"{name}.x"]
    found = run(torch.from_module(rebuilt(LIVE[name], under(f"{name}.weights.")), x.shape), x=x)
    for place, array in enumerate(found.values()):
        close(array, RESULTS[f"{name}.{place}"])
    assert f"{name}.{len(found)}" not in RESULTS


def test_sequences_of_different_lengths_are_packed_ones():
    given = dict(np.load(DATA / "packed_expected.npz"))
    with Weights({k.removeprefix("weights."): v for k, v in given.items() if "." in k}) as weights:
        g = tinyseq.Graph()
        lengths = g.input("lengths", ["N"], np.int32)
        for name, tensor in zip("yhc", torch.lstm(g, g.input("x", ["T", "N", 4]), weights, lengths=lengths)):
            g.output(name, tensor)
    for name, found in run(g, x=given["x"], lengths=given["lengths"]).items():
        close(found, given[name])


def test_a_child_in_training_mode_is_refused():
    with pytest.raises(tinyseq.ModelError, match="'0' is in training mode"):
        torch.from_module(sequential(module("Dropout", training=True)), ["N", 4])


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
