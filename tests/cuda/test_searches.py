"""Searches over models on the device: its steps, its rows of state, the CPU's choices."""

from __future__ import annotations

import numpy as np
import pytest

import tinyseq
from tests.models import recogniser
from tests.test_recognizer import FEATURES, made, run_out, sound

HIDDEN, VOCABULARY = 12, 9
METHODS = {
    "greedy": tinyseq.Greedy(decoder_start_token_id=1, eos_token_id=2, max_new_tokens=4),
    "beam": tinyseq.Beam(
        num_beams=3, num_return_sequences=2, decoder_start_token_id=1, eos_token_id=2, max_new_tokens=4
    ),
    "sampling": tinyseq.Sampling(
        decoder_start_token_id=1, eos_token_id=2, max_new_tokens=4, num_return_sequences=2, seed=3
    ),
}


def decoder(device: str) -> tinyseq.Decoder:
    """An encoder that sums up x and a GRU that goes on from there, with attention to nothing."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape).astype(np.float32)

    encoder = tinyseq.Graph()
    x = encoder.input("x", ["rows", "frames", 3])
    cell = [weights(3 * HIDDEN, 3), weights(3 * HIDDEN, HIDDEN), weights(3 * HIDDEN), weights(3 * HIDDEN)]
    _, h = encoder.gru(encoder.transpose(x, [1, 0, 2]), cell, layout="torch")
    encoder.output("h_out", h)
    graph = tinyseq.Graph()
    token = graph.input("token", ["rows"], np.int64)
    h = graph.input("h", [1, "rows", HIDDEN])
    x = graph.unsqueeze(graph.embedding(token, weights(VOCABULARY, 4)), [0])
    cell = [weights(3 * HIDDEN, 4), weights(3 * HIDDEN, HIDDEN), weights(3 * HIDDEN), weights(3 * HIDDEN)]
    y, h = graph.gru(x, cell, layout="torch", h=h)
    graph.output("h_next", h, carries="h")
    graph.output("logits", graph.dense(graph.squeeze(y, [0]), weights(HIDDEN, VOCABULARY)))
    return tinyseq.Decoder(tinyseq.load(graph, device=device), tinyseq.load(encoder, device=device))


@pytest.mark.parametrize("name", METHODS)
def test_generation(device, name):
    rng = np.random.default_rng(1)
    feeds = [{"x": rng.normal(0, 2, (1, frames, 3)).astype(np.float32)} for frames in (2, 1)]
    found = tinyseq.generate(decoder("cuda"), feeds, METHODS[name])
    expected = tinyseq.generate(decoder("cpu"), feeds, METHODS[name])
    for ours, theirs in zip(found, expected, strict=True):
        assert [hypothesis.tokens for hypothesis in ours] == [hypothesis.tokens for hypothesis in theirs]
        np.testing.assert_allclose([h.score for h in ours], [h.score for h in theirs], atol=1e-4)


def test_live_recognition(device):
    results = []
    for name in ("cpu", "cuda"):
        recognizer = made(tinyseq.load(recogniser(FEATURES), device=name))
        streams = [recognizer.create_stream() for _ in range(2)]
        for seed, stream in enumerate(streams):
            stream.accept_waveform(16_000, sound(50, seed))
            stream.input_finished()
        run_out(recognizer, *streams)
        results.append([recognizer.get_result(stream).tokens for stream in streams])
    assert results[0] == results[1]
    assert any(results[0])
