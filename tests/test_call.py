"""The call from Python gives what Python's own way gives, takes no more than that does, and keeps nothing."""

import gc
import pickle
import sys
import time
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.assets import ASSETS
from tests.models import model, running_sum, value
from tests.strategies import CASES
from tests.test_real_models import MODELS, feeds_of
from tinyseq.backends import cpu
from tinyseq.kernels import call

TIMES = 200


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert list(one) == list(other)
    for name, array in one.items():
        assert array.dtype == other[name].dtype and array.shape == other[name].shape
        assert array.flags.owndata and array.flags.writeable and array.flags.c_contiguous
        assert array.tobytes() == other[name].tobytes()


@pytest.fixture
def through_python(monkeypatch):
    """Makes calls of what is loaded from now on go through Python."""

    def off() -> None:
        monkeypatch.setattr(call, "extension", lambda: None)

    return off


def lstm(units: int = 5) -> bytes:
    rng = np.random.default_rng(units)
    shapes = {"w": (1, 4 * units, 3), "r": (1, 4 * units, units), "b": (1, 8 * units)}
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    state = [value(name, shape=[1, "N", units]) for name in ("h", "c", "hn", "cn")]
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r", "b", "", "h", "c"], ["y", "hn", "cn"], hidden_size=units),
        helper.make_node("Shape", ["y"], ["frames"]),
    ]
    given = [value("x", shape=["T", "N", 3]), *state[:2]]
    results = [value("y", shape=["T", 1, "N", units]), value("frames", np.int64, [4]), *state[2:]]
    return model(nodes, given, results, weights)


def test_it_is_there():
    assert call.extension() is not None


@pytest.mark.parametrize("form", sorted(CASES))
@settings(max_examples=8)
@given(data=st.data())
def test_runs_of_every_op(form, data):
    case = data.draw(CASES[form])

    try:
        session = tinyseq.load(case.model)
        first = session.run(case.feeds)
    except tinyseq.TinyseqError:
        return
    same(session.run(case.feeds), first)


@pytest.mark.parametrize("name", MODELS)
def test_runs_of_real_models(name, through_python):
    path = ASSETS[name].path
    session, (sizes, _) = tinyseq.load(path), MODELS[name]
    feeds = feeds_of(session, sizes)
    quick = [session.run(feeds) for _ in range(3)][-1]
    through_python()
    same(quick, tinyseq.load(path).run(feeds))


@pytest.mark.parametrize("steps", [1, 7])
def test_steps_in_all_ways(steps, through_python):
    rng = np.random.default_rng(0)
    chunks = rng.standard_normal((TIMES, steps, 1, 3)).astype(np.float32)
    session = tinyseq.load(lstm())
    quick, given, whole = session.stream(), session.stream(), session.stream()
    feeds = {"x": chunks[0].copy()}
    out = {"y": np.empty((steps, 1, 1, 5), np.float32), "frames": np.empty(4, np.int64)}
    again, anew = given.bind(feeds, out), session.stream().bind(feeds)
    through_python()
    slow = tinyseq.load(lstm()).stream()
    for chunk in chunks:
        expected = slow.step({"x": chunk})
        same(quick.step({"x": chunk}), expected)
        feeds["x"][...] = chunk
        assert again() is out
        same(anew(), expected)
        given_back = whole.step({"x": chunk}, {name: np.empty_like(array) for name, array in out.items()})
        same(given_back, expected)
        same({name: array.copy() for name, array in out.items()}, expected)
    for stream in (quick, given, whole):
        assert stream.snapshot() == tinyseq.State(slow.snapshot(), session)


