"""Feeds and results are used where they lie: the bits of copies, feeds as they were, not a byte beside them.

Where this fails, the process may: arrays lie at the edges of memory that cannot be read or written.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import sys
import time
from collections.abc import Mapping
from threading import Thread
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.models import Case, model, value
from tests.strategies import CASES, chains, layers
from tests.test_call import lstm, through_python  # noqa: F401  a fixture
from tests.test_in_blocks import small
from tests.test_window_products import convolutions, many
from tinyseq import backends
from tinyseq.backends import cpu
from tinyseq.kernels.instructions import CONTEXT, INSTRUCTIONS
from tinyseq.plan import draft
from tinyseq.plan.builder import ARENA, Builder
from tinyseq.plan.packing import PackedWeights
from tinyseq.plan.view import View

ALL, NONE = 0, 2**62
"""Bytes from which on inputs and outputs lie anywhere: all of them, none."""

Arrays = Mapping[str, np.ndarray]

pages = pytest.mark.skipif(sys.platform == "win32", reason="mprotect of POSIX")


def lying(size: int):
    """What is planned meanwhile has inputs and outputs of so many bytes in segments of their own."""
    return mock.patch.object(draft, "LARGE", size)


def fenced(array: np.ndarray, at_end: bool, writeable: bool = False) -> np.ndarray:
    """A copy in pages of its own, at their end or begin; those before and behind cannot be accessed."""
    page = mmap.PAGESIZE
    held = -(-max(array.nbytes, 1) // page) * page
    memory = mmap.mmap(-1, held + 2 * page)
    start = page + (held - array.nbytes if at_end else 0)
    there = np.frombuffer(memory, array.dtype, array.size, start).reshape(array.shape)
    there[...] = array
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    begin = ctypes.c_void_p(address + page)
    for place, size, access in (
        (ctypes.c_void_p(address), page, 0),
        (begin, held, mmap.PROT_READ | mmap.PROT_WRITE * writeable),
        (ctypes.c_void_p(address + page + held), page, 0),
    ):
        assert protect(place, ctypes.c_size_t(size), access) == 0, os.strerror(ctypes.get_errno())
    return there


def shifted(array: np.ndarray) -> np.ndarray:
    """A copy whose elements begin between the places where such elements may lie."""
    raw = np.zeros(array.nbytes + 1, np.uint8)
    there = raw[1:].view(array.dtype).reshape(array.shape)
    there[...] = array
    return there


def strided(array: np.ndarray) -> np.ndarray:
    """A copy with gaps between its elements."""
    there = np.zeros((*array.shape, 2), array.dtype)[..., 0]
    there[...] = array
    return there


WAYS = {
    "at the end of pages": lambda array: fenced(array, True),
    "at their begin": lambda array: fenced(array, False),
    "shifted": shifted,
    "strided": strided,
}


def laid(feeds: Arrays, way: str) -> dict[str, np.ndarray]:
    return {name: WAYS[way](array) for name, array in feeds.items()}


def same(one: Arrays, other: Arrays) -> None:
    assert list(one) == list(other)
    for name, array in one.items():
        assert array.dtype == other[name].dtype and array.shape == other[name].shape
        assert array.tobytes() == other[name].tobytes(), name


def at_home(executor: cpu.CpuExecutor) -> bool:
    """Whether its context says that all inputs and outputs lie in the arena."""
    count = len(executor._homes)
    return count == 0 or executor.context[-count:].tolist() == executor._homes


def ready(session: tinyseq.Session, feeds: Arrays) -> cpu.CpuExecutor:
    return session._backend.ready(feeds)[1]


# Every op.


def keeps_to_what_it_is_given(case: Case) -> None:
    """What is planned now gives the same without copies, and touches nothing beside feeds and results."""
    try:
        with lying(NONE):
            expected = tinyseq.load(case.model).run(case.feeds)
        with lying(ALL):
            session = tinyseq.load(case.model)
            session.run(case.feeds)
    except tinyseq.TinyseqError:
        return
    for way in WAYS:
        feeds = laid(case.feeds, way)
        same(session.run(feeds), expected)
        same(feeds, case.feeds)
    executor = ready(session, case.feeds)
    for at_end in (True, False):
        out = {name: fenced(array, at_end, writeable=True) for name, array in expected.items()}
        for array in out.values():
            array[...] = 77
        executor.run(case.feeds, out)
        same(out, expected)
    assert at_home(executor)


@pages
@pytest.mark.parametrize("form", sorted(CASES))
@settings(max_examples=4)
@given(data=st.data())
def test_every_op(form, data):
    keeps_to_what_it_is_given(data.draw(CASES[form]))


MANY_NUMBERS = st.one_of(
    *[CASES[form] for form in ("Gemm", "MatMul", "Conv", "Add", "ReduceSum", "Softmax")],
    *[layers(op) for op in ("LSTM", "GRU", "RNN")],
    chains(),
    convolutions(),
)
"""Of the kernels that read and write many numbers at once."""


@pages
@settings(max_examples=60)
@given(MANY_NUMBERS, st.sampled_from([0, 4, 40]), st.sampled_from([8, 512]))
def test_every_instruction_set(isa, case, few, far):
    with many(few), small(far, 64):
        keeps_to_what_it_is_given(case)


@pages
def test_outputs_that_are_parts_of_what_is_computed():
    nodes = [
        helper.make_node("Neg", ["x"], ["whole"]),
        helper.make_node("Slice", ["whole", "from", "to"], ["y"]),
        helper.make_node("Slice", ["whole", "to", "end"], ["z"]),
    ]
    known = {"from": np.array([0]), "to": np.array([30]), "end": np.array([40])}
    results = [value("y", shape=[30, 40]), value("z", shape=[10, 40])]
    keeps_to_what_it_is_given(
        Case(model(nodes, [value("x", shape=[40, 40])], results, known), {"x": numbers(40, 40)})
    )


def test_what_is_only_read_is_an_address():
    for row in INSTRUCTIONS:
        assert {f"&{name}" for name in row.reads} <= {*row.operands}


def test_an_input_that_is_written_to_is_copied():
    builder = Builder(PackedWeights([]))
    given = {name: builder.allocate((1024,)) for name in ("read", "changed", "checked")}
    y = builder.elementwise("negate", builder.allocate((1024,)), given["read"])
    builder.elementwise("negate", given["changed"], y)
    builder.finite("it", given["checked"])
    plan = draft.Draft(builder, given, {"y": y}).plan()
    apart = {name: region.segment != ARENA for name, region in (plan.inputs | plan.outputs).items()}
    assert apart == {"read": True, "changed": False, "checked": False, "y": True}
    assert all(region.segment == ARENA for region in plan_in_arena(builder, given, y).inputs.values())


def plan_in_arena(builder: Builder, given: dict[str, View], y: View) -> draft.Plan:
    """What C libraries are made of."""
    (plan,) = draft.Draft(builder, given, {"y": y}).plans([()])
    assert not plan.homes
    return plan


# What lies where.


def product(k: int = 32, n: int = 24) -> bytes:
    w = np.random.default_rng(0).standard_normal((k, n)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return model([node], [value("x", shape=["rows", k])], [value("y", shape=["rows", n])], {"w": w})


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_nothing_large_is_copied():
    session, feeds = tinyseq.load(product()), {"x": numbers(64, 32)}
    for _ in range(3):
        session.run(feeds)
    ((_, executor),) = session._backend._recent
    assert executor._arena.size and not executor._arena.any()
    session.run({"x": strided(feeds["x"])})
    np.testing.assert_array_equal(executor.inputs["x"], feeds["x"])


def test_small_arrays_and_those_that_are_converted_are_copied():
    session = tinyseq.load(product())
    session.run({"x": numbers(1, 32)})
    assert not ready(session, {"x": numbers(1, 32)})._homes
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    for dtype in (np.float16, np.float64, np.int64, np.int32):
        shape = [4096]
        session = tinyseq.load(model(nodes, [value("x", dtype, shape)], [value("y", dtype, shape)]))
        assert not ready(session, {"x": np.ones(shape, dtype)})._homes


def test_inputs_that_are_outputs():
    nodes = [helper.make_node("Neg", ["x"], ["z"]), helper.make_node("Identity", ["x"], ["y"])]
    shape = [40, 40]
    names = ("x", "y", "z")
    session = tinyseq.load(model(nodes, [value("x", shape=shape)], [value(n, shape=shape) for n in names]))
    x = numbers(40, 40)
    for _ in range(3):
        results = session.run({"x": x})
        same(results, {"x": x, "y": x, "z": -x})
        for name in names:
            assert not np.shares_memory(results[name], x)
            results[name][...] = 0


def test_one_array_for_two_inputs():
    nodes = [helper.make_node("Sub", ["a", "b"], ["y"])]
    shape = [40, 40]
    session = tinyseq.load(model(nodes, [value(n, shape=shape) for n in "ab"], [value("y", shape=shape)]))
    x = numbers(40, 40)
    for _ in range(3):
        assert not session.run({"a": x, "b": x})["y"].any()


# Streams.

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


def test_a_context_says_where_all_is():
    session, feeds = tinyseq.load(product()), {"x": numbers(64, 32)}
    session.run(feeds)
    executor = ready(session, feeds)
    segments = [executor._input_words["x"] - CONTEXT, executor._output_words["y"] - CONTEXT]
    assert segments == [executor.context.size - CONTEXT - 2, executor.context.size - CONTEXT - 1]
    assert at_home(executor)


@pytest.mark.skipif(backends.most_threads() < 2, reason="two processors")
def test_threads_share_what_lies_elsewhere():
    feeds = {"x": numbers(512, 256)}
    expected = tinyseq.load(product(256, 256)).run(feeds)
    session = tinyseq.load(product(256, 256), threads=2)
    for _ in range(5):
        same(session.run(feeds), expected)


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
