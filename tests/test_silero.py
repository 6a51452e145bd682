"""A real voice detector on real speech, against onnxruntime, against the labels and against itself."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import tinyseq
from tests.packages import TORCH, Tensor, imported
from tinyseq.kernels import library
from tinyseq.speech import VoiceDetector

RATE, HOP, CONTEXT = 16000, 512, 64
SR = np.array(RATE)
TOLERANCE = 1e-5
"""Absolute, and relative for what is above 1: the cell state grows past 10."""


@dataclass(frozen=True)
class Expected:
    """What onnxruntime makes of the speech."""

    probabilities: np.ndarray
    state: np.ndarray


@pytest.fixture(scope="module")
def chunk_model(asset) -> Path:
    return asset("silero-chunk")


@pytest.fixture(scope="module")
def sequence_model(asset) -> Path:
    return asset("silero-sequence")


@pytest.fixture(scope="module")
def samples(asset) -> np.ndarray:
    with wave.open(str(asset("speech"))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768)


@pytest.fixture(scope="module")
def chunks(samples) -> np.ndarray:
    """The speech in whole hops, each with the last samples of the hop before it in front."""
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples])
    windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + HOP)
    return np.ascontiguousarray(windows[::HOP], np.float32)


@pytest.fixture(scope="module")
def expected(chunk_model: Path, chunks: np.ndarray) -> Expected:
    return drive(onnxruntime.InferenceSession(chunk_model), chunks)


def drive(session, chunks: np.ndarray) -> Expected:
    """Feeds the chunks to anything with onnxruntime's face, the state in the caller's hands."""
    state = np.zeros((2, 1, 128), np.float32)
    probabilities = []
    for chunk in chunks:
        output, state = session.run(None, {"input": chunk[None], "state": state, "sr": SR})
        probabilities.append(output[0, 0])
    return Expected(np.array(probabilities), state)


def listen(session: tinyseq.Session, chunks: np.ndarray) -> Expected:
    """Feeds the chunks to a stream."""
    stream = session.stream()
    out = {"output": np.empty((1, 1), np.float32)}
    probabilities = [
        stream.step({"input": chunk[None], "sr": SR}, out=out)["output"][0, 0] for chunk in chunks
    ]
    return Expected(np.array(probabilities), stream.snapshot()["state"])


def assert_close(found: Expected, wanted: Expected) -> None:
    for array, right in ((found.probabilities, wanted.probabilities), (found.state, wanted.state)):
        np.testing.assert_allclose(array, right, rtol=TOLERANCE, atol=TOLERANCE)


def assert_same(found: Expected, wanted: Expected) -> None:
    np.testing.assert_array_equal(found.probabilities, wanted.probabilities)
    np.testing.assert_array_equal(found.state, wanted.state)


@pytest.fixture(params=library.available())
def isa(request, monkeypatch) -> str:
    monkeypatch.setenv(library.ISA_VARIABLE, request.param)
    return request.param


def test_stream_matches_onnxruntime(isa, chunk_model, chunks, expected):
    assert len(chunks) == 937
    assert_close(listen(tinyseq.load(chunk_model), chunks), expected)


def test_stream_hears_the_speech(asset, chunk_model, chunks):
    speech = listen(tinyseq.load(chunk_model), chunks).probabilities > 0.5
    centres = (np.arange(len(chunks)) + 0.5) * HOP / RATE
    labels = np.zeros(len(chunks), bool)
    for line in asset("speech-segments").read_text().splitlines():
        start, length = map(float, line.split()[3:5])
        labels |= (start <= centres) & (centres < start + length)
    assert np.mean(speech == labels) >= 0.98


def test_the_voice_detector_hears_what_the_package_hears(asset, chunk_model, samples, chunks):
    """To the sample, with the model in tinyseq and with the package's own; and what the labels say."""
    with imported(asset("silero-package"), "silero_vad", TORCH) as module:
        model = module.load_silero_vad(onnx=True, opset_version=15)
        theirs = module.get_speech_timestamps(Tensor.of(samples), model)
    wanted = [(span["start"] / RATE, span["end"] / RATE) for span in theirs]
    for detector in (VoiceDetector(), VoiceDetector(tinyseq.load(chunk_model))):
        found = detector.segments(RATE, (samples * 32768).astype(np.int16))
        assert found == wanted
    probabilities = []
    stream = detector.stream()
    for at in range(0, len(samples), HOP):
        stream.accept_waveform(RATE, samples[at : at + HOP])
        probabilities.append(stream.probability)
    expected = listen(tinyseq.load(chunk_model), chunks).probabilities
    np.testing.assert_array_equal(probabilities[: len(expected)], expected)


