"""Streams use feeds and results where they lie: the bits of copies, also over each other, not for longer."""

from __future__ import annotations

import gc
import sys
import time
from threading import Thread

import numpy as np
import pytest
from onnx import helper

import tinyseq
from tests.models import model, value
from tests.test_call import lstm, through_python  # noqa: F401  a fixture
from tests.test_in_place import NONE, at_home, lying, numbers, same, strided
from tinyseq.backends import cpu

FRAMES, UNITS = 200, 5


def chunk(seed: int = 0, frames: int = FRAMES) -> np.ndarray:
    return numbers(frames, 1, 3, seed=seed)


def room(frames: int = FRAMES) -> dict[str, np.ndarray]:
    return {"y": np.empty((frames, 1, 1, UNITS), np.float32), "frames": np.empty(4, np.int64)}


def steps(way, model_of=lstm, count: int = 4) -> list[dict[str, np.ndarray]]:
    """What steps give, and then the state; ``way`` takes a stream and a chunk."""
    stream = tinyseq.load(model_of(UNITS)).stream()
    given = [way(stream, chunk(seed)) for seed in range(count)]
    copied = [{name: array.copy() for name, array in results.items()} for results in given]
    return [*copied, dict(stream.snapshot())]


def in_strides(stream, x):
    out = {name: strided(array) for name, array in room().items()}
    return stream.step({"x": x}, out)


def bound(stream, x):
    return stream.bind({"x": x}, room())()


STEPS = {
    "new arrays": lambda stream, x: stream.step({"x": x}),
    "arrays of their own": lambda stream, x: stream.step({"x": x}, room()),
    "parts of others": lambda stream, x: stream.step({"x": x}, {n: a[:] for n, a in room().items()}),
    "with gaps": in_strides,
    "bound": bound,
}


@pytest.mark.parametrize("extension", [True, False])
@pytest.mark.parametrize("way", STEPS)
def test_results_in_all_ways(way, extension, through_python):  # noqa: F811
    with lying(NONE):
        expected = steps(STEPS["new arrays"])
    if not extension:
        through_python()
    for one, other in zip(steps(STEPS[way]), expected, strict=True):
        same(one, other)


SIDE = 40


def mirrored() -> tinyseq.Stream:
    """z = -x, then y = x upside down, then h = x + h."""
    nodes = [
        helper.make_node("Neg", ["x"], ["z"]),
        helper.make_node("Slice", ["x", "from", "to", "axis", "by"], ["turned"]),
        helper.make_node("Abs", ["turned"], ["y"]),
        helper.make_node("Add", ["x", "h"], ["hn"]),
    ]
    known = {"from": [-1], "to": [-SIDE - 1], "axis": [0], "by": [-1]}
    given, results = (
        [value(name, shape=[SIDE, SIDE]) for name in names] for names in (("x", "h"), ("z", "y", "hn"))
    )
    constants = {name: np.array(array) for name, array in known.items()}
    return tinyseq.load(model(nodes, given, results, constants), state={"h": "hn"}).stream()


def over(memory: np.ndarray, x: np.ndarray, start: int) -> np.ndarray:
    """x, copied into a memory from a place on."""
    fed = memory.reshape(-1)[start : start + x.size].reshape(x.shape)
    fed[...] = x
    return fed


