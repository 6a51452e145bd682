"""What is multiplied and added by channel behind a product is in its weights: less to do, equal results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from tinyseq.converters import onnx

import tinyseq
from tests.models import Case, model, value
from tests.test_differential import agrees_with_onnxruntime
from tinyseq import passes, reference

STEPS = ("BatchNormalization", "Add", "Sub", "Sub reversed", "Mul", "Div")


@st.composite
def chains(draw, products=("Conv", "ConvTranspose", "Gemm"), steps=STEPS):
    """A product of random geometry and nodes by channel behind it."""
    op = draw(st.sampled_from(products))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def numbers(*shape: int) -> np.ndarray:
        return rng.uniform(0.2, 2, shape).astype(np.float32) * rng.choice([-1, 1], shape).astype(np.float32)

    groups, spatial = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    each, gets = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    channels, attributes = groups * each, {}
    if op == "Gemm":
        spatial = 0
        turned = draw(st.booleans())
        x, w = numbers(2, 3), numbers(channels, 3) if turned else numbers(3, channels)
        attributes = {"transB": int(turned)}
    else:
        x = numbers(2, groups * gets, *[6] * spatial)
        w = numbers(groups * gets, each, *[3] * spatial)
        if op == "Conv":
            w = numbers(channels, gets, *[3] * spatial)
        attributes = {"group": groups, "strides": [draw(st.integers(1, 2))] * spatial}
    constants = {"w": w}
    inputs = ["x", "w"]
    if draw(st.booleans()):
        constants["b"] = numbers(channels)
        inputs.append("b")
    nodes = [helper.make_node(op, inputs, ["t0"], **attributes)]
    for place in range(draw(st.integers(1, 3))):
        step = draw(st.sampled_from(steps))
        result = f"t{place + 1}"
        if step == "BatchNormalization":
            names = [f"{name}{place}" for name in ("scale", "bias", "mean", "variance")]
            constants |= {name: numbers(channels) for name in names}
            constants[names[3]] = np.abs(constants[names[3]])
            nodes.append(helper.make_node(step, [f"t{place}", *names], [result]))
            continue
        shape = draw(st.sampled_from([(), (1,), (channels, *[1] * spatial), (1, channels, *[1] * spatial)]))
        constants[f"c{place}"] = numbers(*shape)
        order = [f"t{place}", f"c{place}"]
        if step == "Sub reversed" or (step in ("Add", "Mul") and draw(st.booleans())):
            order.reverse()
        nodes.append(helper.make_node(step.split()[0], order, [result]))
    last = f"t{len(nodes) - 1}"
    return Case(model(nodes, [value("x", shape=list(x.shape))], [value(last)], constants), {"x": x})


def simplified(data: bytes):
    return passes.simplify(onnx.load(data))


@given(case=chains())
def test_results_stay(case):
    agrees_with_onnxruntime(case, bound=1e-4)
    wanted = reference.run(onnx.load(case.model), case.feeds)
    for name, array in reference.run(simplified(case.model), case.feeds).items():
        most = max(1.0, float(np.abs(wanted[name]).max()))
        np.testing.assert_allclose(array, wanted[name], rtol=0, atol=2e-6 * most)


@given(case=chains(products=("Conv", "ConvTranspose")))
def test_a_convolution_takes_all(case):
    assert len(simplified(case.model).graph.nodes) == 1


@given(case=chains(products=("Gemm",), steps=("BatchNormalization",)))
def test_a_gemm_takes_normalisations(case):
    assert len(simplified(case.model).graph.nodes) == 1


def conv(*nodes, outputs=("y",), **constants: np.ndarray) -> bytes:
    first = helper.make_node("Conv", ["x", "w"], ["t"])
    given = {"w": np.ones((2, 3, 1), np.float32), "c": np.full((2, 1), 3, np.float32)} | constants
    return model([first, *nodes], [value("x", shape=[1, 3, 4])], [value(name) for name in outputs], given)


def node(op: str, inputs: str, output: str = "y"):
    return helper.make_node(op, inputs.split(), [output])


KEPT = {
    "another reads it": conv(node("Mul", "t c", "m"), node("Add", "m t")),
    "it is an output": conv(node("Mul", "t c"), outputs=("t", "y")),
    "by frame": conv(node("Mul", "t f"), f=np.arange(4, dtype=np.float32)),
    "more axes": conv(node("Mul", "t f"), f=np.ones((1, 1, 2, 1), np.float32)),
    "the quotient of a constant": conv(node("Div", "c t")),
    "divided by zero": conv(node("Div", "t c"), c=np.zeros((2, 1), np.float32)),
    "infinite": conv(node("Mul", "t c"), c=np.full((2, 1), np.inf, np.float32)),
    "overflows": conv(node("Mul", "t c"), w=np.full((2, 3, 1), 1e30, np.float32), c=np.float32(1e30)),
    "not a number": conv(node("Add", "t c"), c=np.full((2, 1), np.nan, np.float32)),
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_stays_as_it_is(kind):
    graph = onnx.load(KEPT[kind]).graph
    assert [node.op for node in simplified(KEPT[kind]).graph.nodes] == [node.op for node in graph.nodes]


def test_weights_that_others_use_stay():
    nodes = [node("Conv", "x w", "t"), node("Mul", "t c", "a"), node("Conv", "x w", "b"), node("Add", "a b")]
    rng = np.random.default_rng(0)
    x, w, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 3, 4), (2, 3, 1), (2, 1)))
    data = model(nodes, [value("x", shape=[1, 3, 4])], [value("y")], {"w": w, "c": c})
    found = tinyseq.load(data).run({"x": x})["y"]
    y = np.einsum("oik,nit->not", w[:, :, :], x)
    np.testing.assert_allclose(found, y * c + y, rtol=1e-5, atol=1e-6)
