"""The verbs of live recognition, over a small recurrent model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests.models import recogniser

FEATURES, FRAMES = 4, 5
"""Of a step, which takes 20 samples."""
SECONDS = 0.1
"""That a frame of four samples is said to last."""


def feeds(samples: np.ndarray) -> dict[str, np.ndarray]:
    return {"x": samples.reshape(FRAMES, 1, FEATURES)}


@pytest.fixture(scope="module")
def session() -> tinyseq.Session:
    return tinyseq.load(recogniser(FEATURES))


def made(session: tinyseq.Session, **settings) -> tinyseq.Recognizer:
    decoder = tinyseq.CtcDecoder(tinyseq.CtcBeamSearch(token_min_logp=-np.inf, beam_prune_logp=-np.inf))
    front_end = lambda: tinyseq.Chunks(FEATURES * FRAMES, feeds)  # noqa: E731
    return tinyseq.Recognizer(session, front_end, decoder, SECONDS, **settings)


def sound(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, samples).astype(np.float32)


def whole(recognizer: tinyseq.Recognizer, waveform: np.ndarray) -> tinyseq.Hypothesis:
    padded = np.pad(waveform, (0, -len(waveform) % (FEATURES * FRAMES)))
    (output,) = recognizer.model.run({"x": padded.reshape(-1, 1, FEATURES)}).values()
    return recognizer.decoder.decode(output.reshape(-1, output.shape[-1]))[0]


def run_out(recognizer: tinyseq.Recognizer, *streams) -> None:
    while any(map(recognizer.is_ready, streams)):
        recognizer.decode(streams)


@given(samples=st.integers(0, 400), cuts=st.lists(st.integers(0, 400), max_size=5), seed=st.integers(0, 99))
def test_a_live_result_is_that_of_the_whole(session, samples, cuts, seed):
    recognizer = made(session)
    waveform = sound(samples, seed)
    stream = recognizer.create_stream()
    for part in np.split(waveform, sorted(min(cut, samples) for cut in cuts)):
        stream.accept_waveform(16_000, part)
        run_out(recognizer, stream)
        recognizer.get_result(stream)
    stream.input_finished()
    run_out(recognizer, stream)
    assert recognizer.get_result(stream) == whole(recognizer, waveform)


def test_many_streams_at_once(session):
    recognizer = made(session)
    waveforms = [sound(length, length) for length in (7, 390, 0, 121)]
    streams = [recognizer.create_stream() for _ in waveforms]
    for stream, waveform in zip(streams, waveforms):
        stream.accept_waveform(16_000, waveform)
        stream.input_finished()
    run_out(recognizer, *streams)
    for stream, waveform in zip(streams, waveforms):
        assert recognizer.get_result(stream) == whole(recognizer, waveform)


def test_streams_are_stepped_together_and_that_changes_no_bit(isa, monkeypatch):
    """Over all schedules; in one call for all, once a stream alone has shown what it gives."""
    session = tinyseq.load(recogniser(FEATURES))
    calls = []
    step = tinyseq.Stream.step
    monkeypatch.setattr(tinyseq.Stream, "step", lambda *given: calls.append(1) or step(*given))
    recognizer = made(session)
    waveforms = [sound(length, length) for length in (400, 390, 200, 120, 20)]
    alone = []
    for waveform in waveforms:
        alone.append(recognizer.create_stream())
        alone[-1].accept_waveform(16_000, waveform)
        alone[-1].input_finished()
        run_out(recognizer, alone[-1])
    streams = [recognizer.create_stream() for _ in waveforms]
    calls.clear()
    for stream, waveform in zip(streams, waveforms):
        stream.accept_waveform(16_000, waveform)
        stream.input_finished()
    run_out(recognizer, *streams)
    assert not calls
    for stream, one in zip(streams, alone):
        assert recognizer.get_result(stream) == recognizer.get_result(one)
        for name, array in stream._model.snapshot().items():
            np.testing.assert_array_equal(array, one._model.snapshot()[name])


def test_streams_that_cannot_be_together_are_stepped_alone():
    g = tinyseq.Graph()
    x = g.input("x", ["frames", "rows", FEATURES])
    h = g.input("h", [1, 1, 5])
    w = np.random.default_rng(0).normal(0, 1, (15, 5)).astype(np.float32)
    y, after = g.gru(x, [w[:, :FEATURES], w, w[:, 0], w[:, 0]], layout="torch", h=h)
    g.output("after", after, carries="h")
    g.output("y", y)
    recognizer = made(tinyseq.load(g))
    waveforms = [sound(100, 1), sound(60, 2)]
    streams = [recognizer.create_stream() for _ in waveforms]
    for stream, waveform in zip(streams, waveforms):
        stream.accept_waveform(16_000, waveform)
    run_out(recognizer, *streams)
    for stream, waveform in zip(streams, waveforms):
        one = recognizer.create_stream()
        one.accept_waveform(16_000, waveform)
        run_out(recognizer, one)
        assert recognizer.get_result(stream) == recognizer.get_result(one)


def test_reset_begins_a_new_utterance(session):
    recognizer = made(session)
    stream = recognizer.create_stream()
    stream.accept_waveform(16_000, sound(200))
    stream.input_finished()
    run_out(recognizer, stream)
    with pytest.raises(tinyseq.FeedError, match="finished"):
        stream.accept_waveform(16_000, sound(20))
    recognizer.reset(stream)
    assert recognizer.get_result(stream).tokens == []
    stream.accept_waveform(16_000, sound(40, 1))
    run_out(recognizer, stream)
    assert all(frame < 10 for frame in recognizer.get_result(stream).frames)


RULES = {
    "silence, nothing said": ((2.3, None), (2.4, None)),
    "silence after something": ((2.0, 0.9), (2.0, 0.8)),
    "a long utterance": ((19.9, 19.9), (20.0, 19.9)),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_three_rules(rule):
    before, after = RULES[rule]
    endpointing = tinyseq.Endpointing()
    assert not endpointing.is_endpoint(*before)
    assert endpointing.is_endpoint(*after)
    off = tinyseq.Endpointing(np.inf, np.inf, np.inf)
    assert not off.is_endpoint(*after)


def test_an_endpoint_is_found(session):
    recognizer = made(session, endpointing=tinyseq.Endpointing(rule3_min_utterance_length=2.0))
    stream = recognizer.create_stream()
    heard = 0
    while not recognizer.is_endpoint(stream):
        stream.accept_waveform(16_000, sound(FEATURES * FRAMES, heard))
        recognizer.decode(stream)
        heard += 1
    assert heard * FRAMES * SECONDS <= 2.0
    recognizer.reset(stream)
    assert not recognizer.is_endpoint(stream)


def test_refusals(session):
    stream = made(session).create_stream()
    for rate, waveform in (
        (8000, sound(9)),
        (16_000, sound(8).reshape(2, 4)),
        (16_000, ["a"]),
        (16_000, [[1], [2, 3]]),
        (sound(2), sound(9)),
    ):
        with pytest.raises(tinyseq.FeedError):
            stream.accept_waveform(rate, waveform)
    with pytest.raises(tinyseq.FeedError):
        made(session, output="z")
    with pytest.raises(tinyseq.FeedError):
        tinyseq.Chunks(0, feeds)
    with pytest.raises(tinyseq.FeedError):
        tinyseq.Endpointing(rule1_min_trailing_silence=-1)


@pytest.mark.parametrize(("finite", "why"), [(True, "state 'gru0.h' would be NaN"), (False, "row 0 .* NaN")])
def test_a_signal_whose_rows_are_refused_leaves_the_others_alone(finite, why):
    recognizer = made(tinyseq.load(recogniser(FEATURES), finite=finite))
    waveforms = [sound(60, seed) for seed in range(3)]
    streams = [recognizer.create_stream() for _ in waveforms]
    for stream, waveform in zip(streams, waveforms):
        stream.accept_waveform(16_000, waveform)
    for state in streams[1]._model.state.values():
        state[...] = np.nan
    with pytest.raises(tinyseq.FeedError, match=rf"signal 1: {why}"):
        recognizer.decode(streams)
    streams[0].input_finished()
    streams[2].input_finished()
    run_out(recognizer, streams[0], streams[2])
    for number in (0, 2):
        assert recognizer.get_result(streams[number]) == whole(recognizer, waveforms[number])


@pytest.mark.parametrize(
    "setting", [{"frame_seconds": "1"}, {"front_end": None}, {"decoder": tinyseq.CtcGreedy()}], ids=str
)
def test_settings_of_another_kind_are_refused(session, setting):
    recognizer = made(session)
    given = {name: getattr(recognizer, name) for name in ("front_end", "decoder", "frame_seconds")}
    with pytest.raises(tinyseq.FeedError, match=next(iter(setting))):
        tinyseq.Recognizer(session, **given | setting)
    with pytest.raises(tinyseq.ModelError, match=r"tinyseq\.load"):
        tinyseq.Recognizer(session.model, **given)


@pytest.mark.parametrize("verb", ["is_ready", "decode", "get_result", "is_endpoint", "reset"])
@pytest.mark.parametrize("stream", [None, 3, "ab", [None]], ids=str)
def test_what_is_no_stream_is_refused(session, verb, stream):
    with pytest.raises(tinyseq.FeedError, match="create_stream"):
        getattr(made(session), verb)(stream)


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
def test_sound_that_is_not_finite_is_refused_and_forgotten(session, number):
    recognizer = made(session)
    stream, waveform = recognizer.create_stream(), sound(40)
    with pytest.raises(tinyseq.FeedError, match="NaN or infinity"):
        stream.accept_waveform(16_000, np.append(waveform.astype(np.float64), number))
    assert not recognizer.is_ready(stream)
    stream.accept_waveform(16_000, waveform)
    stream.input_finished()
    run_out(recognizer, stream)
    assert recognizer.get_result(stream) == whole(recognizer, waveform)


def test_a_recognizer_takes_its_own_streams_only(session):
    first, second = made(session), made(session)
    stream = second.create_stream()
    stream.accept_waveform(16_000, sound(40))
    with pytest.raises(tinyseq.FeedError, match="another recognizer's"):
        first.decode([stream])
    assert second.is_ready(stream)


def test_a_result_that_ends_within_a_word_is_not_lost(session):
    """No hypothesis is whole at the end of the sound, where words come from a lexicon."""
    recognizer = made(session)
    stream = recognizer.create_stream()
    stream.accept_waveform(16_000, sound(200))
    run_out(recognizer, stream)
    before = recognizer.get_result(stream)
    stream._search.finish = lambda: []
    stream.input_finished()
    run_out(recognizer, stream)
    assert recognizer.get_result(stream).tokens[: len(before.tokens)] == before.tokens and before.tokens


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"endpointing": "x"}, "endpointing is an Endpointing"),
        ({"sample_rate": "16000"}, "sample_rate is a number"),
        ({"output": np.array(["y", "z"])}, "the model gives"),
    ],
)
def test_more_settings_of_another_kind_are_refused(session, setting, reason):
    with pytest.raises(tinyseq.FeedError, match=reason):
        made(session, **setting)
