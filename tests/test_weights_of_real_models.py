"""Real models from their weights alone: graphs written by hand for files of several formats."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from tinyseq.converters import torch
from tinyseq.converters.weights import Weights, safetensors
from tinyseq.demo import audio
from tinyseq.demo.vad.run import CLIP

import tinyseq
from tests.packages import TORCH, Tensor, imported, stand_in

DATA = Path(__file__).parent / "data"


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def run(graph: tinyseq.Graph, **feeds) -> dict[str, np.ndarray]:
    return tinyseq.load(graph).run(feeds)


def speaker_encoder(path) -> tinyseq.Session:
    """Spectra [N, T, 40] to embeddings [N, 256] of length 1."""
    weights = Weights(torch.read(path))
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
    return tinyseq.load(g)


def mel_spectrum(y: np.ndarray, sr: int, n_fft: int, hop_length: int, n_mels: int) -> np.ndarray:
    """Power in bands of Slaney's mel scale [bands, frames], as librosa.feature.melspectrogram has it."""
    window = np.hanning(n_fft + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(y, n_fft // 2), n_fft)[::hop_length]
    power = np.abs(np.fft.rfft(frames * window)) ** 2

    def to_hertz(mel):
        return np.where(mel < 15, 200 / 3 * mel, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))

    edges = to_hertz(np.linspace(0, 15 + 27 * np.log(sr / 2 / 1000) / np.log(6.4), n_mels + 2))[:, None]
    hertz = np.fft.rfftfreq(n_fft, 1 / sr)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((hertz - low) / (centre - low), (high - hertz) / (high - centre))
    return np.maximum(triangles, 0) * 2 / (high - low) @ power.T


def test_a_speaker_encoder(asset):
    """The package's windows and means over its models' embeddings; PyTorch and librosa are stood in for."""
    librosa = stand_in("librosa", feature=SimpleNamespace(melspectrogram=mel_spectrum))
    others = stand_in("scipy.ndimage.morphology") | stand_in("webrtcvad")
    session = speaker_encoder(asset("speaker-encoder"))
    with imported(asset("speaker-package"), "resemblyzer.voice_encoder", librosa | others | TORCH) as module:

        class Encoder(module.VoiceEncoder):
            device = "cpu"

            def __init__(self) -> None:
                pass

            def __call__(self, mels):
                return Tensor.of(session.run({"x": mels.numpy()})["y"])

        sound = audio.read(CLIP).samples
        embedding, partials, _ = Encoder().embed_utterance(sound, return_partials=True)
    expected = np.load(DATA / "packages_expected.npz")
    np.testing.assert_allclose(partials, expected["speaker.partials"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(embedding, expected["speaker.embedding"], rtol=1e-3, atol=1e-4)


def ammonia_model(path) -> tinyseq.Session:
    """Series of different lengths, padded: numbers [T, N, 31] and categories [T, N, 11] to rates [T, N, 1].

    A packed sequence of PyTorch is frames with lengths."""
    g = tinyseq.Graph()
    numbers, categories = g.input("x", ["T", "N", 31]), g.input("categories", ["T", "N", 11], np.int64)
    lengths = g.input("lengths", ["N"], np.int32)
    with Weights(torch.read(path)) as weights:
        columns = [g.squeeze(g.slice(categories, 2, i, i + 1), [2]) for i in range(11)]
        embedded = [
            torch.embedding(g, column, weights, f"embeddings.{i}") for i, column in enumerate(columns)
        ]
        x = g.concat([numbers, *embedded], axis=2)
        y, _ = torch.rnn(g, x, weights, "rnn", nonlinearity="relu", lengths=lengths)
        g.output("rates", torch.linear(g, g.relu(torch.linear(g, y, weights, "fc1")), weights, "fc2"))
    return tinyseq.load(g)


def test_forecasts_of_ammonia(asset):
    """What the package's ``predict`` makes of three fields' series, cut to different lengths."""
    expected = np.load(DATA / "packages_expected.npz")
    lengths = expected["ammonia.lengths"]
    ends = np.cumsum(lengths)[:-1]

    def padded(name: str) -> np.ndarray:
        parts = np.split(expected[f"ammonia.{name}"], ends)
        room = [np.pad(part, [(0, lengths.max() - len(part)), (0, 0)]) for part in parts]
        return np.stack(room, 1)

    series = padded("continuous")
    feeds = {"x": series, "categories": padded("categories"), "lengths": lengths}
    rates = ammonia_model(asset("ammonia")).run(feeds)["rates"][..., 0].astype(np.float64)
    hours = series[..., 1] * expected["ammonia.hours"]
    emitted = -np.expm1(-np.cumsum(np.log1p(np.exp(rates)) * expected["ammonia.rate"] * hours, axis=0))
    wanted = np.split(expected["ammonia.forecasts"], ends)
    for row, (length, right) in enumerate(zip(lengths, wanted)):
        np.testing.assert_allclose(emitted[:length, row], right, rtol=1e-4, atol=1e-6)


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
