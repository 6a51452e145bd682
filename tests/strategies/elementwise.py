"""Cases of ops that compute element by element."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from onnx import helper

from tests.models import one_node
from tests.strategies.drawing import DTYPES, FED, broadcastable, case_of, numbers, shapes


@case_of("Identity", "Size")
def any_tensor(draw, op):
    dtype = draw(DTYPES)
    return one_node(op, [numbers(draw, draw(shapes()), dtype)], dtype=np.int64 if op == "Size" else dtype)


@case_of("Cast")
def cast(draw, op):
    dtype, to = draw(
        st.sampled_from(
            [(np.float32, np.float32), (np.int64, np.float32), (np.bool_, np.float32), (np.int32, np.int64)]
        )
    )
    to = np.dtype(to)
    x = numbers(draw, draw(shapes()), dtype)
    return one_node(op, [x], dtype=to, to=helper.np_dtype_to_tensor_dtype(to))


KINDS = st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.bool_])


@case_of("Cast: any", "CastLike")
def cast_any(draw, op):
    dtype, to = draw(KINDS), np.dtype(draw(KINDS))
    x = numbers(draw, draw(shapes()), dtype)
    if op == "CastLike":
        return one_node(op, [x, numbers(draw, (2,), to)], opset=15, dtype=to)
    return one_node(op, [x], dtype=to, to=helper.np_dtype_to_tensor_dtype(to))


@case_of("Dropout")
def dropout(draw, op):
    x = numbers(draw, draw(shapes()))
    form, more = draw(st.sampled_from([7, 10, 13])), []
    attributes = {} if form == 13 else {"ratio": draw(st.sampled_from([None, 0.25]))}
    if form == 13:
        more = [np.float32(0.25), np.array(False)][: draw(st.integers(0, 2))]
    kept = draw(st.integers(1, 2)) if form == 13 else 1
    return one_node(
        op, [x, *more], fed=(0,), opset=form, outputs=["y", "mask"][:kept],
        dtype=[np.float32, bool][:kept], **attributes,
    )  # fmt: skip


@case_of("Relu", "Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Sqrt", "Reciprocal")
def unary(draw, op):
    x = numbers(draw, draw(shapes()))
    return one_node(op, [np.abs(x) if op == "Sqrt" else x])


@case_of("Relu: integers")
def relu_of_integers(draw, op):
    return one_node(op, [numbers(draw, draw(shapes()), np.int32)], dtype=np.int32, opset=14)


@case_of("Sin", "Cos", "Erf", "Floor", "Ceil", "Softplus", "Softsign", "HardSwish", "Mish", "Log", "Round")
def more_unary(draw, op):
    x = numbers(draw, draw(shapes()))
    if op == "Round":
        x = np.round(x * 4) / 4
    return one_node(op, [np.abs(x) if op == "Log" else x], opset=18)


@case_of("Swish")
def swish(draw, op):
    x = numbers(draw, draw(shapes()))
    return one_node(op, [x], opset=24, alpha=draw(st.sampled_from([None, 1.0, 1.702])))


@case_of("Shrink")
def shrink(draw, op):
    dtype = draw(st.sampled_from([np.float32, np.float32, np.int32]))
    settings = {"bias": draw(st.sampled_from([None, 0.25, 2.0])), "lambd": draw(st.sampled_from([None, 1.5]))}
    return one_node(op, [numbers(draw, draw(shapes()), dtype)], opset=9, dtype=dtype, **settings)


@case_of("Sign", "Abs: integers", "Neg: integers")
def signed(draw, op):
    dtype = draw(st.sampled_from([np.int64, np.int32, np.float32]))
    return one_node(op, [numbers(draw, draw(shapes()), dtype)], dtype=dtype)


PARAMETERS = {
    "Elu": ("alpha",), "Celu": ("alpha",), "LeakyRelu": ("alpha",), "ThresholdedRelu": ("alpha",),
    "Selu": ("alpha", "gamma"), "HardSigmoid": ("alpha", "beta"),
}  # fmt: skip


@case_of(*PARAMETERS)
def with_parameters(draw, op):
    given = {name: draw(st.sampled_from([None, 0.25, 0.5, 1.5])) for name in PARAMETERS[op]}
    return one_node(op, [numbers(draw, draw(shapes()))], opset=12, **given)


@case_of("Gelu")
def gelu(draw, op):
    approximate = draw(st.sampled_from([None, "none", "tanh"]))
    return one_node(op, [numbers(draw, draw(shapes()))], opset=20, approximate=approximate)


@case_of("PRelu")
def prelu(draw, op):
    shape = draw(shapes(1, 4))
    slope = broadcastable(draw, shape)
    return one_node(op, [numbers(draw, shape), numbers(draw, slope)], fed=draw(FED))


@case_of("Clip")
def clip(draw, op):
    bound = st.sampled_from([None, -1.5, -0.25, 0.5, 1.0])
    least, most = draw(bound), draw(bound)
    if draw(st.booleans()):
        # Attributes that cross, onnxruntime refuses; inputs that cross, it takes.
        if least is not None and most is not None:
            least, most = sorted((least, most))
        return one_node(op, [numbers(draw, draw(shapes()))], opset=10, min=least, max=most)
    dtype = draw(st.sampled_from([np.float32, np.int64]))
    scale = 4 if dtype is np.int64 else 1
    bounds = [None if v is None else np.array(scale * v, dtype) for v in (least, most)]
    while bounds and bounds[-1] is None:
        bounds.pop()
    x = numbers(draw, draw(shapes()), dtype)
    return one_node(op, [x, *bounds], fed=draw(st.sampled_from([None, (0,)])), opset=13, dtype=dtype)


@case_of("IsNaN", "IsInf")
def is_special(draw, op):
    x = numbers(draw, draw(shapes()))
    x[np.abs(x) < 0.3] = np.nan
    x[x > 1] = np.inf
    x[x < -1] = -np.inf
    flag = st.sampled_from([None, 0, 1])
    flags = {f"detect_{side}": draw(flag) for side in ("negative", "positive")} if op == "IsInf" else {}
    return one_node(op, [x], dtype=bool, **flags)


@case_of("Not")
def logical_not(draw, op):
    return one_node(op, [numbers(draw, draw(shapes()), bool)], dtype=bool)


def two(draw, dtype) -> list[np.ndarray]:
    """Two tensors that broadcast."""
    shape = draw(shapes())
    return [numbers(draw, broadcastable(draw, shape), dtype) for _ in range(2)]


@case_of("And", "Or", "Xor")
def logical(draw, op):
    return one_node(op, two(draw, bool), fed=draw(FED), dtype=bool)


@case_of("Add", "Sub", "Mul", "Div", "Equal")
def binary(draw, op):
    dtype = draw(DTYPES) if op != "Equal" else np.int64
    return one_node(op, two(draw, dtype), fed=draw(FED), dtype=bool if op == "Equal" else dtype)


@case_of("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal: floats")
def comparison(draw, op):
    a, b = two(draw, draw(DTYPES))
    return one_node(op, [np.round(a), np.round(b)], fed=draw(FED), dtype=bool)


@case_of("Where")
def where(draw, op):
    dtype = draw(DTYPES)
    shape = draw(shapes())
    parts = [numbers(draw, broadcastable(draw, shape), of) for of in (bool, dtype, dtype)]
    return one_node(op, parts, fed=draw(st.sampled_from([None, (0,), (1, 2)])), dtype=dtype)


@case_of("Mod")
def mod(draw, op):
    dtype = draw(st.sampled_from([np.int64, np.int32, np.float32]))
    fmod = 1 if dtype is np.float32 else draw(st.sampled_from([None, 0, 1]))
    return one_node(op, two(draw, dtype), dtype=dtype, opset=13, fmod=fmod)


@case_of("Mod: floats")
def mod_of_floats(draw, op):
    a, b = two(draw, np.float32)
    return one_node(op, [np.round(a * 4) / 4, np.round(b * 4) / 4], fed=draw(FED), opset=28)


@case_of("Max", "Min", "Sum", "Mean")
def variadic(draw, op):
    dtype = draw(DTYPES) if op in ("Max", "Min") else np.float32
    shape = draw(shapes())
    parts = [numbers(draw, broadcastable(draw, shape), dtype) for _ in range(draw(st.integers(1, 4)))]
    return one_node(op, parts, fed=draw(FED), dtype=dtype, opset=13)


@case_of("Pow")
def power(draw, op):
    x = np.abs(numbers(draw, draw(shapes())))
    exponent = draw(st.sampled_from([np.float32(2), np.float32(0.5), np.int64(2), np.int64(1)]))
    return one_node(op, [x, np.full(draw(st.sampled_from([(), (1,)])), exponent)], fed=(0,))


@case_of("Pow: any")
def any_power(draw, op):
    a, b = two(draw, np.float32)
    if draw(st.booleans()):
        return one_node(op, [np.abs(a) + np.float32(0.1), b], fed=draw(FED), opset=13)
    integers = numbers(draw, b.shape, np.int64) % 4
    dtype = draw(st.sampled_from([np.float32, np.int64, np.int32]))
    a = a if dtype is np.float32 else numbers(draw, a.shape, dtype)
    if dtype is not np.float32 and draw(st.booleans()):
        integers = integers.astype(np.float32)
    return one_node(op, [a, integers], fed=draw(FED), opset=13, dtype=dtype)
