"""Real models from their weights alone: graphs written by hand for files of several formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tinyseq.converters import npz, safetensors, torch
from tinyseq.converters.weights import Weights

import tinyseq

DATA = Path(__file__).parent / "data"


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def run(graph: tinyseq.Graph, **feeds) -> dict[str, np.ndarray]:
    return tinyseq.load(graph).run(feeds)


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