def over_a_feed_of_its_own(x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    out = {"z": np.empty(x.shape, np.float32), "y": np.empty((2, *x.shape), np.float32)[0]}
    return over(out["y"].base, x, 37), out


def over_the_very_feed(x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return x, {"z": x, "y": np.empty_like(x)}


def over_a_part(x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The feed is a view of the array that results go to."""
    out = {"z": np.empty(x.shape, np.float32), "y": np.empty(x.shape, np.float32)}
    return over(out["z"], x, 0), out


def over_a_neighbour(x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    memory = np.empty((3, *x.shape), np.float32)
    return over(memory, x, SIDE * SIDE // 2), {"z": memory[0], "y": memory[1]}


@pytest.mark.parametrize("extension", [True, False])
@pytest.mark.parametrize(
    "lay",
    [over_a_feed_of_its_own, over_the_very_feed, over_a_part, over_a_neighbour],
    ids=lambda f: f.__name__,
)
def test_results_over_feeds(lay, extension, through_python):  # noqa: F811
    if not extension:
        through_python()
    stream, sum_of_all = mirrored(), np.zeros((SIDE, SIDE), np.float32)
    for seed in range(4):
        x = numbers(SIDE, SIDE, seed=seed)
        fed, out = lay(x.copy())
        found = stream.step({"x": fed}, out)
        same(found, {"z": -x, "y": np.abs(x[::-1])})
        sum_of_all = x + sum_of_all
        np.testing.assert_array_equal(stream.state["h"], sum_of_all)


@pytest.mark.parametrize("extension", [True, False])
def test_a_long_run_writes_into_no_array_of_others(extension, monkeypatch):
    """It may go on after a signal has ended it for who called."""
    with lying(NONE):
        expected = steps(STEPS["new arrays"])
    monkeypatch.setattr(cpu, "_is_long", lambda plan: True)
    for way in STEPS:
        for one, other in zip(steps(STEPS[way]), expected, strict=True):
            same(one, other)
    stream = tinyseq.load(lstm(UNITS)).stream()
    feeds, out = {"x": chunk()}, {name: np.zeros_like(array) for name, array in room().items()}
    stream.step(feeds, out)
    out["y"][...] = 7
    executor = stream._runner._last

    def interrupted() -> None:
        cpu.CpuExecutor.execute(executor)
        raise KeyboardInterrupt

    monkeypatch.setattr(executor, "execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stream.step(feeds, out)
    assert (out["y"] == 7).all() and at_home(executor)


def test_steps_that_fail_leave_the_state_and_use_nothing_further():
    session = tinyseq.load(lstm(UNITS))
    stream, alone = session.stream(), session.stream()
    bad = {"x": np.full((FRAMES, 1, 3), np.nan, np.float32)}
    for out in (None, room()):
        for seed in range(3):
            same(stream.step({"x": chunk(seed)}, out), alone.step({"x": chunk(seed)}))
            before = stream.snapshot()
            with pytest.raises(tinyseq.FeedError, match="NaN"):
                stream.step(bad, out)
            assert stream.snapshot() == before and at_home(stream._runner._last)
    gc.collect()
    count = sys.getrefcount(bad["x"])
    assert count == 2


@pytest.mark.parametrize("extension", [True, False])
@pytest.mark.parametrize("way", ["step", "bind"])
def test_a_step_that_fails_leaves_the_feed_that_its_result_would_lie_over(way, extension, through_python):  # noqa: F811
    graph = tinyseq.Graph()
    x, s = graph.input("x", [1, 2 * FRAMES]), graph.input("s", [1, 2 * FRAMES])
    graph.output("y", graph.tanh(x))
    graph.output("next", graph.add(s, x))
    stream = tinyseq.load(graph, state={"s": "next"}).stream()
    memory = np.ones((1, 2 * FRAMES), np.float32)
    if not extension:
        through_python()
    step = stream.bind({"x": memory}, {"y": memory}) if way == "bind" else None
    step = step or (lambda: stream.step({"x": memory}, {"y": memory}))
    for _ in range(3):
        memory[...] = 1
        step()
    before = stream.state["s"].copy()
    memory[...] = np.inf
    with pytest.raises(tinyseq.FeedError, match="would be NaN or infinite"):
        step()
    assert np.array_equal(stream.state["s"], before) and np.isinf(memory).all()


def test_what_programs_find_lies_in_the_arena():
    """What is stepped by ``advance`` and within programs is found where it is left."""
    runner = tinyseq.load(lstm(UNITS)).stream()._runner
    expected = runner.step({"x": chunk(1)}, None)
    for array in runner.state.values():
        array[...] = 0
    runner.step({"x": chunk(0)}, None)
    for array in runner.state.values():
        array[...] = 0
    same(runner.advance({"x": chunk(1)}), expected)
    inputs, _ = runner._last.joined()
    np.testing.assert_array_equal(inputs["x"], chunk(1))
    assert at_home(runner._last)


def test_feeds_that_others_take_away_meanwhile():
    """Memory that is read is not given to others: what they would fill it with would be seen."""
    stream = tinyseq.load(lstm(UNITS)).stream()
    shape = (4000, 1, 3)
    feeds, going = {"x": np.ones(shape, np.float32)}, [True]
    stream.step(feeds)
    stream.step(feeds)

    def change() -> None:
        while going:
            feeds["x"] = np.ones(shape, np.float32)
            np.full(shape, np.nan, np.float32)

    thread = Thread(target=change)
    thread.start()
    try:
        for _ in range(100):
            stream.step(feeds)
            time.sleep(1e-5)
    finally:
        going.clear()
        thread.join()


@pytest.mark.parametrize("extension", [True, False])
def test_nothing_is_kept(extension, through_python):  # noqa: F811
    if not extension:
        through_python()
    session = tinyseq.load(lstm(UNITS))
    stream, x, out = session.stream(), chunk(), room()
    watched = [x, *out.values(), np.dtype(np.float32), np.ndarray]

    def counts() -> list[int]:
        gc.collect()
        return [sys.getrefcount(one) for one in watched]

    calls = [
        lambda: stream.step({"x": x}),
        lambda: stream.step({"x": x}, out),
        lambda: stream.step({"x": x}, {name: array[:] for name, array in out.items()}),
        lambda: stream.bind({"x": x}, out),
        lambda: stream._runner.advance({"x": x}),
    ]
    for _ in range(2):  # the first round fills what is kept once
        before = counts()
        for _ in range(20):
            for call in calls:
                call()
    after = counts()
    assert all(abs(one - other) < 10 for one, other in zip(before, after))


def test_feeds_that_are_parts_of_the_state():
    """What is written when a step ends may be what another field is set to."""
    shape = [1, 2048]
    nodes = [
        helper.make_node("Add", ["a", "b"], ["an"]),
        helper.make_node("Identity", ["x"], ["bn"]),
        helper.make_node("Neg", ["x"], ["y"]),
    ]
    given = [value(name, shape=shape) for name in ("x", "a", "b")]
    results = [value(name, shape=shape) for name in ("y", "an", "bn")]
    session = tinyseq.load(model(nodes, given, results), state={"a": "an", "b": "bn"}, finite=False)
    stream, alone = session.stream(), session.stream()
    for one in (stream, alone):
        one.step({"x": numbers(*shape)})
        one.step({"x": numbers(*shape, seed=1)})
    for _ in range(3):
        same(stream.step({"x": stream.state["a"]}), alone.step({"x": alone.state["a"].copy()}))
        assert stream.snapshot() == alone.snapshot()
