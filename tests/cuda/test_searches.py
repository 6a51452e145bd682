"""Searches over models on the device: its steps, its rows of state, the CPU's choices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinyseq
from tests.models import recogniser
from tests.test_recognizer import FEATURES, made, run_out, sound
from tinyseq.decode.generation.generate import begin

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


FEEDS = [
    {"x": np.random.default_rng(frames).normal(0, 2, (1, frames, 3)).astype(np.float32)}
    for frames in (2, 1, 2)
]

SHARED = {
    "repetition_penalty": (1.0, 1.4),
    "no_repeat_ngram_size": (0, 2),
    "min_new_tokens": (0, 2),
    "forced_bos_token_id": (None, 5),
    "forced_eos_token_id": (None, 2),
    "suppress_tokens": ((), (3, 4)),
    "begin_suppress_tokens": ((), (6,)),
    "eos_token_id": (None, 2, (2, 7, 8)),
    "prefix": ((), (4, 3)),
}
BEAMS = {
    "num_beams": (1, 2, 3),
    "length_penalty": (0.0, 1.0),
    "early_stopping": (False, True, "never"),
    "compete": (False, True),
    "patience": (1.0, 2.0),
}


def check_same(found: list, expected: list) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert [hypothesis.tokens for hypothesis in ours] == [hypothesis.tokens for hypothesis in theirs]
        np.testing.assert_allclose([h.score for h in ours], [h.score for h in theirs], atol=1e-4)
        for one, other in zip(ours, theirs):
            np.testing.assert_allclose(one.token_scores, other.token_scores, atol=1e-4)
            assert one.finished == other.finished


def chosen_there(device) -> bool:
    return any(launch.kernel.name.startswith("searches.") for launch in device.launches)


@pytest.mark.parametrize("name", METHODS)
def test_generation(device, name):
    on_device = decoder("cuda")
    for feeds in (FEEDS[:2], FEEDS[1:]):  # the second by what the first has left
        check_same(
            tinyseq.generate(on_device, feeds, METHODS[name]),
            tinyseq.generate(decoder("cpu"), feeds, METHODS[name]),
        )
    assert chosen_there(device) == (name != "sampling")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), method=st.sampled_from([tinyseq.Greedy, tinyseq.Beam]))
def test_options_choose_the_same_on_the_device(device, data, method):
    offered = SHARED | (BEAMS if method is tinyseq.Beam else {})
    given_options = {name: data.draw(st.sampled_from(values)) for name, values in offered.items()}
    options = method(decoder_start_token_id=1, max_new_tokens=4, **given_options)
    device.launches.clear()
    found = tinyseq.generate(decoder("cuda"), FEEDS, options)
    assert chosen_there(device)
    check_same(found, tinyseq.generate(decoder("cpu"), FEEDS, options))


def test_step_by_step(device):
    options = METHODS["beam"]
    generating = begin(decoder("cuda"), FEEDS, options)
    by_hand = begin(decoder("cpu"), FEEDS, options)
    for _ in range(3):
        assert generating.step() == by_hand.step()
        check_same(generating.end(), by_hand.end())


def test_what_python_looks_at_is_chosen_on_the_host(device):
    def ban(tokens: np.ndarray, scores: np.ndarray) -> None:
        scores[:, 3] = -np.inf

    given_options = {"logits_processor": [ban]}
    found = tinyseq.generate(decoder("cuda"), FEEDS, METHODS["greedy"], **given_options)
    check_same(found, tinyseq.generate(decoder("cpu"), FEEDS, METHODS["greedy"], **given_options))
    assert not chosen_there(device)


def test_a_diversity_penalty_is_minded_on_the_host(device):
    options = tinyseq.Beam(
        num_beams=4, num_beam_groups=2, diversity_penalty=0.7, decoder_start_token_id=1, eos_token_id=2,
        max_new_tokens=3, prefix=(4,),
    )  # fmt: skip
    found = tinyseq.generate(decoder("cuda"), FEEDS, options)
    check_same(found, tinyseq.generate(decoder("cpu"), FEEDS, options))


def test_a_token_that_the_model_does_not_know_is_told(device):
    options = tinyseq.Greedy(decoder_start_token_id=VOCABULARY, max_new_tokens=2)
    with pytest.raises(tinyseq.FeedError, match="outside its tensor"):
        tinyseq.generate(decoder("cuda"), FEEDS, options)


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
