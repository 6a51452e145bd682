"""Products of numbers that stand for bytes are products of the bytes: exact, and scaled behind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, load_from_string
from tinyseq.converters import onnx

import tinyseq
from tests.models import Case, model, value
from tests.test_differential import agrees_with_onnxruntime
from tinyseq import passes, reference


def ops_of(case: Case) -> set[str]:
    return {node.op for node in passes.simplify(onnx.load(case.model)).graph.nodes}


def quantized(
    op: str,
    types: tuple[type, type],
    *,
    rows: int = 3,
    depth: int = 5,
    columns: int = 4,
    seed: int = 0,
    each: bool = False,
    shifted: bool = True,
    turned: bool = False,
    bias: bool = False,
    axis: int | None = None,
    x_scale: float = 0.03,
) -> Case:
    """x quantised and dequantised, times a dequantised matrix."""
    rng = np.random.default_rng(seed)
    wanted = columns if each else 1

    def some(shape, dtype):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)

    constants = {
        "x_scale": np.float32(x_scale),
        "w": some((columns, depth) if turned else (depth, columns), types[1]),
        "w_scale": rng.uniform(0.001, 0.02, wanted if each else ()).astype(np.float32),
        "w_zero": some(wanted if each else (), types[1]),
    }
    names = ["x_zero"] if shifted or types[0] == np.int8 else []
    constants |= {name: some((), types[0]) for name in names}
    along = {} if not each else {"axis": (0 if turned else 1) if axis is None else axis}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", *names], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "x_scale", *names], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wd"], **along),
    ]
    inputs = ["xd", "wd"]
    if bias:
        constants["b"] = rng.standard_normal(columns).astype(np.float32)
        inputs.append("b")
    attributes = {"transB": int(turned)} if op == "Gemm" else {}
    nodes.append(helper.make_node(op, inputs, ["y"], **attributes))
    x = rng.uniform(-4, 4, (rows, depth)).astype(np.float32)
    return Case(model(nodes, [value("x", np.float32, [None, depth])], [value("y")], constants), {"x": x})


BYTES = st.sampled_from([np.uint8, np.int8])


@st.composite
def products(draw) -> Case:
    op = draw(st.sampled_from(["MatMul", "Gemm"]))
    gemm = op == "Gemm"
    return quantized(
        op,
        (draw(BYTES), draw(BYTES)),
        rows=draw(st.integers(1, 7)),
        depth=draw(st.integers(1, 40)),
        columns=draw(st.integers(1, 40)),
        seed=draw(st.integers(0, 99)),
        each=draw(st.booleans()),
        shifted=draw(st.booleans()),
        turned=gemm and draw(st.booleans()),
        bias=gemm and draw(st.booleans()),
    )


@given(products())
def test_products_of_dequantised_numbers_are_exact(case):
    assert "MatMulInteger" in ops_of(case)
    assert not {"MatMul", "Gemm", "DequantizeLinear"} & ops_of(case)
    y = tinyseq.load(case.model).run(case.feeds)["y"]
    whole = reference.run(onnx.load(case.model), case.feeds)
    np.testing.assert_allclose(y, whole["y"], rtol=2e-6, atol=1e-5)
    agrees_with_onnxruntime(case)


@pytest.mark.parametrize(
    "settings",
    [{"depth": 2**15 + 1}, {"x_scale": 1e-35}, {"each": True, "axis": 0, "depth": 4}],
    ids=["a sum that int32 may not hold", "a scale near the least float32", "scales along the sum"],
)
def test_other_products_stay_as_they_are(settings):
    case = quantized("MatMul", (np.uint8, np.int8), **settings)
    assert "MatMulInteger" not in ops_of(case)


def test_what_else_reads_a_dequantised_tensor_still_does():
    case = quantized("MatMul", (np.uint8, np.int8))
    file = load_from_string(case.model)
    file.graph.node.append(helper.make_node("Relu", ["xd"], ["z"]))
    file.graph.output.append(value("z"))
    both = Case(file.SerializeToString(), case.feeds)
    assert {"MatMulInteger", "DequantizeLinear"} <= ops_of(both)
    agrees_with_onnxruntime(both)
