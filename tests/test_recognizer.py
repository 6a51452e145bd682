"""The verbs of live recognition, over a small recurrent model."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
import tinyseq.speech
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
    options = tinyseq.CtcBeamSearch(token_min_logp=-np.inf, beam_prune_logp=-np.inf)
    fitting = dict(
        front_end=lambda: tinyseq.Chunks(FEATURES * FRAMES, feeds),
        decoder=tinyseq.CtcDecoder(options),
        frame_seconds=SECONDS,
    )
    return tinyseq.Recognizer(session, **fitting | settings)


def sound(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, samples).astype(np.float32)


def whole(recognizer: tinyseq.Recognizer, waveform: np.ndarray) -> tinyseq.Hypothesis:
    padded = np.pad(waveform, (0, -len(waveform) % (FEATURES * FRAMES)))
    (output,) = recognizer.model.run({"x": padded.reshape(-1, 1, FEATURES)}).values()
    return recognizer.decoder.decode(output.reshape(-1, output.shape[-1]))[0]


def heard(recognizer: tinyseq.Recognizer, stream) -> tinyseq.Hypothesis:
    return recognizer.get_result(stream).hypothesis


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
    assert heard(recognizer, stream) == whole(recognizer, waveform)


def test_many_streams_at_once(session):
    recognizer = made(session)
    waveforms = [sound(length, length) for length in (7, 390, 0, 121)]
    streams = [recognizer.create_stream() for _ in waveforms]
    for stream, waveform in zip(streams, waveforms):
        stream.accept_waveform(16_000, waveform)
        stream.input_finished()
    run_out(recognizer, *streams)
    for stream, waveform in zip(streams, waveforms):
        assert heard(recognizer, stream) == whole(recognizer, waveform)


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
        (800, sound(9)),
        (16_000, sound(8).reshape(2, 2, 2)),
        (16_000, np.ones(8, np.int64)),
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
def test_a_stream_whose_rows_are_refused_leaves_the_others_alone(finite, why):
    recognizer = made(tinyseq.load(recogniser(FEATURES), finite=finite))
    waveforms = [sound(60, seed) for seed in range(3)]
    streams = [recognizer.create_stream() for _ in waveforms]
    for stream, waveform in zip(streams, waveforms):
        stream.accept_waveform(16_000, waveform)
    for state in streams[1]._model.state.values():
        state[...] = np.nan
    with pytest.raises(tinyseq.FeedError, match=rf"stream 1: {why}"):
        recognizer.decode(streams)
    streams[0].input_finished()
    streams[2].input_finished()
    run_out(recognizer, streams[0], streams[2])
    for number in (0, 2):
        assert heard(recognizer, streams[number]) == whole(recognizer, waveforms[number])


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
    assert heard(recognizer, stream) == whole(recognizer, waveform)


def test_advance_says_which_streams_were_refused():
    recognizer = made(tinyseq.load(recogniser(FEATURES)))
    streams = [recognizer.create_stream() for _ in range(4)]
    for stream in streams:
        stream.accept_waveform(16_000, sound(20))
    for number in (1, 3):
        for state in streams[number]._model.state.values():
            state[...] = np.nan
    refused = recognizer.advance(streams)
    assert set(refused) == {streams[1], streams[3]} and "NaN" in str(refused[streams[1]])
    assert not any(map(recognizer.is_ready, streams)) and heard(recognizer, streams[0]).frames is not None


def test_an_utterance_that_ends_has_a_final_result(session):
    """What a search finds at the end of a whole sequence, and not only on the way."""
    options = tinyseq.CtcBeamSearch(
        50, vocabulary=["_", " ", "a", "b"], lexicon=["ab", "ba"], token_min_logp=-np.inf, beam_prune_logp=-40
    )
    recognizer = saying(options)
    stream, waveforms, differs = recognizer.create_stream(), [sound(200, 1), sound(120, 2)], False
    for number, waveform in enumerate(waveforms):
        stream.accept_waveform(16_000, waveform)
        run_out(recognizer, stream)
        going = recognizer.get_result(stream)
        result = recognizer.end_utterance(stream)
        assert not going.is_final
        differs = differs or going.hypothesis != result.hypothesis
        assert result.is_final and result.hypothesis == whole(recognizer, waveform)
        assert result.start == pytest.approx(number * 50 * SECONDS)
        assert recognizer.get_result(stream).tokens == []
    assert differs


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


# Sound of other formats and rates.


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8])
def test_whole_numbers_are_scaled_by_the_stream_and_by_chunks_alike(session, dtype):
    limits = np.iinfo(dtype)
    waveform = np.random.default_rng(0).integers(limits.min, limits.max, 400, dtype, endpoint=True)
    middle = (int(limits.min) + int(limits.max) + 1) // 2
    scaled = ((waveform.astype(np.float64) - middle) / (int(limits.max) + 1 - middle)).astype(np.float32)
    recognizer = made(session)
    results = []
    for samples in (waveform, scaled):
        stream = recognizer.create_stream()
        stream.accept_waveform(16_000, samples)
        run_out(recognizer, stream)
        results.append(recognizer.get_result(stream))
    assert results[0] == results[1]
    steps = [tinyseq.Chunks(20, feeds).push(samples) for samples in (waveform, scaled)]
    np.testing.assert_array_equal(*([step["x"] for step in own] for own in steps))


@given(cuts=st.lists(st.integers(0, 4800), max_size=5))
def test_sound_of_another_rate_in_any_pieces_is_that_resampled_whole(session, cuts):
    recognizer, stereo = made(session), sound(9600).reshape(4800, 2)
    stream = recognizer.create_stream()
    for part in np.split(stereo, sorted(cuts)):
        stream.accept_waveform(48_000, part)
        run_out(recognizer, stream)
    stream.input_finished()
    run_out(recognizer, stream)
    assert heard(recognizer, stream) == whole(recognizer, soxr.resample(stereo.mean(1), 48_000, 16_000))


def looking_ahead() -> tinyseq.Session:
    """A model whose rows come two frames late."""
    rng = np.random.default_rng(0)
    g = tinyseq.Graph()
    x = g.transpose(g.input("x", ["rows", "frames", 4]), [0, 2, 1])
    y = g.conv1d(x, rng.normal(0, 2, (5, 4, 5)).astype(np.float32), padding=[2, 2])
    g.output("y", g.apply("LogSoftmax", g.transpose(y, [0, 2, 1]), axis=-1))
    return tinyseq.load(g)


def test_frames_that_a_model_holds_back_are_searched_at_the_end():
    session = looking_ahead()
    front_end = lambda: tinyseq.Chunks(4, lambda samples: {"x": samples[None, None]})  # noqa: E731
    recognizer = made(session, front_end=front_end)
    stream, other = recognizer.create_stream(), recognizer.create_stream()
    for seed in range(2):
        waveform = sound(44, seed)
        rows = session.run({"x": waveform.reshape(1, -1, 4)})["y"]
        stream.accept_waveform(16_000, waveform)
        stream.input_finished()
        recognizer.decode(stream)
        other.restore(stream.snapshot())
        run_out(recognizer, stream, other)
        assert heard(recognizer, stream) == heard(recognizer, other) == recognizer.decoder.decode(rows[0])[0]
        recognizer.reset(stream)
    assert session.latency == 2 and recognizer.get_result(stream).start == 88 / 16_000
    stream.input_finished()
    run_out(recognizer, stream)
    assert recognizer.get_result(stream).tokens == []


# Times.


def test_seconds_count_from_the_start_of_the_stream_through_all_utterances(session):
    recognizer = made(session)
    stream = recognizer.create_stream()
    stream.accept_waveform(16_000, sound(230))
    run_out(recognizer, stream)
    first = recognizer.get_result(stream)
    frames = 220 // FEATURES
    assert first.tokens and (first.start, first.end) == (0, frames * SECONDS)
    assert first.starts == [frame * SECONDS for frame in first.frames]
    assert first.ends == [(frame + 1) * SECONDS for frame in first.frames]
    recognizer.reset(stream)
    stream.accept_waveform(16_000, sound(90, 1))
    stream.input_finished()
    run_out(recognizer, stream)
    second = recognizer.get_result(stream)
    assert not first.is_final and second.is_final and second.stable == len(second.tokens)
    assert second.frames[0] < 10 and second.start == first.end
    assert second.starts == [(frames + frame) * SECONDS for frame in second.frames]
    recognizer.reset(stream)
    assert recognizer.get_result(stream).start == 320 / 16_000, "the padding of the last chunk is no sound"
    assert first.starts[0] == first.frames[0] * SECONDS, "a result is a value"


def test_seconds_are_right_where_an_utterance_ends_with_sound_that_waits(session):
    recognizer = made(session)
    stream = recognizer.create_stream()
    for samples in (50, 70):
        stream.accept_waveform(16_000, sound(samples))
        stream.input_finished()
        recognizer.reset(stream)
    stream.input_finished()
    run_out(recognizer, stream)
    recognizer.reset(stream)
    assert recognizer.get_result(stream).start == 120 / 16_000


@pytest.mark.parametrize("greedy", [True, False])
def test_words_have_seconds_of_the_stream(session, greedy):
    probe = made(session)
    size = probe.model.run({"x": np.zeros((5, 1, FEATURES), np.float32)})["y"].shape[-1]
    strings = ["_", " ", *map(chr, range(97, 95 + size))]
    options = (tinyseq.CtcGreedy if greedy else tinyseq.CtcBeamSearch)(vocabulary=strings)
    recognizer = made(session, decoder=tinyseq.CtcDecoder(options))
    stream = recognizer.create_stream()
    for utterance in range(2):
        stream.accept_waveform(16_000, sound(400, utterance))
        run_out(recognizer, stream)
        result = recognizer.get_result(stream)
        assert [word.word for word in result.words] == result.text.split()
        assert result.words and result.words == recognizer.get_result(stream).words
        timed = [(s, a, b) for s, a, b in zip(result.text, result.starts, result.ends) if s != " "]
        assert "".join(word.word for word in result.words) == "".join(s for s, _, _ in timed)
        assert {word.start for word in result.words} <= {a for _, a, _ in timed}
        assert result.words[0].start == timed[0][1] >= result.start
        assert result.words[-1].end == timed[-1][2] <= result.end
        recognizer.reset(stream)
    assert recognizer.get_result(stream).words == []
    assert probe.get_result(probe.create_stream()).words is None


def test_what_is_stable_stays(session):
    recognizer = made(session)
    stream, tokens = recognizer.create_stream(), []
    for seed in range(20):
        stream.accept_waveform(16_000, sound(100, seed))
        run_out(recognizer, stream)
        result = recognizer.get_result(stream)
        assert result.tokens[: len(tokens)] == tokens
        tokens = result.tokens[: result.stable]
    assert len(tokens) > 10


STRINGS = {
    "characters": (["_", " ", "a", "b"], {}),
    "pieces": (["_", "▁", "▁a", "b"], {}),
    "a lexicon": (["_", " ", "a", "b"], {"lexicon": ["a", "ab", "bab", "aab"]}),
    "sounds": (["_", "|", "AA", "B"], {"lexicon": {"ah": ["AA"], "bar": [["B", "AA"], ["B", "AA", "B"]]}}),
}


@pytest.mark.parametrize("kind", STRINGS)
@given(seed=st.integers(0, 999), width=st.integers(1, 8))
def test_stable_text_stays_and_tentative_text_follows_it(kind, seed, width):
    vocabulary, given = STRINGS[kind]
    wide = dict(token_min_logp=-np.inf, beam_prune_logp=-np.inf)
    if kind == "sounds":
        given = given | {"word_separator": "|"}
    options = tinyseq.CtcBeamSearch(width, vocabulary=vocabulary, horizon=20, **wide, **given)
    recognizer = saying(options)
    stream, stable, most = recognizer.create_stream(), "", 0
    for number in range(12):
        stream.accept_waveform(16_000, sound(48, 100 * seed + number))
        run_out(recognizer, stream)
        result = recognizer.get_result(stream)
        assert result.stable_text + result.tentative_text == result.text
        assert result.stable_text.startswith(stable), "what was stable is no more"
        stable, most = result.stable_text, max(most, len(result.tentative_text))
    stream.input_finished()
    run_out(recognizer, stream)
    result = recognizer.get_result(stream)
    assert result.text.startswith(stable) and (result.stable_text, result.tentative_text) == (result.text, "")
    assert len(stable) > 5 and (most or width == 1)


def test_without_strings_there_is_no_stable_text(session):
    recognizer = made(session)
    result = recognizer.get_result(recognizer.create_stream())
    assert result.stable_text is result.tentative_text is None


def saying(options) -> tinyseq.Recognizer:
    """A recognizer whose sound is its rows: four samples a row."""
    g = tinyseq.Graph()
    g.output("y", g.apply("LogSoftmax", g.input("x", ["rows", "frames", 4]), axis=-1))
    front_end = lambda: tinyseq.Chunks(4, lambda samples: {"x": samples[None, None]})  # noqa: E731
    return tinyseq.Recognizer(tinyseq.load(g), front_end, tinyseq.CtcDecoder(options), SECONDS)


@pytest.mark.parametrize("options", [tinyseq.CtcGreedy(), tinyseq.CtcBeamSearch(horizon=100)], ids=type)
def test_old_streams_are_asked_and_stepped_as_fast_as_young_ones(options):
    """The fastest of many, for the machine has other things to do."""
    recognizer = saying(options)
    stream = recognizer.create_stream()
    said = 8 * np.eye(4, dtype=np.float32)[[1, 0, 2, 3]].reshape(-1)

    def seconds() -> float:
        taken = []
        for number in range(100):
            stream.accept_waveform(16_000, said[number % 4 * 4 :][:4])
            begin = perf_counter()
            run_out(recognizer, stream)
            recognizer.get_result(stream)
            recognizer.is_endpoint(stream)
            taken.append(perf_counter() - begin)
        return min(taken)

    seconds()
    young = seconds()
    for _ in range(10):
        stream.accept_waveform(16_000, np.tile(said, 2500))
        steps = [step["x"] for step in stream._steps]
        stream._steps = type(stream._steps)([{"x": np.concatenate(steps, axis=1)}])
        run_out(recognizer, stream)
        recognizer.get_result(stream)
    assert len(recognizer.get_result(stream).tokens) > 70_000
    assert seconds() < 2 * young


# Snapshots.


def begun(recognizer: tinyseq.Recognizer):
    """A stream with a former utterance, samples that are left over, steps that wait and a state."""
    stream = recognizer.create_stream()
    stream.accept_waveform(16_000, sound(130))
    run_out(recognizer, stream)
    recognizer.reset(stream)
    stream.accept_waveform(16_000, sound(95, 1))
    recognizer.decode(stream)
    return stream


def ended(recognizer: tinyseq.Recognizer, stream) -> tinyseq.speech.RecognizerResult:
    stream.accept_waveform(16_000, sound(133, 2))
    stream.input_finished()
    run_out(recognizer, stream)
    return recognizer.get_result(stream)


def test_a_saved_stream_goes_on_in_another_recognizer(session):
    recognizer, other = made(session), made(tinyseq.load(recogniser(FEATURES)))
    stream = begun(recognizer)
    data = stream.snapshot().to_bytes()
    twin, fork = other.create_stream(), stream.fork()
    twin.restore(tinyseq.State.from_bytes(data))
    assert twin.snapshot().to_bytes() == data
    expected = ended(recognizer, stream)
    assert expected.tokens and expected.start > 0
    assert ended(other, twin) == ended(recognizer, fork) == expected
    stream.restore(tinyseq.State.from_bytes(data))
    assert ended(recognizer, stream) == expected


def test_a_finished_stream_stays_finished(session):
    recognizer = made(session)
    stream, twin = recognizer.create_stream(), recognizer.create_stream()
    expected = ended(recognizer, stream)
    twin.restore(stream.snapshot())
    assert recognizer.get_result(twin) == expected
    with pytest.raises(tinyseq.FeedError, match="finished"):
        twin.accept_waveform(16_000, sound(9))


def other_chunks() -> tinyseq.Chunks:
    return tinyseq.Chunks(FEATURES, lambda samples: {"x": samples.reshape(1, 1, FEATURES)})


FOREIGN = {
    "rate": lambda session: made(session, sample_rate=8000),
    "frames": lambda session: made(session, frame_seconds=0.2),
    "decoder": lambda session: made(session, decoder=tinyseq.CtcDecoder(tinyseq.CtcBeamSearch(3))),
    "front end": lambda session: made(session, front_end=other_chunks),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_snapshot_is_refused_and_changes_nothing(session, what):
    recognizer, foreign = made(session), FOREIGN[what](session)
    stream, other = foreign.create_stream(), begun(recognizer)
    saved = other.snapshot()
    before = stream.snapshot()
    with pytest.raises(tinyseq.StateError, match="saved stream"):
        stream.restore(saved)
    assert stream.snapshot() == before


@given(data=st.data())
def test_a_damaged_snapshot_is_refused_or_harmless(session, data):
    recognizer = made(session)
    stream = begun(recognizer)
    saved = {name: np.array(array) for name, array in stream.snapshot().items()}
    before = stream.snapshot()
    name = data.draw(st.sampled_from(sorted(saved)))
    if data.draw(st.booleans()):
        del saved[name]
    else:
        damaged = saved[name].reshape(-1).view(np.uint8)
        damaged[data.draw(st.integers(0, damaged.size - 1))] ^= data.draw(st.integers(1, 255))
    try:
        stream.restore(saved)
    except tinyseq.StateError:
        assert stream.snapshot() == before
        return
    try:
        ended(recognizer, stream)
    except tinyseq.TinyseqError:
        return


def test_streams_that_cannot_be_saved_say_why(session):
    class Own:
        def __init__(self) -> None:
            self.push, self.finish = tinyseq.Chunks(20, feeds).push, list

    stream = made(session, front_end=Own).create_stream()
    for call in (stream.snapshot, stream.fork):
        with pytest.raises(tinyseq.StateError, match=r"front end, Own, cannot: give it snapshot"):
            call()
