"""Real ONNX models of several exporters against onnxruntime and the reference."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

import tinyseq
from tinyseq.tools.verify import random_feeds

# By asset: the sizes of its open dimensions, and the most that results may differ, relative above 1.
MODELS = {
    "gtcrn": ({}, 2e-5),
    "dtln-1": ({}, 1e-5),
    "dtln-2": ({}, 2e-5),
    "romanizer-encoder": ({"batch": 3, "src_len": 7}, 1e-5),
    "romanizer-decoder": ({"batch": 3, "src_len": 7, "tgt_len": 4}, 2e-5),
    "nsnet2": ({}, 1e-5),
}


def feeds_of(session: tinyseq.Session, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    open_sizes = {d: 5 for value in session.inputs for d in value.shape or () if isinstance(d, str)}
    masks = {
        value.name: np.ones([(open_sizes | sizes).get(d, d) for d in value.shape], bool)
        for value in session.inputs
        if value.dtype == bool
    }
    return random_feeds(session, open_sizes | sizes, masks, seed=1)


def rival(path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", MODELS)
def test_model_agrees_with_onnxruntime_and_the_reference(isa, asset, name):
    sizes, bound = MODELS[name]
    path = asset(name)
    session = tinyseq.load(path)
    feeds = feeds_of(session, sizes)
    results = session.run(feeds)
    theirs = rival(path)
    expected = dict(zip([output.name for output in theirs.get_outputs()], theirs.run(None, feeds)))
    exact = tinyseq.load(path, device="reference").run(feeds)
    for key, array in results.items():
        np.testing.assert_allclose(array, expected[key], rtol=bound, atol=bound, err_msg=key)
        np.testing.assert_allclose(array, exact[key], rtol=bound, atol=bound, err_msg=key)
        assert (array.shape, array.dtype) == (expected[key].shape, expected[key].dtype)


def test_denoiser_streams_with_the_caches_it_names(asset):
    path = asset("gtcrn")
    stream = tinyseq.load(path).stream()
    theirs = rival(path)
    carried = {
        value.name: np.zeros(value.shape, np.float32) for value in theirs.get_inputs() if value.name != "mix"
    }
    rng = np.random.default_rng(0)
    for _ in range(20):
        mix = rng.standard_normal((1, 257, 1, 2)).astype(np.float32)
        enhanced, *caches = theirs.run(None, {"mix": mix} | carried)
        carried = dict(zip(carried, caches))
        np.testing.assert_allclose(stream.step({"mix": mix})["enh"], enhanced, rtol=1e-4, atol=1e-4)


def test_a_state_that_layers_share_by_slices_is_carried(asset):
    """In chunks of any size the same bits as in one call."""
    session = tinyseq.load(asset("nsnet2"))
    assert [pair.input for pair in session.state] == ["GRU_14.h", "GRU_20.h"]
    frames = np.random.default_rng(0).standard_normal((1, 20, 161)).astype(np.float32)
    stream = session.stream()
    parts = [stream.step({"input": part})["output"] for part in np.split(frames, [1, 4, 5, 12], axis=1)]
    np.testing.assert_array_equal(np.concatenate(parts, 1), session.run({"input": frames})["output"])


def test_masks_and_token_ids_carry_no_state(asset):
    assert tinyseq.load(asset("romanizer-encoder")).state == ()
