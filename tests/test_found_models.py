"""Models of pipelines around speech and text, as packages carry them, and as onnxruntime optimises them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import tinyseq

RNG = np.random.default_rng(0)


def image(width: int) -> dict[str, np.ndarray]:
    return {"x": RNG.standard_normal((1, 3, 48, width)).astype(np.float32)}


def letters(*shape: int, dtype=np.int64) -> np.ndarray:
    return RNG.integers(1, 9, shape).astype(dtype)


# By asset: inputs, and the most that results may differ, relative above 1.
MODELS = {
    "rapidocr-direction": (image(192), 1e-5),
    "rapidocr-text": (image(96), 1e-4),
    "magika": ({"bytes": letters(1, 2048, dtype=np.int32)}, 1e-4),
    "piper-arabic": (
        {"char_inputs": letters(1, 12), "diac_inputs": letters(1, 12), "input_lengths": np.array([12])}, 1e-5,
    ),
    "piper-hebrew": ({"input_1": letters(1, 12, dtype=np.float32)}, 1e-4),
    # Quantised: roundings of halves differ.
    "smart-turn": ({"input_features": RNG.standard_normal((1, 80, 800)).astype(np.float32)}, 1e-2),
    "silero-livekit": (
        {
            "input": RNG.standard_normal((1, 576)).astype(np.float32),
            "state": np.zeros((2, 1, 128), np.float32),
            "sr": np.array([16000]),
        },
        1e-5,
    ),
}  # fmt: skip


def rival(path: Path, optimised: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", MODELS)
def test_a_model_and_its_optimised_file_give_what_onnxruntime_gives(asset, tmp_path, name):
    feeds, bound = MODELS[name]
    path, optimised = asset(name), tmp_path / "optimised.onnx"
    theirs = rival(path, optimised)
    expected = theirs.run(None, feeds)
    for source in (path, optimised):
        ours = tinyseq.InferenceSession(source)
        assert [(v.name, v.type) for v in ours.get_outputs()] == [
            (v.name, v.type) for v in theirs.get_outputs()
        ]
        for own, other in zip(ours.run(None, feeds), expected, strict=True):
            assert (own.shape, own.dtype) == (other.shape, other.dtype)
            np.testing.assert_allclose(own, other, rtol=bound, atol=bound)
