"""Models in float64 and float16: computed in float32, fed and answered in their own types."""

from __future__ import annotations

import warnings

import numpy as np
import onnxruntime
import pytest
from onnx import helper

import tinyseq
from tests.models import lstm_with_state, model, one_node, value
from tests.test_recognise import DATA
from tinyseq import passes
from tinyseq.errors import ConversionWarning
from tinyseq.runtime import loading

TYPES = [np.float64, np.float16]
rng = np.random.default_rng(0)


def n(op: str, inputs: str, outputs: str, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), outputs, **attributes)


def dense(dtype) -> bytes:
    """A layer in a type, with a cast to int64 and back and a size worked out in it."""
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        n("MatMul", "x w", "a"), n("Add", "a b", "s"), n("Tanh", "s", "y"),
        n("Floor", "s", "f"), n("Cast", "f", "whole", to=7),
        n("Shape", "x", "shape"), n("Cast", "shape", "sizes", to=code), n("Mul", "sizes scale", "scaled"),
        n("Cast", "scaled", "wanted", to=7), n("ConstantOfShape", "wanted", "zeros",
            value=helper.make_tensor("v", code, [1], [0.5])),
        n("Cast", "whole", "back", to=code), n("Add", "back b", "z"),
    ]  # fmt: skip
    constants = {
        "w": rng.standard_normal((3, 4)).astype(dtype), "b": rng.standard_normal(4).astype(dtype),
        "scale": np.array([2, 0.5], dtype),
    }  # fmt: skip
    outputs = [value("y", dtype), value("z", dtype), value("whole", np.int64), value("zeros", dtype)]
    return model(nodes, [value("x", dtype, ("N", 3))], outputs, constants)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_model_is_fed_and_answers_in_its_own_type(isa, dtype):
    data = dense(dtype)
    x = rng.standard_normal((5, 3)).astype(dtype)
    with pytest.warns(ConversionWarning, match="tensor 'x'.*weight 'w'.*weight 'b'") as caught:
        ours = tinyseq.load(data)
    assert len(caught) == 1 and "scale" not in str(caught[0].message)
    results = ours.run({"x": x})
    theirs = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    bound = 1e-5 if dtype is np.float64 else 5e-3
    for (name, array), expected in zip(results.items(), theirs.run(None, {"x": x})):
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
        if name != "z":
            np.testing.assert_allclose(array.astype(float), expected.astype(float), rtol=bound, atol=bound)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_drop_in_takes_and_gives_the_declared_type(dtype):
    data = dense(dtype)
    with pytest.warns(ConversionWarning):
        ours = tinyseq.InferenceSession(data)
    assert ours.get_inputs()[0].type == {np.float64: "tensor(double)", np.float16: "tensor(float16)"}[dtype]
    (y,) = ours.run(["y"], {"x": np.zeros((2, 3), dtype)})
    assert y.dtype == dtype


@pytest.mark.parametrize("dtype", TYPES)
def test_other_types_are_still_refused(dtype):
    with pytest.warns(ConversionWarning):
        ours = tinyseq.load(dense(dtype))
    with pytest.raises(tinyseq.FeedError, match=np.dtype(dtype).name):
        ours.run({"x": np.zeros((2, 3), np.float32)})
    assert ours.run({"x": [[1.0, 2.0, 3.0]]})["y"].dtype == dtype


def recast(data: bytes, dtype) -> bytes:
    """A model with every float32 of it in another type."""
    import onnx

    proto = onnx.load_from_string(data)
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for tensor in proto.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(dtype), tensor.name)
        )
    for info in (*proto.graph.input, *proto.graph.output):
        info.type.tensor_type.elem_type = code
    return proto.SerializeToString()


@pytest.mark.parametrize("dtype", TYPES)
def test_streams_of_such_models(isa, dtype, tmp_path):
    plain = tinyseq.load(lstm_with_state())
    with pytest.warns(ConversionWarning):
        other = tinyseq.load(recast(lstm_with_state(), dtype))
    assert [tuple(pair) for pair in other.state] == [("h", "hn", None), ("c", "cn", None)]
    x = rng.standard_normal((6, 1, 3)).astype(dtype)
    bound = 1e-6 if dtype is np.float64 else 5e-3
    expected = np.concatenate([s["y"] for s in stepped(plain, x.astype(np.float32))])
    found = stepped(other, x)
    assert found[0]["y"].dtype == dtype
    np.testing.assert_allclose(np.concatenate([s["y"] for s in found]), expected, rtol=bound, atol=bound)
    out = {"y": np.empty_like(found[0]["y"])}
    other.stream().step({"x": x[:2]}, out=out)
    np.testing.assert_array_equal(out["y"], found[0]["y"])
    other.save(tmp_path / "model.tinyseq")
    with pytest.warns(ConversionWarning) as caught:
        again = tinyseq.load(tmp_path / "model.tinyseq")
    assert "weight" not in str(caught[0].message)
    np.testing.assert_array_equal(stepped(again, x)[2]["y"], found[2]["y"])


def stepped(session: tinyseq.Session, x: np.ndarray) -> list[dict]:
    stream = session.stream()
    return [stream.step({"x": chunk}) for chunk in np.split(x, 3)]


def test_cells_of_such_models_are_recognised():
    with pytest.warns(ConversionWarning):
        found = passes.simplify(
            loading.read(recast((DATA / "lstm_chunked_script.onnx").read_bytes(), np.float64))
        )
    assert [node.op for node in found.graph.nodes if node.row.state] == ["LSTM"]


def test_weights_too_large_are_refused():
    case = one_node("Add", [np.zeros(2), np.full(2, 1e300)], fed=[0], dtype=np.float64)
    with (
        pytest.raises(tinyseq.ModelError, match=r"constant 'b'.*too large for float32"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        tinyseq.load(case.model)


def test_float32_models_are_loaded_without_a_word(asset):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("silero-chunk", "gtcrn", "romanizer-decoder"):
            loading.load(asset(name))
