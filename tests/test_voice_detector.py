"""The voice detector: events of live streams, however their sound is cut, and snapshots of them."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import example, given
from hypothesis import strategies as st
from tinyseq.demo.vad.run import CLIP

import tinyseq
from tests.models import recogniser
from tinyseq.speech import Segment, VoiceDetector, VoiceEvent
from tinyseq.speech.segments import CHUNK, SAMPLE_RATE, Segmenter, VoiceOptions, segments
from tinyseq.speech.voice_detector import CONTEXT, MODEL

Spans = list[tuple[float, float]]

OPTIONS = VoiceOptions()
LEAST_SPEECH, LEAST_SILENCE, PADDING = 4000, 1600, 480
"""Samples that the options stand for."""


@pytest.fixture(scope="module")
def detector() -> VoiceDetector:
    return VoiceDetector()


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Five seconds with two stretches of speech."""
    return soundfile.read(CLIP, dtype="float32")[0][: 5 * SAMPLE_RATE]


@pytest.fixture(scope="module")
def events(detector, clip) -> list[VoiceEvent]:
    found = heard(detector.stream(), 16_000, [clip])
    assert [event.kind for event in found] == ["start", "end"] * 2
    return found


def heard(stream, rate: float, parts: list[np.ndarray]) -> list[VoiceEvent]:
    """All events of sound that comes in parts."""
    return [event for part in parts for event in stream.accept_waveform(rate, part)] + stream.finish()


@pytest.mark.parametrize("precision", ["int8", "int16", "bfloat16", "float16"])
def test_narrow_weights_decide_of_nearly_every_frame_as_float32_does(clip, precision):
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), clip])
    windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + CHUNK)[::CHUNK]
    decisions = []
    for rounded in (None, precision):
        stream = tinyseq.load(MODEL, precision=rounded).stream()
        feeds = [{"input": window[None].copy(), "sr": np.array(SAMPLE_RATE)} for window in windows]
        decisions.append([stream.step(each)["output"].item() >= OPTIONS.threshold for each in feeds])
    assert any(decisions[0]) and not all(decisions[0])
    assert np.mean(np.equal(*decisions)) >= 0.98


# From probabilities to events.


def live(probabilities: list[float], samples: int | None = None, options=OPTIONS) -> list[list[VoiceEvent]]:
    """What is given after each probability, and at the end of the sound."""
    segmenter, count = Segmenter(options), len(probabilities)
    last = CHUNK if samples is None else samples - (count - 1) * CHUNK
    found = [segmenter.push(p, last if i == count - 1 else CHUNK) for i, p in enumerate(probabilities)]
    return [*found, segmenter.finish()]


def spans(probabilities: list[float], samples: int | None = None, options=OPTIONS) -> Spans:
    found = [event for some in live(probabilities, samples, options) for event in some]
    assert [event.kind for event in found] == ["start", "end"] * (len(found) // 2)
    return segments(found)


def whole(probabilities: list[float], samples: int) -> Spans:
    """The rules of segments, said once more over all probabilities at once."""
    loud = [i for i, p in enumerate(probabilities) if p >= 0.5]
    found, start = [], None
    for here, following in zip(loud, [*loud[1:], None], strict=False):
        start = here * CHUNK if start is None else start
        quiet = [i for i, p in enumerate(probabilities[:following]) if i > here and not p >= 0.35]
        if following is None or (quiet and (quiet[-1] - quiet[0]) * CHUNK >= LEAST_SILENCE):
            end = quiet[0] * CHUNK if quiet else samples
            if end - start >= LEAST_SPEECH:
                found.append((max(start - PADDING, 0), min(end + PADDING, samples)))
            start = None
    return [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in found]


RUNS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.34, 0.35, 0.4, 0.49, 0.5, 1.0, np.nan]), st.integers(1, 9)),
    min_size=1,
    max_size=20,
)