WRONG = {
    "an array too few": {},
    "one too many": {"x": np.zeros((1, 1, 3), np.float32), "z": np.zeros(1)},
    "another name": {"z": np.zeros((1, 1, 3), np.float32)},
    "another type": {"x": np.zeros((1, 1, 3))},
    "another rank": {"x": np.zeros((1, 3), np.float32)},
    "another size": {"x": np.zeros((1, 1, 4), np.float32)},
    "no array": {"x": None},
    "no dict": [np.zeros((1, 1, 3), np.float32)],
    "NaN": {"x": np.full((1, 1, 3), np.nan, np.float32)},
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_refused_as_ever(kind, through_python):
    stream, feeds = tinyseq.load(lstm()).stream(), {"x": np.ones((1, 1, 3), np.float32)}
    stream.step(feeds)
    before = stream.snapshot()
    with pytest.raises(tinyseq.FeedError) as quick:
        stream.step(WRONG[kind])
    assert stream.snapshot() == before
    through_python()
    slow = tinyseq.load(lstm()).stream()
    slow.step(feeds)
    with pytest.raises(tinyseq.FeedError) as expected:
        slow.step(WRONG[kind])
    assert str(quick.value) == str(expected.value)
    stream.step(feeds)


def test_pickled_arrays_are_taken_by_the_call():
    """Their dtypes are others than NumPy's own, as are those of what other processes send."""
    stream, feeds = tinyseq.load(lstm()).stream(), {"x": np.ones((1, 1, 3), np.float32)}
    plain = stream.fork()
    sent = pickle.loads(pickle.dumps(feeds))
    assert sent["x"].dtype is not feeds["x"].dtype
    out = pickle.loads(pickle.dumps(plain.fork().step(feeds)))
    for into in (None, out):
        results = stream._runner.quick(feeds)(sent, into, None)
        assert results is not None
        same(results, plain.step(feeds))
    swapped = {"x": feeds["x"].astype(">f4")}
    assert stream._runner.quick(feeds)(swapped, None, None) is None


TAKEN = {
    "strided": np.ones((1, 1, 6), np.float32)[..., ::2],
    "not aligned": np.frombuffer(b"\0" + np.ones(3, np.float32).tobytes(), np.uint8)[1:].view(np.float32)[
        None, None
    ],
    "read-only": np.broadcast_to(np.float32(1), (1, 1, 3)),
    "a list": [[[1.0, 1.0, 1.0]]],
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_can_be_converted_is_taken_as_ever(kind):
    stream, plain = tinyseq.load(lstm()).stream(), tinyseq.load(lstm()).stream()
    for _ in range(3):
        expected = plain.step({"x": np.ones((1, 1, 3), np.float32)})
        same(stream.step({"x": TAKEN[kind]}), expected)


def test_a_bound_step_refuses_what_is_wrong():
    stream = tinyseq.load(lstm()).stream()
    with pytest.raises(tinyseq.FeedError, match="missing 'x'"):
        stream.bind({})
    feeds = {"x": np.ones((1, 1, 3), np.float32)}
    step = stream.bind(feeds)
    step()
    before = stream.snapshot()
    feeds["x"][0] = np.nan
    with pytest.raises(tinyseq.FeedError, match="NaN"):
        step()
    assert stream.snapshot() == before
    with pytest.raises(tinyseq.FeedError, match="frames"):
        stream.bind({"x": np.ones((1, 1, 3), np.float32)}, {"y": np.empty((1, 1, 1, 5), np.float32)})()


def test_what_is_fed_may_change_its_shape():
    stream, alone = tinyseq.load(lstm()).stream(), tinyseq.load(lstm()).stream()
    feeds = {"x": np.ones((1, 1, 3), np.float32)}
    step = stream.bind(feeds)
    for frames in (1, 3, 2, 1):
        feeds["x"] = np.full((frames, 1, 3), frames, np.float32)
        for _ in range(2):
            same(step(), alone.step(dict(feeds)))


def test_nothing_is_kept():
    stream = tinyseq.load(lstm()).stream()
    feeds = {"x": np.ones((1, 1, 3), np.float32)}
    out = {name: array.copy() for name, array in stream.step(feeds).items()}
    step, fresh = stream.bind(feeds, out), stream.bind(feeds)
    watched = [
        None,
        feeds,
        out,
        np.dtype(np.float32),
        np.ndarray,
        dict,
        *feeds.values(),
        *out.values(),
        *feeds,
        *out,
    ]

    def counts() -> list[int]:
        gc.collect()
        return [sys.getrefcount(one) for one in watched]

    for _ in range(2):  # the first round fills what is kept once
        before = counts()
        for _ in range(TIMES):
            stream.step(feeds), stream.step(feeds, out), step(), fresh(), stream.step({"x": feeds["x"]})
            for bad in ({}, {"x": None}):
                with pytest.raises(tinyseq.FeedError):
                    stream.step(bad)
                with pytest.raises(tinyseq.FeedError):
                    stream.step(feeds, bad)
        after = counts()
    assert all(abs(one - other) < TIMES // 4 for one, other in zip(before, after))


def test_a_step_outlives_its_stream():
    stream = tinyseq.load(lstm()).stream()
    feeds = {"x": np.ones((1, 1, 3), np.float32)}
    expected = [stream.step(feeds)["y"] for _ in range(4)]
    stream.reset()
    step = stream.bind(feeds)
    quick = stream._runner.quick(feeds)
    first = step()["y"]
    del stream
    gc.collect()
    noise = [np.ones(64, np.float32) for _ in range(100)]
    got = [first, step()["y"], quick(feeds, None, None)["y"], step()["y"]]
    assert [y.tobytes() for y in got] == [y.tobytes() for y in expected] and noise


def test_out_that_others_change_meanwhile():
    session = tinyseq.load(lstm())
    stream, alone = session.stream(), session.stream()
    feeds = {"x": np.ones((40, 1, 3), np.float32)}
    shapes = {name: array for name, array in session.stream().step(feeds).items()}
    out = {name: np.empty_like(array) for name, array in shapes.items()}
    going = [True]

    def change() -> None:
        while going:
            out["y"] = np.empty_like(shapes["y"])

    thread = Thread(target=change)
    thread.start()
    try:
        for _ in range(TIMES):
            stream.step(feeds, out)
    finally:
        going.clear()
        thread.join()
    for _ in range(TIMES):
        alone.step(feeds)
    assert stream.snapshot() == alone.snapshot()


def test_keys_whose_comparison_runs_code():
    class Key(str):
        def __eq__(self, other: object) -> bool:
            out.clear()
            gc.collect()
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    stream = tinyseq.load(lstm()).stream()
    feeds = {"x": np.ones((1, 1, 3), np.float32)}
    stream.step(feeds)
    out: dict[str, np.ndarray] = {
        Key("y"): np.empty((1, 1, 1, 5), np.float32),
        Key("frames"): np.empty(4, np.int64),
    }
    with pytest.raises((tinyseq.FeedError, KeyError, RuntimeError)):
        stream.step(feeds, out)
    stream.step(feeds)


def test_a_step_within_a_step_is_refused():
    class Key(str):
        def __eq__(self, other: object) -> bool:
            with pytest.raises(tinyseq.StateError, match="in use"):
                stream.step({"x": np.zeros((1, 1, 3), np.float32)})
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    session = tinyseq.load(lstm())
    stream, alone = session.stream(), session.stream()
    x = np.ones((1, 1, 3), np.float32)
    for _ in range(3):
        same(stream.step({Key("x"): x}), alone.step({"x": x}))
    assert stream.snapshot() == alone.snapshot()


@pytest.mark.parametrize("frames, brief", [(1, True), (4000, False)])
def test_the_shortest_steps_keep_the_gil(frames, brief, monkeypatch):
    told = []

    def step_of(*given):
        told.append(given[6])
        return call.step_of(*given)

    monkeypatch.setattr(cpu, "step_of", step_of)
    stream, feeds = tinyseq.load(lstm()).stream(), {"x": np.ones((frames, 1, 3), np.float32)}
    for _ in range(3):
        stream.step(feeds)
    assert told == [brief]


def test_a_plan_of_many_turns_is_not_brief():
    once, often = (
        SimpleNamespace(arena_bytes=64, weights=[], program=np.zeros(64), turns=n) for n in (1, 999)
    )
    assert cpu._work(once) <= cpu.BRIEF < cpu._work(often)


def test_others_run_meanwhile():
    stream, session = tinyseq.load(lstm()).stream(), tinyseq.load(lstm())
    feeds, turns, going = {"x": np.ones((4000, 1, 3), np.float32)}, [0], [True]
    step = session.stream().bind(feeds, stream.step(feeds))
    step()

    def turn() -> None:
        while going:
            turns[0] += 1
            time.sleep(1e-5)

    interval = sys.getswitchinterval()
    thread = Thread(target=turn)
    try:
        # Nobody is made to give the GIL away.
        sys.setswitchinterval(1000)
        thread.start()
        while not turns[0]:
            time.sleep(1e-3)
        before = turns[0]
        for _ in range(50):
            step()
        assert turns[0] > before
    finally:
        going.clear()
        sys.setswitchinterval(interval)
        thread.join()


def test_two_threads_are_refused():
    stream = tinyseq.load(running_sum()).stream()
    feeds = {
        value.name: np.ones([1 if isinstance(s, str) else s for s in value.shape], value.dtype)
        for value in tinyseq.load(running_sum()).stream_inputs
        if value.name not in stream.state
    }
    stream.step(feeds)
    with pytest.raises(tinyseq.StateError, match="in use"):
        claim = stream._free.pop()
        try:
            stream.step(feeds)
        finally:
            stream._free.append(claim)
    stream.step(feeds)
