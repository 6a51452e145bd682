"""ONNX files as they are found: what exporters write that is valid and rare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import tinyseq
from tests.field.written_out import drawn, file, gru, lstm, node
from tests.models import graph, value

FEATURES, UNITS = 3, 4
X = np.random.default_rng(2).standard_normal((5, 1, FEATURES)).astype(np.float32)
LSTM = drawn(w=(1, 4 * UNITS, FEATURES), r=(1, 4 * UNITS, UNITS))
GRU = drawn(w=(1, 3 * UNITS, FEATURES), r=(1, 3 * UNITS, UNITS))


def proto(made: onnx.GraphProto, ir_version: int = 8, **more) -> onnx.ModelProto:
    more.setdefault("opset_imports", [helper.make_opsetid("", 17)])
    return helper.make_model(made, ir_version=ir_version, **more)


# Initializers that are inputs too.


def defaults(ir_version: int = 8) -> onnx.ModelProto:
    nodes = [node("GRU", "x w r _ _ h", "y hn", hidden_size=UNITS)]
    made = graph(
        nodes,
        [value("x", shape=["t", 1, FEATURES]), value("h", shape=[1, 1, UNITS])],
        [value("y"), value("hn", shape=[1, 1, UNITS])],
        GRU | {"h": np.zeros((1, 1, UNITS), np.float32)},
    )
    return proto(made, ir_version)


def test_a_feed_overrides_the_default_of_an_input():
    session = tinyseq.InferenceSession(defaults().SerializeToString())
    assert [each.name for each in session.get_inputs()] == ["x"]
    assert [(a.name, a.shape) for a in session.get_overridable_initializers()] == [("h", [1, 1, UNITS])]
    theirs = onnxruntime.InferenceSession(defaults().SerializeToString())
    h = np.full((1, 1, UNITS), 0.5, np.float32)
    for feeds in ({"x": X}, {"x": X, "h": h}, {"x": X}, {"x": X, "h": 2 * h}):
        for own, other in zip(session.run(None, feeds), theirs.run(None, feeds)):
            np.testing.assert_allclose(own, other, atol=1e-6)
    with pytest.raises(tinyseq.FeedError, match="'h' has shape"):
        session.run(None, {"x": X, "h": h[0]})


def test_a_stream_begins_with_the_default():
    stream = tinyseq.load(defaults()).stream()
    found = np.concatenate([stream.step({"x": part})["y"] for part in np.split(X, [2])])
    np.testing.assert_allclose(found[:, 0], gru(X, GRU["w"], GRU["r"]), atol=1e-6)


def test_steps_refuse_a_default_by_its_name():
    """Those of streams and pools, and leave the state as it was."""
    model = tinyseq.load(defaults())
    stream, pool, h = model.stream(), model.pool(1), np.ones((1, 1, UNITS), np.float32)
    before = stream.snapshot()
    for step in (stream.step, stream.finish, lambda feeds: pool.step([pool.open()], feeds)):
        with pytest.raises(tinyseq.FeedError, match=r"unknown 'h'.*Only run is fed 'h'"):
            step({"x": X, "h": h})
    assert stream.snapshot() == before
    (start,) = stream.state.values()
    start[...] = h
    np.testing.assert_array_equal(stream.step({"x": X})["y"], model.run({"x": X, "h": h})["y"])


def test_before_ir_version_4_it_is_the_value():
    with pytest.raises(tinyseq.FeedError, match="unknown 'h'"):
        tinyseq.load(defaults(3)).run({"x": X, "h": np.zeros((1, 1, UNITS), np.float32)})


# Functions.


def with_function(opset: int = 17) -> onnx.ModelProto:
    body = [helper.make_node("Add", ["a", "b"], ["t"]), helper.make_node("Tanh", ["t"], ["c"])]
    cell = helper.make_function("local", "Cell", ["a", "b"], ["c"], body, [helper.make_opsetid("", opset)])
    made = graph(
        [helper.make_node("Cell", ["x", "x"], ["y"], domain="local")],
        [value("x", shape=["n"])], [value("y", shape=["n"])],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return proto(made, functions=[cell], opset_imports=imports)


@pytest.mark.parametrize("model", [with_function(), with_function(13)], ids=["same opset", "older"])
def test_functions_of_a_model_are_written_out(model):
    (y,) = tinyseq.load(model).run({"x": np.float32([1, 2])}).values()
    np.testing.assert_allclose(y, np.tanh([2, 4]), atol=1e-6)


def test_what_functions_alone_use_the_model_need_not_name():
    model = with_function()
    del model.opset_import[0]
    (y,) = tinyseq.load(model).run({"x": np.float32([1])}).values()
    np.testing.assert_allclose(y, np.tanh([2]), atol=1e-6)
    assert [entry.domain for entry in model.opset_import] == ["local"]


# Names and order.


@pytest.mark.parametrize("names", [("sigmoid", "tanh", "tanh"), ("SIGMOID", "tanH", "Tanh")])
def test_activations_are_called_in_any_case(names):
    nodes = [node("LSTM", "x w r", "y", hidden_size=UNITS, activations=names)]
    model = tinyseq.load(file(nodes, {"x": ["t", 1, FEATURES]}, {"y": ["t", 1, 1, UNITS]}, LSTM))
    np.testing.assert_allclose(model.run({"x": X})["y"][:, 0], lstm(X, LSTM["w"], LSTM["r"])[0], atol=1e-6)


def test_nodes_out_of_order_are_sorted():
    branch = graph([node("Neg", "b", "n")], [], [value("n")])
    other = graph([node("Identity", "b", "m")], [], [value("m")])
    nodes = [
        node("Relu", "c", "y"),
        node("If", "true", "c", then_branch=branch, else_branch=other),
        node("Neg", "a", "b"),
        node("Neg", "x", "a"),
    ]
    model = tinyseq.load(file(nodes, {"x": ["n"]}, {"y": ["n"]}, {"true": np.array(True)}))
    np.testing.assert_array_equal(model.run({"x": np.float32([1, -2])})["y"], [0, 2])


def test_nodes_in_a_circle_are_refused():
    nodes = [node("Neg", "b", "a"), node("Neg", "a", "b")]
    with pytest.raises(tinyseq.ModelError, match=r"Neg_a.*'b'.*order"):
        tinyseq.load(file(nodes, {"x": ["n"]}, {"b": ["n"]}, {}))


# Files and what stands for them.


def test_a_missing_file_of_weights_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = graph([node("Add", "x w", "y")], [value("x", shape=[64])], [value("y", shape=[64])])
    made.initializer.append(numpy_helper.from_array(np.ones(64, np.float32), "w"))
    onnx.save(proto(made), "m.onnx", save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    assert tinyseq.load("m.onnx").run({"x": np.ones(64, np.float32)})["y"].sum() == 128
    Path("m.onnx.data").unlink()
    with pytest.raises(tinyseq.ModelError, match=r"'m.onnx.data' beside it, .* put 'm.onnx.data' into"):
        tinyseq.load("m.onnx")
    with pytest.raises(tinyseq.ModelError, match="give the path"):
        tinyseq.load(Path("m.onnx").read_bytes())
    with pytest.raises(tinyseq.ModelError, match=r"the given model .* give the path"):
        tinyseq.load(onnx.load("m.onnx", load_external_data=False))


def test_a_model_of_the_onnx_package():
    made = graph([node("Neg", "x", "y")], [value("x", shape=["n"])], [value("y", shape=["n"])])
    (y,) = tinyseq.load(proto(made)).run({"x": np.float32([1])}).values()
    assert y == [-1]


def test_a_model_of_another_domain_alone():
    nodes = [helper.make_node("Strange", ["x"], ["y"], "it", domain="com.example")]
    made = graph(nodes, [value("x", shape=["n"])], [value("y", shape=["n"])])
    model = proto(made, opset_imports=[helper.make_opsetid("com.example", 1)])
    with pytest.raises(tinyseq.UnsupportedError, match=r"node 'it' .* no op com.example:Strange"):
        tinyseq.load(model)


def test_an_unknown_op_is_told_with_what_is_near():
    made = graph([node("LayerNormalisation", "x", "y")], [value("x", shape=["n"])], [value("y")])
    with pytest.raises(tinyseq.UnsupportedError) as raised:
        tinyseq.load(proto(made))
    said = str(raised.value)
    assert "near it are LayerNormalization" in said and "docs/ops.md" in said and len(said) < 250


# Scalars.


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_scalar_is_any_array_of_one_element(shape):
    model = tinyseq.load(file([node("Mul", "x s", "y")], {"x": ["n"], "s": []}, {"y": ["n"]}, {}))
    feeds = {"x": np.ones(3, np.float32), "s": np.full(shape, 2, np.float32)}
    for run in (model.run, model.stream().step):
        np.testing.assert_array_equal(run(feeds)["y"], [2, 2, 2])
    with pytest.raises(tinyseq.FeedError, match="'s' has shape"):
        model.run(feeds | {"s": np.ones(2, np.float32)})
