"""Functions of ``keras.ops`` within functional models, each as a function that adds it to a graph.

Keras writes ``y[:, -1, :]``, ``a + b`` and ``keras.ops.mean(y, axis=1)`` down like layers: a class, what its
function was told by name, and the tensors and numbers that it was called with. Types follow Keras: whole
numbers and booleans become float32 beside a float32, and where the function asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tinyseq.converters.keras import movements, reductions
from tinyseq.converters.keras.operands import (
    Operation,
    arguments,
    as_tensor,
    broadcast,
    cast_to,
    common,
    named_dtype,
    together,
)
from tinyseq.converters.keras.settings import BOOL, FLOAT, WHOLE, Settings, Tensor, activate, cast

from tinyseq.ir.graph import Graph


def _elementwise(op: str, dtype: np.dtype | None = None, result: np.dtype | None = None) -> Operation:
    """An op of two tensors, of the type that both become, or of ``dtype``."""

    def build(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
        pair = arguments(settings, given, "x1", "x2")
        wanted = dtype or common(pair)
        if wanted == BOOL and dtype is None and op not in ("Equal",):
            raise settings.refusal("it computes with booleans; tinyseq compares and joins these only")
        left, right = (as_tensor(graph, settings, value, wanted) for value in pair)
        return [broadcast(graph, op, [left, right], result or wanted, settings.name)]

    return build


def _compared(op: str, negated: bool = False) -> Operation:
    def build(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
        pair = arguments(settings, given, "x1", "x2")
        wanted = common(pair)
        if wanted == BOOL and op != "Equal":
            wanted = WHOLE
        left, right = (as_tensor(graph, settings, value, wanted) for value in pair)
        y = broadcast(graph, op, [left, right], BOOL, settings.name)
        return [Tensor(graph.apply("Not", y.name), y.shape, BOOL)] if negated else [y]

    return build


def _unary(op: str, *, floats: bool = True, dtype: np.dtype | None = None, **attributes: Any) -> Operation:
    """An op of one tensor: of float32, or of ``dtype``, or of the tensor's own type."""

    def build(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
        (x,) = arguments(settings, given, "x")
        x = as_tensor(graph, settings, x, FLOAT if floats else dtype)
        own = WHOLE if x.dtype == BOOL and dtype is None else x.dtype
        x = cast(graph, x, own)
        return [Tensor(graph.apply(op, x.name, name=settings.name, **attributes), x.shape, own)]

    return build


def _found(op: str) -> Operation:
    """A question about each number of a tensor of float32."""

    def build(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
        (x,) = arguments(settings, given, "x")
        x = as_tensor(graph, settings, x, FLOAT)
        return [Tensor(graph.apply(op, x.name, name=settings.name), x.shape, BOOL)]

    return build


def _square(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    (x,) = arguments(settings, given, "x")
    x = as_tensor(graph, settings, x)
    x = cast(graph, x, WHOLE) if x.dtype == BOOL else x
    return [Tensor(graph.mul(x.name, x.name), x.shape, x.dtype)]


def _round(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    settings.expect("decimals", 0)
    return _unary("Round")(graph, settings, given)


def _composed(compute: Callable[[Graph, str], str]) -> Operation:
    """A function of one tensor of float32, of several ops."""

    def build(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
        (x,) = arguments(settings, given, "x")
        x = as_tensor(graph, settings, x, FLOAT)
        return [Tensor(compute(graph, x.name), x.shape)]

    return build


def _activated(function: str) -> Operation:
    def build(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
        (x,) = arguments(settings, given, "x")
        x = as_tensor(graph, settings, x, FLOAT)
        return [Tensor(activate(graph, x.name, function, settings), x.shape)]

    return build


def _tuned(op: str, **fields: tuple[str, float]) -> Operation:
    """An op of one float32 tensor with numbers; by attribute, the field that holds each and its default."""

    def build(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
        (x,) = arguments(settings, given, "x")
        x = as_tensor(graph, settings, x, FLOAT)
        attributes = {name: float(settings.get(*field)) for name, field in fields.items()}
        return [Tensor(graph.apply(op, x.name, name=settings.name, **attributes), x.shape)]

    return build


def _along(op: str) -> Operation:
    """Softmax and LogSoftmax along one axis."""

    def build(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
        (x,) = arguments(settings, given, "x")
        x, axis = as_tensor(graph, settings, x, FLOAT), settings.get("axis", -1)
        if type(axis) is not int:
            raise settings.refusal(f"axis={axis!r}; tinyseq takes one axis")
        return [Tensor(graph.apply(op, x.name, axis=axis, name=settings.name), x.shape)]

    return build


def _gelu(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    (x,) = arguments(settings, given, "x")
    x = as_tensor(graph, settings, x, FLOAT)
    way = "tanh" if settings.get("approximate", True) else "none"
    return [Tensor(graph.apply("Gelu", x.name, approximate=way, name=settings.name), x.shape)]


def _relu(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    """``keras.activations.relu``, which a layer ReLU is too."""
    (x,) = arguments(settings, given, "x")
    return [bounded(graph, settings, as_tensor(graph, settings, x, FLOAT))]


def bounded(graph: Graph, settings: Settings, x: Tensor) -> Tensor:
    """x above the threshold and 0 up to it, at most the ceiling; with a slope, ``slope * (x - threshold)``
    up to it."""
    top, slope, threshold = (settings.get(f, None) for f in ("max_value", "negative_slope", "threshold"))
    slope, threshold = np.float32(slope or 0), np.float32(threshold or 0)
    if threshold:
        above = graph.apply("Greater", x.name, threshold)
        y = graph.apply("Where", above, x.name, np.float32(0))
    else:
        y = graph.relu(x.name)
    y = y if top is None else graph.apply("Clip", y, np.float32(0), np.float32(top))
    if slope:
        below = graph.apply("Min", graph.apply("Sub", x.name, threshold), np.float32(0))
        y = graph.add(y, graph.mul(below, slope))
    return Tensor(y, x.shape, mask=x.mask)


def _clip(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    (x,) = arguments(settings, given, "x")
    low, high = settings.get("x_min"), settings.get("x_max")
    wanted = common([x, *(value for value in (low, high) if value is not None)])
    x = as_tensor(graph, settings, x, wanted)
    bounds = (None if value is None else np.array(value, wanted) for value in (low, high))
    return [Tensor(graph.apply("Clip", x.name, *bounds, name=settings.name), x.shape, wanted)]


def _where(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    condition, *pair = arguments(settings, given, "condition", "x1", "x2")
    wanted = common(pair)
    condition = as_tensor(graph, settings, condition, BOOL)
    left, right = (as_tensor(graph, settings, value, wanted) for value in pair)
    return [broadcast(graph, "Where", [condition, left, right], wanted, settings.name)]


def _cast(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    (x,) = arguments(settings, given, "x")
    wanted = named_dtype(settings, settings.called("dtype", settings.config.get("dtype")))
    settings.get("dtype", None)
    for field in ("sparse", "ragged"):
        settings.expect(field, None, False)
    x = as_tensor(graph, settings, x)
    return [x if wanted is None else cast_to(graph, x, wanted, settings.name)]


def _alike(value: float) -> Operation:
    """A tensor of the same shape and one value."""

    def build(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
        (x,) = arguments(settings, given, "x")
        dtype = named_dtype(settings, settings.called("dtype", settings.get("dtype", None))) or x.dtype
        y = graph.apply("Expand", np.array(value, dtype), graph.apply("Shape", x.name))
        return [Tensor(y, x.shape, dtype)]

    return build


def _matmul(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    left, right = arguments(settings, given, "x1", "x2")
    left, right = (as_tensor(graph, settings, value, FLOAT) for value in (left, right))
    left, right = (
        _turned(graph, x) if settings.get(f"transpose_{way}", False) else x
        for way, x in (("a", left), ("b", right))
    )
    if min(left.rank, right.rank) < 1:
        raise settings.refusal("it multiplies numbers as matrices")
    y = graph.apply("MatMul", left.name, right.name, name=settings.name)
    batch = together([left.shape[:-2], right.shape[:-2]])
    ends = (*left.shape[-2:-1],) if left.rank > 1 else ()
    ends = (*ends, right.shape[-1]) if right.rank > 1 else ends
    return [Tensor(y, (*batch, *ends))]


def _turned(graph: Graph, x: Tensor) -> Tensor:
    """A tensor with its last two axes swapped."""
    order = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
    return Tensor(graph.transpose(x.name, order), tuple(x.shape[axis] for axis in order))


def _normalized(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    """TensorFlow's ``l2_normalize``: ``x / sqrt(max(sum(x * x), epsilon))``."""
    (x,) = arguments(settings, given, "x")
    x = as_tensor(graph, settings, x, FLOAT)
    axes = movements.axes_of(settings, settings.get("axis", None), x.rank)
    return [unit_length(graph, x, axes, settings.get("epsilon", 1e-12))]


def unit_length(graph: Graph, x: Tensor, axes: Sequence[int], epsilon: float) -> Tensor:
    """A tensor divided by its length along axes."""
    total = graph.apply("ReduceSumSquare", x.name, np.array(axes, np.int64), keepdims=1)
    length = graph.apply("Sqrt", graph.apply("Max", total, np.float32(epsilon)))
    return Tensor(graph.apply("Div", x.name, length), x.shape)


def _einsum(graph: Graph, settings: Settings, given: list) -> list[Tensor]:
    operands = [as_tensor(graph, settings, value, FLOAT) for value in given]
    return [einsum(graph, settings, settings.get("subscripts"), operands)]


def einsum(graph: Graph, settings: Settings, equation: str, operands: Sequence[Tensor]) -> Tensor:
    """Sums of products by a formula, whose letters name the axes."""
    terms, arrow, result = equation.replace(" ", "").partition("->")
    if not arrow:
        raise settings.refusal(f"the formula {equation!r} does not say what it gives; add -> and its axes")
    sizes: dict[str, int | None] = {}
    many: tuple[int | None, ...] = ()
    for term, x in zip(terms.split(","), operands, strict=True):
        before, _, after = term.partition("...")
        inside = x.rank - len(before) - len(after)
        many = max(many, x.shape[len(before) : len(before) + inside], key=len) if "..." in term else many
        for letter, size in (*zip(before, x.shape), *zip(reversed(after), reversed(x.shape))):
            sizes[letter] = size if sizes.get(letter) in (None, 1) else sizes[letter]
    before, _, after = result.partition("...")
    shape = (
        *map(sizes.__getitem__, before),
        *(many if "..." in result else ()),
        *map(sizes.__getitem__, after),
    )
    y = graph.apply("Einsum", *(x.name for x in operands), equation=equation, name=settings.name)
    return Tensor(y, shape)


def _logarithm(factor: float) -> Operation:
    return _composed(lambda graph, x: graph.mul(graph.apply("Log", x), np.float32(factor)))


OPERATIONS: dict[str, Operation] = {
    **movements.OPERATIONS,
    **reductions.OPERATIONS,
    **{
        name: _elementwise(op)
        for name, op in (
            ("Add", "Add"), ("Subtract", "Sub"), ("Multiply", "Mul"), ("Maximum", "Max"), ("Minimum", "Min"),
            ("Power", "Pow"),
        )
    },
    **dict.fromkeys(("TrueDivide", "Divide"), _elementwise("Div", FLOAT)),
    **{name: _compared(name) for name in ("Greater", "Less", "Equal")},
    "GreaterEqual": _compared("GreaterOrEqual"),
    "LessEqual": _compared("LessOrEqual"),
    "NotEqual": _compared("Equal", negated=True),
    **{f"Logical{op}": _elementwise(op, BOOL) for op in ("And", "Or", "Xor")},
    "LogicalNot": _unary("Not", floats=False, dtype=BOOL),
    **{name: _unary(name) for name in ("Exp", "Log", "Sqrt", "Erf", "Floor", "Ceil", "Reciprocal")},
    **{name: _unary(name) for name in ("Sin", "Cos", "Tan", "Sinh", "Cosh", "Tanh")},
    **{
        f"Arc{name}": _unary(f"A{name}")
        for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")
    },
    **dict.fromkeys(("Absolute", "Abs"), _unary("Abs", floats=False)),
    "Fabs": _unary("Abs"),
    "Negative": _unary("Neg", floats=False),
    "Sign": _unary("Sign", floats=False),
    "Round": _round,
    "Isnan": _found("IsNaN"),
    "Isinf": _found("IsInf"),
    **dict.fromkeys(("Copy", "Identity", "StopGradient"), _unary("Identity", floats=False)),
    "Square": _square,
    "Rsqrt": _composed(lambda graph, x: graph.apply("Reciprocal", graph.apply("Sqrt", x))),
    "Log1p": _composed(lambda graph, x: graph.apply("Log", graph.add(x, 1.0))),
    "Expm1": _composed(lambda graph, x: graph.apply("Sub", graph.apply("Exp", x), np.float32(1))),
    "Log10": _logarithm(1 / np.log(10)),
    "Log2": _logarithm(1 / np.log(2)),
    "LogSigmoid": _composed(
        lambda graph, x: graph.apply("Neg", graph.apply("Softplus", graph.apply("Neg", x)))
    ),
    "HardTanh": _composed(lambda graph, x: graph.apply("Clip", x, np.float32(-1), np.float32(1))),
    "TanhShrink": _composed(lambda graph, x: graph.apply("Sub", x, graph.tanh(x))),
    **{
        name: _activated(function)
        for name, function in (
            ("Relu", "relu"), ("Relu6", "relu6"), ("Sigmoid", "sigmoid"), ("Silu", "silu"), ("Selu", "selu"),
            ("Softplus", "softplus"), ("Softsign", "softsign"), ("HardSigmoid", "hard_sigmoid"),
            ("HardSilu", "hard_silu"), ("Mish", "mish"),
        )
    },
    "Elu": _tuned("Elu", alpha=("alpha", 1.0)),
    "Celu": _tuned("Celu", alpha=("alpha", 1.0)),
    "LeakyRelu": _tuned("LeakyRelu", alpha=("negative_slope", 0.2)),
    "Softmax": _along("Softmax"),
    "LogSoftmax": _along("LogSoftmax"),
    "Gelu": _gelu,
    "ReLU": _relu,
    "Clip": _clip,
    "Where": _where,
    **dict.fromkeys(("Cast", "ConvertToTensor"), _cast),
    "ZerosLike": _alike(0),
    "OnesLike": _alike(1),
    "Matmul": _matmul,
    "Einsum": _einsum,
    "L2Normalize": _normalized,
}  # fmt: skip
"""How each class of functions is added."""
