"""Layer normalisations that exporters took apart are one node again, wherever they are just that."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, load_from_string, numpy_helper
from tinyseq.converters import onnx

import tinyseq
from tests.models import Case, model, one_node, value
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
    lent=(),
    x=SHAPE,
) -> Case:
    """y = (x - mean) / sqrt(variance + epsilon), times a scale and plus a bias, where there are any."""
    spread_axes = axes if spread_axes is None else spread_axes
    constants = {
        "axes": np.array(axes),
        "spread_axes": np.array(spread_axes),
        "two": np.full(lent, 2, np.float32),
        "e": np.full(lent, 0.01, np.float32),
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
    made = model(nodes, [value("x", shape=["a", "b", "c"])], outputs, constants, opset=opset)
    return Case(made, {"x": 2 + numbers(*x)})


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


@pytest.mark.parametrize("lent", [(1, 1, 1, 1), (5,), (4, 1)])
def test_numbers_that_lend_their_shape_are_left_alone(lent):
    case = taken_apart(lent=lent, x=(3, 1, 5) if lent == (4, 1) else (3, 4, 5))
    assert "LayerNormalization" not in ops(case)
    agrees_with_onnxruntime(case)


@pytest.mark.parametrize("scale, bias", [((5,), (5,)), ((5,), None), (None, (5,)), ((), (5,)), ((0,), None)])
def test_what_is_larger_than_what_is_normalised_makes_it_larger(scale, bias):
    case = taken_apart(scale=scale, bias=bias, x=(3, 4, 1))
    assert ops(case) == {"LayerNormalization": 1}
    agrees_with_onnxruntime(case)


def renamed(case: Case, name: str) -> Case:
    """With another name for the tensor ``x``, an input."""
    proto = load_from_string(case.model)
    for node in proto.graph.node:
        node.input[:] = [name if each == "x" else each for each in node.input]
    proto.graph.input[0].name = name
    return Case(proto.SerializeToString(), {name: case.feeds["x"]})


def test_no_name_is_taken_twice():
    case = renamed(taken_apart(scale=None, bias=None), "n.scale")
    assert ops(case) == {"LayerNormalization": 1}
    agrees_with_onnxruntime(case)
    proto = load_from_string(taken_apart(scale=None, bias=None, given_out=("q",)).model)
    proto.graph.node.append(helper.make_node("Mul", ["n", "n.scale"], ["q"]))
    proto.graph.initializer.append(numpy_helper.from_array(numbers(1, 1, 5), "n.scale"))
    agrees_with_onnxruntime(Case(proto.SerializeToString(), {"x": numbers(*SHAPE)}))


def test_no_name_of_a_graph_around_is_taken():
    branch = load_from_string(taken_apart(scale=None, bias=None, given_out=("q",)).model).graph
    branch.node.append(helper.make_node("Mul", ["n", "n.scale"], ["q"]))
    del branch.input[:]
    node = helper.make_node("If", ["condition"], ["y", "q"], then_branch=branch, else_branch=branch)
    given = [value("condition", np.bool_, []), value("x", shape=["a", "b", 5])]
    outputs = [value("y", shape=["a", "b", 5]), value("q", shape=["a", "b", 5])]
    case = Case(
        model([node], given, outputs, {"n.scale": numbers(1, 1, 5)}),
        {"condition": np.array(True), "x": numbers(*SHAPE)},
    )
    agrees_with_onnxruntime(case)


@pytest.mark.parametrize("how", ["of the input", "of its shape"])
@pytest.mark.parametrize("computed", ["scale", "bias", "both"])
def test_chunks_have_the_bits_of_the_whole_where_scale_and_bias_are_computed(computed, how):
    """Frames alone are rows of one, which a scale of one row fits."""
    graph = tinyseq.Graph()
    x = graph.input("x", ["frames", 1, 4])
    h, *_ = graph.lstm(x, [numbers(1, 24, 4), numbers(1, 24, 6)], layout="onnx")

    def one(name: str):
        if computed not in (name, "both"):
            return numbers(6)
        if how == "of the input":
            return graph.apply("MatMul", x, numbers(4, 6))
        return graph.apply("Expand", numbers(6), graph.apply("Shape", h))

    graph.output("y", graph.layer_norm(h, one("scale"), one("bias")))
    report = tinyseq.check_stream(tinyseq.load(graph), {"x": numbers(6, 1, 4)})
    assert report.passed, report


REFUSED = [((3, 4), (2, 3, 4)), ((3, 4), (1, 1, 4)), ((1, 3, 4), (6, 1, 4)), ((4,), (3, 4)), ((3, 4), (5,))]


@pytest.mark.parametrize("op", ["LayerNormalization", "RMSNormalization"])
@pytest.mark.parametrize("shape, scale", REFUSED)
def test_a_scale_that_does_not_extend_to_the_input_is_refused(op, shape, scale):
    case = one_node(op, [numbers(*shape), numbers(*scale)], fed=[0], opset=23)
    with pytest.raises(tinyseq.TinyseqError, match="broadcast"):
        tinyseq.load(case.model).run(case.feeds)


def test_a_scale_by_root_mean_square_is_never_larger_than_its_input():
    case = one_node("RMSNormalization", [numbers(2, 3, 1), numbers(5)], fed=[0], opset=23)
    with pytest.raises(tinyseq.TinyseqError, match="broadcast"):
        tinyseq.load(case.model).run(case.feeds)


@pytest.mark.parametrize("mean", [1e3, 1e5, 1e6])
def test_rows_far_from_zero_are_exact(mean):
    x = (mean + RNG.standard_normal((3, 256))).astype(np.float32)
    graph = tinyseq.Graph()
    given_x = graph.input("x", ["rows", 256])
    graph.output("y", graph.layer_norm(given_x, np.ones(256, np.float32), np.zeros(256, np.float32)))
    exact = tinyseq.load(graph, device="reference").run({"x": x})["y"]
    np.testing.assert_allclose(tinyseq.load(graph).run({"x": x})["y"], exact, atol=1e-6)
