"""Activations at the ends of what float32 holds, against the float64 reference and onnxruntime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import helper

import tinyseq
from tests.models import model, value

SIZES = (1e-3, 1, 3, 6, 10, 20, 50, 87, 87.5, 88, 88.37, 88.5, 88.8, 89, 90, 100, 1e5, 1e20, 1e38, 3e38)
X = np.array([*SIZES, *(-size for size in SIZES), 0, np.inf, -np.inf, np.nan], np.float32)

CONSTANTS = {
    name: np.array(number, np.float32)
    for name, number in {"one": 1, "half": 0.5, "three": 3, "zero": 0, "six": 6, "root": 2**0.5}.items()
}
node = helper.make_node

FORMS = {
    "Swish": [node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["y"])],
    "Swish, turned": [node("Sigmoid", ["x"], ["s"]), node("Mul", ["s", "x"], ["y"])],
    "Swish of three times x": [
        node("Mul", ["x", "three"], ["a"]), node("Sigmoid", ["a"], ["s"]), node("Mul", ["x", "s"], ["y"])
    ],
    "HardSwish": [node("HardSwish", ["x"], ["y"])],
    "HardSwish of parts": [
        node("Add", ["x", "three"], ["a"]), node("Clip", ["a", "zero", "six"], ["b"]),
        node("Div", ["b", "six"], ["s"]), node("Mul", ["x", "s"], ["y"]),
    ],
    "Mish": [node("Mish", ["x"], ["y"])],
    "Mish of parts": [
        node("Softplus", ["x"], ["a"]), node("Tanh", ["a"], ["b"]), node("Mul", ["x", "b"], ["y"])
    ],
    "Gelu": [node("Gelu", ["x"], ["y"])],
    "Gelu by tanh": [node("Gelu", ["x"], ["y"], approximate="tanh")],
    "Gelu of parts": [
        node("Div", ["x", "root"], ["a"]), node("Erf", ["a"], ["b"]), node("Add", ["b", "one"], ["d"]),
        node("Mul", ["x", "half"], ["e"]), node("Mul", ["e", "d"], ["y"]),
    ],
    **{op: [node(op, ["x"], ["y"])] for op in ("Sigmoid", "Softplus", "Softsign", "Elu", "Selu", "Tanh")},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", FORMS)
def test_huge_inputs_give_what_the_formula_gives(isa, form):
    case = model(FORMS[form], [value("x", shape=("n",))], [value("y", shape=("n",))], CONSTANTS, opset=20)
    with np.errstate(all="ignore"):
        exact = tinyseq.load(case, device="reference").run({"x": X})["y"]
    y = tinyseq.load(case).run({"x": X})["y"]
    (theirs,) = onnxruntime.InferenceSession(case, providers=["CPUExecutionProvider"]).run(None, {"x": X})
    for result in (y, theirs):
        np.testing.assert_allclose(result, exact, rtol=1e-5, atol=1e-6)
    huge = np.abs(X) >= 1e5
    np.testing.assert_array_equal(np.sign(y[huge]), np.sign(exact[huge]))
    np.testing.assert_array_equal(np.signbit(y[huge]), np.signbit(exact[huge]))
