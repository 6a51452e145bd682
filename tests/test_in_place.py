"""Feeds and results are used where they lie: the bits of copies, feeds as they were, not a byte beside them.

Where this fails, the process may: arrays lie at the edges of memory that cannot be read or written.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Mapping
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


def test_more_arrays_than_are_lent_at_once():
    names = [f"x{i}" for i in range(40)]
    nodes = [helper.make_node("Sum", names, ["y"]), *[helper.make_node("Neg", [n], [f"-{n}"]) for n in names]]
    outputs = ["y", *[f"-{name}" for name in names]]
    given, results = ([value(name, shape=[300]) for name in group] for group in (names, outputs))
    session = tinyseq.load(model(nodes, given, results))
    feeds = {name: numbers(300, seed=seed) for seed, name in enumerate(names)}
    first = session.run(feeds)
    for name in names:
        assert (first[f"-{name}"] == -feeds[name]).all()
    for _ in range(2):
        same(session.run(feeds), first)


def test_one_array_for_two_inputs():
    nodes = [helper.make_node("Sub", ["a", "b"], ["y"])]
    shape = [40, 40]
    session = tinyseq.load(model(nodes, [value(n, shape=shape) for n in "ab"], [value("y", shape=shape)]))
    x = numbers(40, 40)
    for _ in range(3):
        assert not session.run({"a": x, "b": x})["y"].any()


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
