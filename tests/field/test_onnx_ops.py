"""Ops of files that are others of the table in a row: as onnxruntime runs them."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import helper

import tinyseq
from tests.models import graph, value

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*shape: int, dtype=np.uint8) -> np.ndarray:
    return RNG.integers(np.iinfo(dtype).min // 2, np.iinfo(dtype).max // 2, shape).astype(dtype)


def f(number: float) -> np.ndarray:
    return np.float32(number)


def u(number: int) -> np.ndarray:
    return np.uint8(number)


X, BIAS, GAMMA = numbers(2, 3, 8), numbers(8), numbers(8)
A, B = whole(3, 4), whole(4, 5)
IMAGE, KERNELS = numbers(1, 2, 7), numbers(3, 2, 3)

MICROSOFT = {
    "Gelu": ([X], {}),
    "FastGelu": ([X], {}),
    "FastGelu, biased": ([X, BIAS], {}),
    "BiasGelu": ([X, BIAS], {}),
    "QuickGelu": ([X], {}),
    "QuickGelu, alpha": ([X], {"alpha": 1.0}),
    "FusedMatMul": ([X, X], {"transB": 1, "alpha": 0.5}),
    "TransposeMatMul": ([X, X], {"transA": 1}),
    "FusedConv": ([IMAGE, KERNELS], {"activation": "Relu", "pads": [1, 1]}),
    "FusedConv, sum": ([IMAGE, KERNELS, BIAS[:3], numbers(1, 3, 5)], {"activation": "Relu"}),
    "FusedConv, parameters": (
        [IMAGE, KERNELS],
        {"activation": "LeakyRelu", "activation_params": [0.25]},
    ),
    "FusedConv, clip": ([IMAGE, KERNELS], {"activation": "Clip", "activation_params": [-0.5, 0.5]}),
    "FusedGemm": ([X[0], numbers(4, 8), numbers(4)], {"activation": "Tanh", "transB": 1}),
    "FusedGemm, parameters": (
        [X[0], numbers(8, 4)],
        {"activation": "LeakyRelu", "activation_alpha": 0.25},
    ),
    "SkipLayerNormalization": ([X, X[::-1], GAMMA, BIAS, BIAS], {"epsilon": 1e-5}),
    "SkipLayerNormalization, no beta": ([X, X[::-1], GAMMA], {"epsilon": 1e-5}),
    "SkipSimplifiedLayerNormalization": ([X, X[::-1], GAMMA], {"epsilon": 1e-5}),
    "DynamicQuantizeMatMul": ([X, whole(8, 4), f(0.02), u(100), numbers(4)], {}),
    "DynamicQuantizeMatMul, columns": (
        [X, whole(8, 4, dtype=np.int8), numbers(4) ** 2, np.zeros(4, np.int8)],
        {},
    ),
    "MatMulIntegerToFloat": ([A, B, f(0.1), f(0.02), u(7), u(100)], {}),
    "MatMulIntegerToFloat, bias": ([A, B, f(0.1), numbers(5) ** 2, None, None, numbers(5)], {}),
    "QLinearAdd": ([A, f(0.1), u(3), A, f(0.2), u(9), f(0.25), u(2)], {}),
    "QLinearMul": ([A, f(0.1), u(3), A[:1], f(0.2), u(9), f(1.0), u(100)], {}),
    "QLinearSigmoid": ([A, f(0.05), u(60), f(0.01), u(2)], {}),
    "QLinearLeakyRelu": ([A, f(0.05), u(60), f(0.05), u(30)], {"alpha": 0.2}),
    "QLinearSoftmax": ([A, f(0.05), u(60), f(1 / 256), u(0)], {"opset": 13, "axis": -1}),
    "QLinearGlobalAveragePool": ([whole(1, 2, 5, 5), f(0.05), u(60), f(0.05), u(30)], {"channels_last": 0}),
    "QLinearAveragePool": (
        [whole(1, 2, 6, 6), f(0.05), u(60), f(0.05), u(30)],
        {"channels_last": 0, "kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    "QLinearConcat": ([f(0.1), u(1), A, f(0.1), u(3), A, f(0.2), u(9)], {"axis": 1}),
    "QLinearWhere": ([A > 60, A, f(0.1), u(3), A, f(0.2), u(9), f(0.25), u(2)], {}),
    "QGemm": ([A, f(0.1), u(3), B, f(0.02), u(90), None, f(0.2), u(20)], {}),
    "QLinearConv": (
        [whole(1, 7, 2), f(0.1), u(3), whole(3, 2, 3), f(0.02), u(90), f(0.2), u(20)],
        {"channels_last": 1},
    ),
    "QGemm, rows": (
        [
            A,
            f(0.1),
            u(3),
            whole(5, 4, dtype=np.int8),
            numbers(5) ** 2 / 9,
            np.zeros(5, np.int8),
            None,
            f(2.0),
            u(20),
        ],
        {"transB": 1},
    ),
    "QGemm, numbers": ([A, f(0.1), u(3), B, f(0.02), u(90), whole(5, dtype=np.int32) % 99], {}),
    "QuantizeLinear": ([X, f(0.05), u(128)], {}),
    "DequantizeLinear": ([A, f(0.05), u(128)], {}),
}

ONNX = {
    "DequantizeLinear, one zero point": ([A, f(0.1).reshape(1), u(3)], {}),
    "QuantizeLinear, one zero point": ([X, f(0.1), u(3).reshape(1)], {}),
    "QLinearMatMul": ([A, f(0.1), u(3), B, f(0.02), u(90), f(0.2), u(20)], {}),
    "QLinearMatMul, columns": (
        [A, f(0.1), u(3), whole(4, 5, dtype=np.int8), numbers(5) ** 2 / 9, np.zeros(5, np.int8), f(2.0),
         u(20)],
        {},
    ),
    "QLinearConv": ([whole(1, 2, 7), f(0.1), u(3), whole(3, 2, 3), f(0.02), u(90), f(0.2), u(20)], {}),
    "QLinearConv, kernels": (
        [whole(1, 2, 7), f(0.1), u(3), whole(3, 2, 3, dtype=np.int8), numbers(3) ** 2 / 9,
         np.zeros(3, np.int8), f(0.2), u(20), whole(3, dtype=np.int32) % 99],
        {"pads": [1, 1], "strides": [2]},
    ),
    "SimplifiedLayerNormalization": ([X, GAMMA], {"epsilon": 1e-5}),
}  # fmt: skip

CASES = [("com.microsoft", name, *case) for name, case in MICROSOFT.items()] + [
    ("", name, *case) for name, case in ONNX.items()
]


def one(domain: str, op: str, inputs: list, attributes: dict, fed: bool) -> bytes:
    """One node of which the first input, or every one, is fed."""
    named = {f"i{place}": array for place, array in enumerate(inputs) if array is not None}
    given = dict(named) if fed else {"i0": named["i0"]}
    names = [f"i{place}" if array is not None else "" for place, array in enumerate(inputs)]
    node = helper.make_node(op, names, ["y"], "it", domain=domain, **attributes)
    made = graph(
        [node],
        [value(name, array.dtype, array.shape) for name, array in given.items()],
        [helper.make_empty_tensor_value_info("y")],
        {name: array for name, array in named.items() if name not in given},
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=imports, ir_version=8).SerializeToString()


@pytest.mark.parametrize("fed", [False, True], ids=["constants", "fed"])
@pytest.mark.parametrize(("domain", "form", "inputs", "attributes"), CASES, ids=[c[1] for c in CASES])
def test_it_is_what_onnxruntime_gives(domain, form, inputs, attributes, fed):
    op = form.partition(",")[0]
    model = one(domain, op, inputs, attributes, fed)
    feeds = {f"i{place}": a for place, a in enumerate(inputs) if a is not None and (fed or place == 0)}
    feeds = {name: np.asarray(array) for name, array in feeds.items()}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    expected = onnxruntime.InferenceSession(model, options).run(None, feeds)[0]
    for device in ("cpu", "reference"):
        (found,) = tinyseq.load(model, device=device).run(feeds).values()
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        else:
            # Halves are rounded by float32 there, by integers here.
            assert found.dtype == expected.dtype
            assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1
            assert (found != expected).mean() < 0.2


SOUND = numbers(1, 40, 1)
FRAMES = numbers(1, 12, 4)

STREAMED = {
    "STFT": (SOUND, "n", [np.int64(4), np.hanning(8).astype(np.float32)], {}),
    "Einsum": (FRAMES, "n", [numbers(4, 2, 3)], {"equation": "btf,fhg->bthg"}),
    "Einsum, beside itself": (FRAMES, "n", [], {"equation": "btf->bft"}),
    "RMSNormalization": (FRAMES, "n", [numbers(4)], {}),
    "Atan": (FRAMES, "n", [], {}),
    "LpPool": (FRAMES, "n", [], {"kernel_shape": [3], "pads": [2, 0]}),
}


@pytest.mark.parametrize(("form", "case"), STREAMED.items(), ids=STREAMED)
def test_it_streams(form, case):
    """LpPool slides along the last axis, the others take frames along the second."""
    (x, size, constants, attributes), op = case, form.partition(",")[0]
    names = [f"c{place}" for place in range(len(constants))]
    nodes = [helper.make_node(op, ["x", *names], ["y"], "it", **attributes)]
    if op == "LpPool":
        nodes[0].input[0] = "turned"
        nodes.insert(0, helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1]))
    made = graph(
        nodes, [value("x", shape=[1, size, x.shape[2]])], [helper.make_empty_tensor_value_info("y")],
        dict(zip(names, constants)),
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    session = tinyseq.load(model)
    whole = session.run({"x": x})["y"]
    axis = 2 if op == "LpPool" or "itself" in form else 1
    stream = session.stream()
    parts = [stream.step({"x": part})["y"] for part in np.split(x, [3, 4, 9], axis=1)]
    parts.append(stream.finish().get("y", parts[-1][:0] if axis == 0 else parts[-1].take([], axis)))
    np.testing.assert_array_equal(np.concatenate(parts, axis), whole)


def test_a_sum_over_frames_does_not_stream():
    made = graph(
        [helper.make_node("Einsum", ["x", "x"], ["y"], "it", equation="btf,bsf->bts")],
        [value("x", shape=[1, "n", 4])], [helper.make_empty_tensor_value_info("y")],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(tinyseq.ModelError, match="'it'"):
        tinyseq.load(model).stream()


def test_what_is_wrong_is_said():
    for op, inputs, attributes, words in (
        ("FusedConv", [IMAGE, KERNELS], {"activation": "Sine"}, "'Sine'"),
        ("QLinearAdd", [A, f(0.1)], {}, "input 3"),
        ("QLinearConcat", [f(0.1), u(1), A], {}, "3 inputs"),
        ("QGemm", [A, f(0.1), u(3)], {}, "input 3"),
        ("QuickGelu", [X], {"beta": 1.0}, "'beta'"),
    ):
        with pytest.raises(tinyseq.ModelError, match=rf"'it'.*{words}"):
            tinyseq.load(one("com.microsoft", op, inputs, attributes, False))


def test_a_file_optimised_for_one_processor_is_refused():
    made = graph(
        [helper.make_node("Conv", ["x", "x"], ["y"], "it", domain="com.microsoft.nchwc")],
        [value("x", shape=[1, 8, 5, 5])], [helper.make_empty_tensor_value_info("y")],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft.nchwc", 1)]
    with pytest.raises(tinyseq.UnsupportedError, match=r"'it'.*ORT_ENABLE_EXTENDED"):
        tinyseq.load(helper.make_model(made, opset_imports=imports, ir_version=8))