@given(RUNS, st.integers(1, CHUNK))
def test_live_segments_are_those_of_the_whole(runs, last):
    probabilities = [p for p, times in runs for _ in range(times)]
    samples = (len(probabilities) - 1) * CHUNK + last
    assert spans(probabilities, samples) == whole(probabilities, samples)


@example([(1.0, 9), (0.0, 5), (1.0, 9)], 0.1, 0.3, 0.0)
@given(RUNS, st.sampled_from([0.0, 0.1, 0.5]), st.sampled_from([0.0, 0.05, 0.3]), st.sampled_from([0.0, 1.0]))
def test_events_go_forward_in_time(runs, silence, pad, speech):
    """Whatever the options: no speech begins before the last has ended, or ends after what was heard."""
    probabilities = [p for p, times in runs for _ in range(times)]
    options = VoiceOptions(min_silence_duration=silence, speech_pad=pad, min_speech_duration=speech)
    before = 0.0
    for number, found in enumerate(live(probabilities, None, options)):
        for event in found:
            assert before <= event.seconds <= min(number + 1, len(probabilities)) * CHUNK / SAMPLE_RATE
            before = event.seconds


def test_events_are_given_as_soon_as_they_are_certain():
    found = live([0.0] * 10 + [0.9] * 10 + [0.1] * 10)
    at = {event.kind: number for number, some in enumerate(found) for event in some}
    assert at == {"start": 9 + -(-LEAST_SPEECH // CHUNK), "end": 20 + -(-LEAST_SILENCE // CHUNK)}
    assert found[at["start"]] == [VoiceEvent("start", 0.29)]
    assert found[at["end"]] == [VoiceEvent("end", 0.67)]


def test_thresholds_have_hysteresis():
    assert spans([0.0] * 5 + [0.49] * 20) == []
    assert spans([0.5] + [0.36] * 19) == [(0, 0.64)]
    assert spans([0.5] + [0.36] * 19 + [0.34] * 5) == [(0, 0.64 + 0.03)]


def test_short_speech_is_dropped_and_short_silence_bridged():
    assert spans([0.9] * 7 + [0.0] * 9) == []
    assert spans([0.9] * 8 + [0.0] * 9) == [(0, 0.286)]
    assert spans([0.9] * 8 + [0.0] * 4 + [0.9] * 8) == [(0, 0.64)]
    assert spans([0.9] * 8 + [0.0] * 5 + [0.9] * 8) == [(0, 0.286), (0.386, 0.672)]


def test_not_a_number_ends_speech():
    assert spans([0.9] * 10 + [np.nan] * 20) == [(0, 0.35)]


def test_the_last_segment_ends_with_the_sound():
    assert spans([0.9] * 10, 9 * CHUNK + 100) == [(0, (9 * CHUNK + 100) / SAMPLE_RATE)]


# From sound to events.


def test_the_model_sees_each_chunk_after_its_context(detector, clip):
    stream, padded = detector.model.stream(), np.concatenate([np.zeros(64, np.float32), clip])
    voice = detector.stream()
    for at in range(0, 40_000, CHUNK):
        out = stream.step({"input": padded[None, at : at + 576], "sr": np.array(16_000)})
        voice.accept_waveform(16_000, clip[at : at + CHUNK])
        assert voice.probability == out["output"][0, 0]


def test_a_short_last_chunk_is_followed_by_silence(detector, clip):
    first, second = detector.stream(), detector.stream()
    first.accept_waveform(16_000, clip[20_000:20_600])
    first.finish()
    second.accept_waveform(16_000, np.pad(clip[20_000:20_600], (0, 424)))
    assert first.probability == second.probability


def test_speech_that_is_cut_off_ends_with_the_sound(detector, clip):
    assert detector.segments(16_000, clip[:40_000])[-1].end == 2.5


@given(cuts=st.lists(st.integers(0, 5 * SAMPLE_RATE), max_size=8))
def test_how_sound_is_cut_changes_no_event(detector, clip, events, cuts):
    assert heard(detector.stream(), 16_000, np.split(clip, sorted(cuts))) == events


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", "float64"])
def test_sound_of_any_format_has_the_same_events(detector, clip, events, dtype):
    one = {"int16": 2**15, "int32": 2**31, "uint8": 2**7, "float64": 1}[dtype]
    given = np.round(clip.astype(np.float64) * one) if one > 1 else clip
    given = (given + (128 if dtype == "uint8" else 0)).astype(dtype)
    found = heard(detector.stream(), 16_000, [given])
    if dtype == "uint8":  # eight bits are noisy
        assert len(found) == len(events)
        return
    assert found == events


@given(cuts=st.lists(st.integers(0, 5 * 48_000), max_size=8))
def test_stereo_of_48_khz_in_any_pieces_has_the_events_of_the_whole(detector, clip, events, cuts):
    other = soxr.resample(clip, SAMPLE_RATE, 48_000)
    stereo = np.stack([1.5 * other, 0.5 * other], axis=1)
    found = heard(detector.stream(), 48_000, np.split(stereo, sorted(cuts)))
    assert found == heard(detector.stream(), 48_000, [stereo])
    assert [event.kind for event in found] == [event.kind for event in events]
    assert np.abs([one.seconds - other.seconds for one, other in zip(found, events)]).max() < 0.04


def test_segments_of_whole_sound_are_the_events(detector, clip, events):
    found = detector.segments(16_000, clip)
    assert found == segments(events) and isinstance(found[0], Segment)


def test_streams_are_stepped_together_and_that_changes_no_event(detector, clip, events, monkeypatch):
    steps = []
    step = tinyseq.Stream.step
    monkeypatch.setattr(tinyseq.Stream, "step", lambda *given: steps.append(1) or step(*given))
    delays = [0, 100, 512, 5000]
    streams = [detector.stream() for _ in delays]
    sounds = [np.concatenate([np.zeros(delay, np.float32), clip]) for delay in delays]
    alone = [heard(detector.stream(), 16_000, [sound]) for sound in sounds]
    found = [[] for _ in delays]
    steps.clear()
    for at in range(0, len(sounds[-1]), 700):
        parts = [sound[at : at + 700] for sound in sounds]
        for own, some in zip(found, detector.accept_waveforms(streams, 16_000, parts)):
            own += some
    together = len(steps)
    assert [own + stream.finish() for own, stream in zip(found, streams)] == alone
    assert alone[0] == events and together < 100 < len(sounds[0]) // CHUNK


def test_finish_and_reset(detector, clip, events):
    stream = detector.stream()
    heard(stream, 16_000, [clip])
    assert stream.finish() == []
    with pytest.raises(tinyseq.FeedError, match="finished; reset it"):
        stream.accept_waveform(16_000, clip)
    stream.reset()
    assert np.isnan(stream.probability) and heard(stream, 16_000, [clip]) == events


# Snapshots.


@given(at=st.integers(0, 5 * SAMPLE_RATE))
def test_a_saved_stream_goes_on_in_another_detector(detector, clip, events, at):
    stream = detector.stream()
    before = stream.accept_waveform(16_000, clip[:at])
    data = stream.snapshot().to_bytes()
    twin, fork = VoiceDetector(detector.model).stream(), stream.fork()
    twin.restore(tinyseq.State.from_bytes(data))
    assert twin.snapshot().to_bytes() == fork.snapshot().to_bytes() == data
    for one in (stream, twin, fork):
        assert before + heard(one, 16_000, [clip[at:]]) == events


def test_a_foreign_snapshot_is_refused(detector, clip):
    stream, other = detector.stream(), VoiceDetector(detector.model, threshold=0.6).stream()
    other.accept_waveform(16_000, clip)
    stream.accept_waveform(16_000, clip)
    before = stream.snapshot()
    for saved in (other.snapshot(), {}, None, detector.model.stream().snapshot()):
        with pytest.raises(tinyseq.StateError):
            stream.restore(saved)
    assert stream.snapshot() == before


@given(data=st.data())
def test_a_damaged_snapshot_is_refused_or_harmless(detector, clip, data):
    stream = detector.stream()
    stream.accept_waveform(16_000, clip[:30_000])
    before = stream.snapshot()
    saved = {name: np.array(array) for name, array in before.items()}
    damaged = saved[data.draw(st.sampled_from(sorted(saved)))].reshape(-1).view(np.uint8)
    damaged[data.draw(st.integers(0, damaged.size - 1))] ^= data.draw(st.integers(1, 255))
    try:
        stream.restore(saved)
    except tinyseq.StateError:
        assert stream.snapshot() == before
        return
    if not stream._is_finished:
        heard(stream, 16_000, [clip[30_000:40_000]])


@pytest.mark.parametrize("rate", [48_000, 11_025])
@given(at=st.integers(0, 5 * 8000))
def test_a_saved_stream_that_resamples_goes_on(detector, clip, rate, at):
    other = soxr.resample(clip, SAMPLE_RATE, rate)
    at = at * rate // 8000
    stream = detector.stream()
    expected = heard(detector.stream(), rate, [other])
    before = stream.accept_waveform(rate, other[:at])
    twin, fork = detector.stream(), stream.fork()
    twin.restore(tinyseq.State.from_bytes(stream.snapshot().to_bytes()))
    again = twin.fork()
    for one in (stream, twin, fork, again):
        assert before + heard(one, rate, [other[at : at + 100], other[at + 100 :]]) == expected


# Refusals.


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"threshold": 1.1}, "threshold is a number from 0 to 1"),
        ({"threshold": "1"}, "threshold is a number"),
        ({"negative_threshold": 0.6}, "is above threshold"),
        ({"speech_pad": -1}, "speech_pad is a number"),
        ({"min_silence_duration": np.inf}, "min_silence_duration"),
    ],
)
def test_options_out_of_range_are_refused(detector, options, reason):
    with pytest.raises(tinyseq.OptionError, match=reason):
        VoiceDetector(detector.model, **options)