def test_stream_matches_the_reference(chunk_model, chunks):
    some = chunks[220:228]
    found = listen(tinyseq.load(chunk_model), some)
    stream = tinyseq.load(chunk_model, device="reference").stream()
    wanted = [stream.step({"input": chunk[None], "sr": SR})["output"][0, 0] for chunk in some]
    assert_close(found, Expected(np.array(wanted), stream.snapshot()["state"]))


def test_inference_session_takes_the_place_of_onnxruntimes(chunk_model, chunks, expected):
    found = drive(tinyseq.InferenceSession(chunk_model), chunks)
    assert_close(found, expected)
    assert_same(found, listen(tinyseq.load(chunk_model), chunks))


@pytest.mark.filterwarnings("ignore:This model support only 16000")
@pytest.mark.parametrize("sequence", [False, True], ids=["chunks", "sequence"])
def test_the_package_hears_the_same_through_either_session(asset, monkeypatch, samples, sequence):
    """Its own code from the samples to the timestamps, PyTorch's few calls in it stood in for."""

    def heard() -> list[dict[str, int]]:
        with imported(asset("silero-package"), "silero_vad", TORCH) as module:
            model = module.load_silero_vad(onnx=True, opset_version=15, sequence=sequence)
            listen = module.get_speech_timestamps_sequence if sequence else module.get_speech_timestamps
            return listen(Tensor.of(samples), model)

    theirs = heard()
    monkeypatch.setattr(onnxruntime, "InferenceSession", tinyseq.InferenceSession)
    ours = heard()
    assert ours == theirs
    assert len(ours) == 4


def test_saved_model_gives_the_same_bits(tmp_path, chunk_model, chunks):
    model = tinyseq.load(chunk_model)
    model.save(tmp_path / "silero.tinyseq")
    assert_same(listen(tinyseq.load(tmp_path / "silero.tinyseq"), chunks), listen(model, chunks))


def test_batch_row_is_the_row_alone(isa, chunk_model, chunks):
    model = tinyseq.load(chunk_model)
    input, state = chunks[300:303], _states()
    batch = model.run({"input": input, "state": state, "sr": SR})
    for row in range(3):
        alone = model.run({"input": input[row : row + 1], "state": state[:, row : row + 1], "sr": SR})
        np.testing.assert_array_equal(batch["output"][row], alone["output"][0])
        np.testing.assert_array_equal(batch["stateN"][:, row], alone["stateN"][:, 0])


@pytest.mark.parametrize("rate", [8000, 16000, 11025])
def test_any_sample_rate_is_taken_as_onnxruntime_takes_it(rate, chunk_model):
    """The model branches on the rate: 16000 or anything else."""
    size = CONTEXT + HOP if rate == RATE else (CONTEXT + HOP) // 2
    feeds = {"input": _noise((1, size)), "state": _states()[:, :1], "sr": np.array(rate)}
    wanted = onnxruntime.InferenceSession(chunk_model).run(None, feeds)
    found = tinyseq.load(chunk_model).run(feeds)
    for array, right in zip(found.values(), wanted, strict=True):
        np.testing.assert_allclose(array, right, rtol=TOLERANCE, atol=TOLERANCE)


def test_sequence_in_any_pieces_gives_the_same_bits(isa, sequence_model, chunks):
    model = tinyseq.load(sequence_model)
    zeros = np.zeros((1, 1, 128), np.float32)
    whole = model.run({"input": chunks, "h": zeros, "c": zeros})
    output, state = next(iter(whole)), {pair.input: pair.output for pair in model.state}
    assert len(state) == 2
    cuts = np.sort(np.random.default_rng(3).choice(np.arange(1, len(chunks)), 40, replace=False))
    for pieces in (np.split(chunks, len(chunks)), np.split(chunks, cuts)):
        stream = model.stream()
        found = [stream.step({"input": piece})[output] for piece in pieces]
        axis = whole[output].shape.index(len(chunks))
        np.testing.assert_array_equal(np.concatenate(found, axis), whole[output])
        for given, result in state.items():
            np.testing.assert_array_equal(stream.snapshot()[given], whole[result])


def test_sequence_matches_onnxruntime(isa, sequence_model, chunks):
    zeros = np.zeros((1, 1, 128), np.float32)
    feeds = {"input": chunks, "h": zeros, "c": zeros}
    wanted = onnxruntime.InferenceSession(sequence_model).run(None, feeds)
    found = tinyseq.load(sequence_model).run(feeds)
    for array, right in zip(found.values(), wanted, strict=True):
        np.testing.assert_allclose(array, right, rtol=TOLERANCE, atol=TOLERANCE)


def _noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 0.1, shape).astype(np.float32)


def _states() -> np.ndarray:
    return _noise((2, 3, 128))
