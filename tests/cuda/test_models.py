"""A real model on an emulated device; slow, so few steps of one small enough."""

from __future__ import annotations

import numpy as np

import tinyseq


def test_silero_hears_a_chunk_as_the_reference_does(asset, device):
    path = asset("silero-chunk")
    draw = np.random.default_rng(0)
    state = draw.standard_normal((2, 1, 128)).astype(np.float32) / 4
    chunk = draw.standard_normal((1, 576)).astype(np.float32) / 8
    feeds = {"input": chunk, "state": state, "sr": np.array(16000)}
    found = tinyseq.load(path, device="cuda").run(feeds)
    wanted = tinyseq.load(path, device="reference").run(feeds)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)