def test_another_model_is_refused():
    with pytest.raises(tinyseq.ModelError, match="a voice detector is silero's"):
        VoiceDetector(tinyseq.load(recogniser()))
    with pytest.raises(tinyseq.ModelError, match=r"tinyseq\.load"):
        VoiceDetector("silero_vad.onnx")


def test_sound_that_is_refused_changes_nothing(detector, clip):
    stream, other = detector.stream(), detector.stream()
    stream.accept_waveform(16_000, clip[:9000])
    before = stream.snapshot()
    for rate, sound in (
        (16_000, np.full(9, np.nan)),
        (8000, clip),
        (16_000, clip.reshape(2, -1, 8)),
        (16_000, clip[None]),
        (16_000, clip.astype(np.int64)),
        (None, clip),
    ):
        with pytest.raises(tinyseq.FeedError):
            stream.accept_waveform(rate, sound)
        with pytest.raises(tinyseq.FeedError):
            detector.accept_waveforms([other, stream], rate, [clip, sound])
    assert stream.snapshot() == before and other.snapshot() == detector.stream().snapshot()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_lists_that_do_not_fit_are_refused(detector, clip, count):
    streams = [detector.stream(), detector.stream()]
    with pytest.raises(tinyseq.FeedError):
        detector.accept_waveforms(streams, 16_000, [clip] * count)
    with pytest.raises(tinyseq.FeedError):
        detector.accept_waveforms(streams[:1] * 2, 16_000, [clip] * 2)
    with pytest.raises(tinyseq.FeedError, match="of this detector"):
        VoiceDetector(detector.model).accept_waveforms(streams, 16_000, [clip] * 2)
