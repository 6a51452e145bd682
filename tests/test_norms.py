"""Layer normalisations that exporters took apart are one node again, wherever they are just that."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, load_from_string
from tinyseq.converters import onnx

from tests.models import Case, model, value
from tests.test_differential import agrees_with_onnxruntime
from tinyseq import passes, reference

RNG = np.random.default_rng(0)
SHAPE = (2, 3, 5)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def taken_apart(
    axes=(-1,),
    spread_axes=None,
    squared="Pow",
    divided="Div",
    scale=(5,),
    bias=(5,),
    turned=False,
    keepdims=1,
    given_out=(),
    opset=18,
) -> Case:
    """y = (x - mean) / sqrt(variance + epsilon), times a scale and plus a bias, where there are any."""
    spread_axes = axes if spread_axes is None else spread_axes
    constants = {
        "axes": np.array(axes),
        "spread_axes": np.array(spread_axes),
        "two": np.float32(2),
        "e": np.float32(0.01),
    }

    def mean(source: str, name: str, axes: str) -> object:
        if opset >= 18:
            return helper.make_node("ReduceMean", [source, axes], [name], keepdims=keepdims)
        return helper.make_node(
            "ReduceMean", [source], [name], axes=constants[axes].tolist(), keepdims=keepdims
        )

    nodes = [
        mean("x", "m", "axes"),
        helper.make_node("Sub", ["x", "m"], ["d"]),
        helper.make_node("Pow", ["d", "two"], ["p"])
        if squared == "Pow"
        else helper.make_node("Mul", ["d", "d"], ["p"]),
        mean("p", "v", "spread_axes"),
        helper.make_node("Add", ["e", "v"] if turned else ["v", "e"], ["r"]),
        helper.make_node("Sqrt", ["r"], ["s"]),
    ]
    if divided == "Div":
        nodes.append(helper.make_node("Div", ["d", "s"], ["n"]))
    else:
        nodes.append(helper.make_node("Reciprocal", ["s"], ["i"]))
        nodes.append(helper.make_node("Mul", ["i", "d"] if turned else ["d", "i"], ["n"]))
    last = "n"
    for op, name, shape in (("Mul", "scaled", scale), ("Add", "shifted", bias)):
        if shape is None:
            continue
        constants[f"{name}_by"] = numbers(*shape)
        inputs = [f"{name}_by", last] if turned else [last, f"{name}_by"]
        nodes.append(helper.make_node(op, inputs, [name]))
        last = name
    if opset < 18:
        constants = {name: array for name, array in constants.items() if "axes" not in name}
    outputs = [value(name) for name in dict.fromkeys((last, *given_out))]
    made = model(nodes, [value("x", shape=["a", "b", 5])], outputs, constants, opset=opset)
    return Case(made, {"x": 2 + numbers(*SHAPE)})


def ops(case: Case) -> Counter[str]:
    simplified = passes.simplify(onnx.load(case.model))
    before = reference.run(onnx.load(case.model), case.feeds)
    after = reference.run(simplified, case.feeds)
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array, rtol=1e-9, atol=1e-9)
    return Counter(node.op for node in simplified.graph.nodes)


@given(
    axes=st.sampled_from([(-1,), (-2, -1), (-1, -2)]),
    squared=st.sampled_from(["Pow", "Mul"]),
    divided=st.sampled_from(["Div", "Reciprocal"]),
    scale=st.sampled_from([None, (5,), (1,), ()]),
    bias=st.sampled_from([None, (5,), ()]),
    turned=st.booleans(),
    opset=st.sampled_from([13, 18]),
)
def test_every_way_of_writing_it_is_one_node(axes, squared, divided, scale, bias, turned, opset):
    case = taken_apart(axes, None, squared, divided, scale, bias, turned, opset=opset)
    assert ops(case) == {"LayerNormalization": 1}
    agrees_with_onnxruntime(case)


OTHERS = {
    "not the last axes": {"axes": (-2,)},
    "counted from the front": {"axes": (2,)},
    "over two and one": {"axes": (-2, -1), "spread_axes": (-1,)},
    "all axes": {"axes": (-2, -1), "spread_axes": (-1, -3)},
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_normalises_otherwise_is_left_alone(name):
    case = taken_apart(**OTHERS[name])
    assert "LayerNormalization" not in ops(case)
    agrees_with_onnxruntime(case)


@pytest.mark.parametrize("name", ["m", "d", "s", "n", "scaled"])
def test_what_else_is_read_stays(name):
    case = taken_apart(given_out=(name,))
    found = ops(case)
    assert found["LayerNormalization"] == 1
    agrees_with_onnxruntime(case)


def test_a_scale_of_other_dimensions_stays_behind():
    case = taken_apart(scale=(3, 1))
    assert ops(case) == {"LayerNormalization": 1, "Mul": 1, "Add": 1}
    agrees_with_onnxruntime(case)


def test_in_branches():
    branch = load_from_string(taken_apart().model).graph
    del branch.input[:]
    node = helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)
    given = [value("condition", np.bool_, []), value("x", shape=["a", "b", 5])]
    case = Case(
        model([node], given, [value("y", shape=["a", "b", 5])]),
        {"condition": np.array(True), "x": 2 + numbers(*SHAPE)},
    )
    (found,) = passes.simplify(onnx.load(case.model)).graph.nodes
    for _, inner in found.graphs():
        assert [node.op for node in inner.nodes] == ["LayerNormalization"]
    agrees_with_onnxruntime(case)
