"""Element by element instructions that go through much memory together, a block at a time, change no bit."""

from __future__ import annotations

from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.models import Case, model, value
from tests.strategies.chains import chains
from tests.test_bits import same_bits
from tests.test_lookup import instructions
from tinyseq.plan import blocks


@contextmanager
def small(far: int, near: int):
    """Few bytes count as much memory, and fewer as little."""
    with mock.patch.object(blocks, "FAR", far), mock.patch.object(blocks, "NEAR", near):
        yield


def same_in_blocks(case: Case, far: int, near: int) -> None:
    with small(2**60, 1):
        expected = tinyseq.load(case.model).run(case.feeds)
    with small(far, near):
        found = tinyseq.load(case.model).run(case.feeds)
    for name, array in expected.items():
        same_bits(found[name], array)


@given(chains(), st.sampled_from([8, 64, 512]), st.integers(1, 300))
def test_chains_of_nodes(case, far, near):
    same_in_blocks(case, far, near)


STEPS = (
    *("Softmax", "LogSoftmax", "LayerNormalization", "Erf", "Tanh", "Bias", "Rows", "Columns", "Quantize"),
    *("Halves", "Transpose", "Mean", "Itself", "Cast"),
)


@st.composite
def rows(draw, steps=STEPS) -> Case:
    """What models do to rows of numbers between their products."""
    count, size = draw(st.integers(1, 70)), 2 * draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    constants: dict[str, np.ndarray] = {}
    nodes, given_out, shape, last = [], [], [count, size], "x"
    for number, step in enumerate(draw(st.lists(st.sampled_from(steps), min_size=1, max_size=8))):
        y = f"t{number}"

        def constant(*sizes: int, y: str = y, known: dict = constants) -> str:
            known[f"{y} c"] = rng.standard_normal(sizes).astype(np.float32)
            return f"{y} c"

        def node(op: str, inputs: list[str], output: str = y, **attributes) -> None:
            nodes.append(helper.make_node(op, inputs, [output], **attributes))

        if step in ("Softmax", "LogSoftmax"):
            node(step, [last], axis=draw(st.sampled_from([0, 1])))
        elif step == "LayerNormalization":
            node(step, [last, constant(shape[1])], axis=1)
        elif step == "Bias":
            node("Add", [last, constant(shape[1])])
        elif step in ("Rows", "Columns"):
            node("Mul", [last, constant(*((shape[0], 1) if step == "Rows" else (1, shape[1])))])
        elif step == "Quantize":
            constants |= {"scale": np.array(0.05, np.float32), "zero": np.array(100, np.uint8)}
            node("QuantizeLinear", [last, "scale", "zero"], f"{y} q")
            node("DequantizeLinear", [f"{y} q", "scale", "zero"])
        elif step == "Halves":
            if shape[1] % 2:
                continue
            nodes.append(helper.make_node("Split", [last], [f"{y} a", f"{y} b"], axis=1, num_outputs=2))
            node("Mul", [f"{y} a", f"{y} b"])
            shape[1] //= 2
        elif step == "Transpose":
            node(step, [last], perm=[1, 0])
            shape = shape[::-1]
        elif step == "Mean":
            node("ReduceMean", [last], f"{y} mean", keepdims=1)
            node("Sub", [last, f"{y} mean"])
        elif step == "Itself":
            node("Add", [last, last])
        elif step == "Cast":
            node("Cast", [last], f"{y} whole", to=7)
            node("Cast", [f"{y} whole"], to=1)
        else:
            node(step, [last])
        last = y
        if draw(st.booleans()):
            given_out.append(y)
    if last == "x":
        nodes.append(helper.make_node("Neg", ["x"], ["t"]))
        last = "t"
    x = rng.standard_normal((count, size)).astype(np.float32)
    outputs = [value(name) for name in dict.fromkeys([*given_out, last])]
    return Case(model(nodes, [value("x", np.float32, [None, size])], outputs, constants), {"x": x})


@given(rows(), st.sampled_from([8, 64, 512]), st.integers(1, 3000))
def test_rows_of_numbers(case, far, near):
    same_in_blocks(case, far, near)


@given(rows(sorted({*STEPS} - {"Rows", "Transpose"})), st.integers(1, 3000), st.integers(1, 70))
def test_sizes_left_open(case, near, count):
    """Plans of other sizes follow from what planning wrote down."""
    x = case.feeds["x"]
    others = [x[:1], np.resize(x, (count, x.shape[1])), np.resize(x, (3 * count, x.shape[1])), x]
    with small(2**60, 1):
        session = tinyseq.load(case.model)
        expected = [session.run({"x": other}) for other in others]
    with small(64, near):
        session = tinyseq.load(case.model)
        for other, outputs in zip(others, expected):
            found = session.run({"x": other})
            for name, array in outputs.items():
                same_bits(found[name], array)


@pytest.mark.parametrize("count", [400, 4000])
def test_only_what_takes_much_memory_is_done_so(count):
    nodes = [
        helper.make_node("Softmax", ["x"], ["s"], axis=1),
        helper.make_node("Erf", ["s"], ["e"]),
        helper.make_node("Mul", ["e", "x"], ["y"]),
    ]
    session = tinyseq.load(model(nodes, [value("x", np.float32, [None, 40])], [value("y")]))
    x = np.random.default_rng(0).standard_normal((count, 40)).astype(np.float32)
    found = instructions(session, {"x": x})
    assert ("blocks" in found) == (count == 4000)
