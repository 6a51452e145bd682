"""Streams whose steps differ: apart, in pools, saved, searched, and those of real models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tinyseq
from tests.strategies.streams import (
    CHANNELS,
    FRAMES,
    Layers,
    built,
    embedded,
    in_chunks,
    placed,
    signal,
    with_table,
)

DATA = Path(__file__).parent / "data"


def test_a_search_refuses_models_that_hold_frames_back():
    session = built(lambda own: own.conv(3, pads=(1, 1)))
    with pytest.raises(tinyseq.ModelError, match="holds frames back"):
        session.rows(None, 1)


# Streams apart, together, saved.


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_of_a_pool_do_not_meet(rows):
    session = built(lambda own: own.conv(3, pads=(1, 1)).lstm().conv(2, pads=(1, 0)))
    x = signal(FRAMES, rows)
    expected = [in_chunks(session, one[None], [5, 9, 30]) for one in x]
    pool = session.with_any_state().pool(rows + 2)
    noise = pool.open()
    for part in (np.full((1, 3, CHANNELS), np.nan, np.float32), 1e30 * signal(4)):
        pool.step([noise], {"x": part})
    own = [pool.open() for _ in x]
    parts = [pool.step(own, {"x": part})["y"] for part in np.split(x, [5, 9, 30], 1)]
    whole = np.concatenate([*parts, pool.finish(own)["y"]], 1)
    for row, one in zip(whole, expected):
        np.testing.assert_array_equal(row, one[0])
    with pytest.raises(tinyseq.StateError, match="finished"):
        pool.step(own, {"x": x})
    pool.reset(own[0])
    np.testing.assert_array_equal(pool.step(own[:1], {"x": x[:1]})["y"], expected[0][:, : FRAMES - 1])


def test_rows_of_a_pool_have_means_of_their_own():
    session = built(
        lambda own: own.whole().then("CumSum", np.array(1)).real().then("ReduceMean", np.array([1]))
    )
    pool, x = session.pool(2), signal(9, 2)
    a, b = pool.open(), pool.open()
    pool.step([a], {"x": x[:1, :4]})
    y = pool.step([b, a], {"x": np.stack([x[1, :5], x[0, 4:]])})["y"]
    for row, one in zip(y, (x[1:, :5], x[:1])):
        np.testing.assert_array_equal(row, session.run({"x": one})["y"][0])


AT_PLACES = {
    "numbers": placed,
    "learned positions": embedded,
    "a table": with_table,
    "a layer behind them": lambda own: (placed(own), own.lstm()),
    "strides": lambda own: own.conv(3, strides=(2,), pads=(2, 0)),
    "what comes late": lambda own: placed(own.conv(3, pads=(1, 1))),
}


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("make", AT_PLACES.values(), ids=AT_PLACES)
def test_rows_at_different_places_are_stepped_together(make, device):
    session, x, off = built(make, device=device), signal(FRAMES, 3), {"cpu": 0, "reference": 1e-12}[device]
    pool, streams = session.pool(5), [session.stream() for _ in x]
    rows, gone = [pool.open() for _ in x], [0] * len(x)
    for own, count in (([1], 4), ([2, 0], 2), ([0, 1, 2], 6), ([2, 1], 4), ([1, 0, 2], 2)):
        part = np.stack([x[one, gone[one] : gone[one] + count] for one in own])
        expected = [streams[one].step({"x": part[place : place + 1]})["y"] for place, one in enumerate(own)]
        out = None
        if device == "cpu":
            out = {"y": np.empty((len(own), *expected[0].shape[1:]), np.float32)}
        if len({array.shape for array in expected}) == 1:
            y = pool.step([rows[one] for one in own], {"x": part}, out)["y"]
            np.testing.assert_allclose(y, np.concatenate(expected), rtol=off)
            assert out is None or y is out["y"]
        else:
            for place, one in enumerate(own):
                y = pool.step([rows[one]], {"x": part[place : place + 1]})["y"]
                np.testing.assert_allclose(y, expected[place], rtol=off)
        for one in own:
            gone[one] += count
    for row, stream in zip(rows, streams):
        saved = pool.snapshot(row)
        for name, array in stream.snapshot().items():
            np.testing.assert_allclose(saved[name], array, rtol=off)


def test_a_step_of_rows_at_different_places_that_is_refused_changes_no_row():
    session = built(lambda own: (placed(own), own.then("CumSum", np.array(1))))
    pool, x = session.pool(2), signal(4, 2)
    rows = [pool.open(), pool.open()]
    pool.step(rows[:1], {"x": x[:1]})
    before = [pool.snapshot(row) for row in rows]
    poisoned = x.copy()
    for place in range(2):
        poisoned[...] = x
        poisoned[place, 2] = np.nan
        with pytest.raises(tinyseq.FeedError, match="NaN or infinite"):
            pool.step(rows, {"x": poisoned})
    for wrong, reason in (
        ({"x": x[:1]}, "must be 2"),
        ({"z": x}, "inputs do not match"),
        ({"x": x[0]}, "must be 2"),
    ):
        with pytest.raises(tinyseq.FeedError, match=reason):
            pool.step(rows, wrong)
    with pytest.raises(tinyseq.FeedError):
        pool.step(rows, {"x": x}, {"y": np.empty((2, 3, CHANNELS), np.float32)})
    assert [pool.snapshot(row) for row in rows] == before


def test_rows_whose_numbers_of_frames_differ_are_refused_together():
    session = built(lambda own: own.conv(3, strides=(2,), pads=(2, 0)))
    pool = session.pool(2)
    a, b = pool.open(), pool.open()
    pool.step([a], {"x": signal(1)})
    before = pool.snapshot(a), pool.snapshot(b)
    with pytest.raises(tinyseq.FeedError, match="another number of frames for each; step such rows by calls"):
        pool.step([a, b], {"x": signal(1, 2)})
    assert (pool.snapshot(a), pool.snapshot(b)) == before
    pool.step([b], {"x": signal(1)})
    assert pool.step([a, b], {"x": signal(2, 2)})["y"].shape == (2, 1, CHANNELS)


def test_a_search_refuses_models_that_number_their_frames():
    with pytest.raises(tinyseq.ModelError, match="numbers its frames"):
        built(placed).rows(None, 1)


def test_a_stream_goes_on_from_what_was_saved():
    session = built(lambda own: own.conv(4, strides=(3,), pads=(2, 1)).lstm())
    x, stream = signal(), session.stream()
    start = stream.step({"x": x[:, :8]})["y"]
    saved = tinyseq.State.from_bytes(stream.snapshot().to_bytes())
    rest = [stream.step({"x": x[:, 8:]})["y"], stream.finish()["y"]]
    np.testing.assert_array_equal(np.concatenate([start, *rest], 1), session.run({"x": x})["y"])
    with pytest.raises(tinyseq.StateError, match="finished"):
        stream.step({"x": x})
    other = session.stream()
    other.restore(saved)
    for twin in (other, other.fork()):
        np.testing.assert_array_equal(twin.finish({"x": x[:, 8:]})["y"], np.concatenate(rest, 1))
    stream.reset()
    np.testing.assert_array_equal(stream.step({"x": x[:, :8]})["y"], start)


def test_a_model_that_is_never_late_owes_nothing():
    session = built(lambda own: own.conv(3, pads=(2, 0)).lstm())
    stream, x = session.stream(), signal(5)
    assert stream.finish() == {}
    np.testing.assert_array_equal(stream.finish({"x": x})["y"], session.run({"x": x})["y"])


def test_the_end_of_a_stream_asks_for_inputs_without_frames_only():
    own = Layers()
    gain = own.graph.input("gain", [])
    own.conv(3, pads=(1, 1)).then("Mul", gain)
    stream, gain = own.model().stream(), np.float32(2)
    stream.step({"x": signal(4), "gain": gain})
    with pytest.raises(tinyseq.FeedError, match="missing 'gain'"):
        stream.finish()
    for wrong in (3, {"gain": gain, "z": gain}):
        with pytest.raises(tinyseq.FeedError):
            stream.finish(wrong)
    assert stream.finish({"gain": gain})["y"].shape == (1, 1, CHANNELS)


def test_the_reference_streams_alike():
    make = lambda own: own.conv(3, pads=(1, 1)).lstm()  # noqa: E731
    x = signal()
    exact = in_chunks(built(make, device="reference"), x, [3, 20])
    np.testing.assert_allclose(in_chunks(built(make), x, [3, 20]), exact, atol=1e-5)


def test_a_recognizer_hears_what_comes_late():
    """All rows reach the search, those that the model held back too; the next utterance begins anew."""
    session = built(lambda own: own.conv(5, pads=(2, 2)).then("LogSoftmax"))
    front_end = lambda: tinyseq.Chunks(CHANNELS, lambda samples: {"x": samples.reshape(1, -1, CHANNELS)})  # noqa: E731
    decoder = tinyseq.CtcDecoder(tinyseq.CtcGreedy())
    recognizer = tinyseq.Recognizer(session, front_end, decoder, 0.04)
    streams = [recognizer.create_stream() for _ in range(2)]
    for turn in range(2):
        for number, stream in enumerate(streams):
            stream.accept_waveform(16_000, signal(seed=number + turn).ravel())
            stream.input_finished()
        while any(map(recognizer.is_ready, streams)):
            recognizer.decode(streams)
        for number, stream in enumerate(streams):
            rows = session.run({"x": signal(seed=number + turn)})["y"]
            (expected,) = tinyseq.ctc_greedy(rows[0])
            assert recognizer.get_result(stream).hypothesis == expected
            recognizer.reset(stream)


# Models of others.


def checked(session: tinyseq.Session, feeds: dict | None = None) -> bool:
    """Whether a model has streams, which then keep their word."""
    try:
        report = tinyseq.check_stream(session, feeds, trials=3)
    except tinyseq.ModelError:
        return False
    assert report.passed, report
    return True


WITHOUT = {
    *("gru_backward_dynamo", "gru_backward_script", "functional", "masked", "sequence"),
    *("attention", "layers", "nested", "stacks", "conv_lstm", "merges", "heads", "kinds", "tied"),
}
"""Models of layers that run backward, and of those that look at all frames, as masks do."""

FILES = [*DATA.glob("*.keras"), *DATA.glob("cells/*.onnx")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_streams_of_models_keep_their_word_or_are_refused(path):
    assert checked(tinyseq.load(path)) == (path.name.split(".")[0] not in WITHOUT)


@pytest.mark.parametrize("name", ["nsnet2", "gtcrn", "dtln-1", "dtln-2", "romanizer-decoder"])
def test_streams_of_real_models_keep_their_word(asset, name):
    assert checked(tinyseq.load(asset(name)))


def test_streams_of_a_voice_detector_keep_their_word(asset):
    session = tinyseq.load(asset("silero-chunk"))
    assert checked(session, {"input": np.zeros((1, 576), np.float32), "sr": np.array(16000)})


def test_a_broken_word_is_told_with_its_smallest_case(monkeypatch):
    """A stream that forgets what it kept whenever a chunk has three frames."""
    session = built(lambda own: own.conv(3, pads=(2, 0)))
    step = tinyseq.Stream.step

    def forgetful(stream, feeds, out=None):
        if feeds["x"].shape[1] == 3:
            stream.reset()
        return step(stream, feeds, out)

    monkeypatch.setattr(tinyseq.Stream, "step", forgetful)
    report = tinyseq.check_stream(session)
    assert not report.passed
    assert report.findings[0].broken == "4 frames cut at [1]"
    assert "BROKEN: 4 frames cut at [1]" in str(report)
    assert not json.loads(report.as_json())["passed"]


def test_a_layer_over_no_frames_is_refused():
    graph = tinyseq.Graph()
    x = graph.input("x", [0, 1, 4])
    w = np.ones((1, 3, 4), np.float32)
    y, _ = graph.apply("RNN", x, w, np.ones((1, 3, 3), np.float32), outputs=2, hidden_size=3)
    graph.output("y", y)
    with pytest.raises(tinyseq.ModelError, match="number the graph takes for granted"):
        tinyseq.load(graph).stream()
