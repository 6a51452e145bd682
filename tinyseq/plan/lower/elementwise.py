"""Lowerings of element by element ops: each a few passes of the elementwise kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import UnsupportedError
from tinyseq.plan.lower.operands import given, like_any, real, whole
from tinyseq.plan.view import BOOL, FLOAT, SIGNED, WORD, View, computed

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder


def apply(p: Builder, function: str, *operands: View, dtype: np.dtype | None = None) -> View:
    """A new tensor of ``function`` of operands of one shape."""
    y = like_any(p, list(operands), operands[0].dtype if dtype is None else dtype)
    return p.elementwise(function, y, *operands)


def number(p: Builder, x: View, value: float) -> View:
    """A constant of x's shape and kind."""
    if x.kind == "f":
        return p.scalar(value, x.shape)
    return p.constant(np.array(value, np.int64)).broadcast(x.shape)


def identity(p: Builder, node: Node, inputs, shapes) -> View:
    return inputs[0]


def cast(p: Builder, node: Node, inputs, shapes) -> View:
    return converted(p, inputs[0], np.dtype(node.attributes["to"]))


def cast_like(p: Builder, node: Node, inputs, shapes) -> View | np.ndarray:
    """A known tensor stays known: of the other one only the type is needed."""
    x, dtype = inputs[0], inputs[1].dtype
    if isinstance(x, np.ndarray):
        with np.errstate(invalid="ignore", over="ignore"):
            return x.astype(dtype)
    return converted(p, x, dtype)


def converted(p: Builder, x: View, dtype: np.dtype) -> View:
    """x as another type; numbers that an integer type cannot hold wrap around. Every float is a float32."""
    dtype = computed(dtype)
    if dtype == x.dtype:
        return x
    if dtype == FLOAT:
        y = apply(p, "to_float", x, dtype=FLOAT)
        shifted = x.narrow and x.dtype == SIGNED
        return apply(p, "subtract", y, p.scalar(128, y.shape)) if shifted else y
    x = p.wide(x)
    if dtype == BOOL:
        return apply(p, "nonzero", x, dtype=BOOL)
    y = x if x.kind == "i" else apply(p, "truncate", x, dtype=dtype)
    return wrapped(p, y.typed(dtype), x.dtype if x.kind == "i" else None)


def wrapped(p: Builder, x: View, source: np.dtype | None = None) -> View:
    """An integer tensor brought into the range of its type."""
    bits = 8 * x.dtype.itemsize
    fits = source is not None and np.can_cast(source, x.dtype, "safe")
    if x.kind == "f" or x.narrow or bits == 64 or fits or x.dtype == BOOL:
        return x
    return apply(p, "wrap", x, number(p, x, bits if x.dtype.kind == "u" else -bits))


def unary(function: str):
    """One function of one operand, of either kind."""

    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        return wrapped(p, apply(p, function, inputs[0]))

    return lower


def real_unary(function: str):
    """One function of a float operand."""

    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        return apply(p, function, real(p, inputs[0]))

    return lower


def relu(p: Builder, node: Node, inputs, shapes) -> View:
    x = inputs[0]
    return apply(p, "relu", x) if x.kind == "f" else apply(p, "maximum", x, number(p, x, 0))


def test(function: str):
    """A question about each element."""

    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        return apply(p, function, inputs[0], dtype=BOOL)

    return lower


def is_infinite(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    ends = [
        end
        for end, wanted in ((np.inf, "detect_positive"), (-np.inf, "detect_negative"))
        if node.attributes[wanted]
    ]
    found = [apply(p, "equal", x, p.scalar(end, x.shape), dtype=BOOL) for end in ends]
    if not found:
        return p.fill(p.allocate(x.shape, dtype=BOOL))
    return found[0] if len(found) == 1 else apply(p, "or", *found)


def spread(p: Builder, inputs, shape) -> list[View]:
    """Operands broadcast to one shape, of one kind.

    Raises:
        UnsupportedError: they are of different kinds.
    """
    views = [p.view(value).broadcast(shape) for value in inputs]
    if len({view.kind for view in views}) > 1:
        types = ", ".join(str(view.dtype) for view in views)
        raise UnsupportedError(f"operands of different types: {types}; cast them to one")
    return views


def binary(function: str):
    """One function of two operands, broadcast."""

    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        return wrapped(p, apply(p, function, *spread(p, inputs, shapes[0])))

    return lower


def add(p: Builder, node: Node, inputs, shapes) -> View:
    """Sums of narrow int32 stay narrow, as the products of bytes that they are of."""
    views = [p.view(value) for value in inputs]
    if any(view.narrow for view in views):
        keep = all(view.dtype == WORD for view in views)
        inputs = [p.narrow(value) if keep else p.wide(view) for value, view in zip(inputs, views)]
    return binary("add")(p, node, inputs, shapes)


def compare(function: str, swapped: bool = False):
    """A question about each pair; ``swapped`` asks it the other way round."""

    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        a, b = spread(p, inputs, shapes[0])
        return apply(p, function, *((b, a) if swapped else (a, b)), dtype=BOOL)

    return lower


def logical(function: str):
    """A function of two booleans."""

    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        return apply(p, function, *spread(p, inputs, shapes[0]), dtype=BOOL)

    return lower


def power(p: Builder, node: Node, inputs, shapes) -> View:
    """The result is of the base's type."""
    a, b = (p.view(value).broadcast(shapes[0]) for value in inputs)
    exponents = set(np.ravel(inputs[1]).tolist()) if isinstance(inputs[1], np.ndarray) else set()
    if a.kind == "f" and len(exponents) == 1 and exponents <= POWERS.keys():
        return apply(p, POWERS[exponents.pop()], a)
    if a.kind == b.kind == "i":
        return wrapped(p, apply(p, "power", a, b))
    return converted(p, apply(p, "power", converted(p, a, FLOAT), converted(p, b, FLOAT)), a.dtype)


POWERS = {2: "square", 1: "copy", 0.5: "sqrt", -1: "reciprocal"}
"""Exponents that a scalar function computes."""


def modulo(p: Builder, node: Node, inputs, shapes) -> View:
    a, b = spread(p, inputs, shapes[0])
    return apply(p, "remainder" if node.attributes["fmod"] else "modulo", a, b)


def where(p: Builder, node: Node, inputs, shapes) -> View:
    condition = whole(p, inputs[0]).broadcast(shapes[0])
    a, b = spread(p, inputs[1:], shapes[0])
    return apply(p, "where", condition, a, b, dtype=a.dtype)


def fold(function: str, mean: bool = False):
    """A function of any number of operands, taken two at a time."""

    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        first, *others = spread(p, inputs, shapes[0])
        total = first if others else apply(p, "copy", first)
        for other in others:
            total = apply(p, function, total, other)
        if mean:
            total = apply(p, "divide", real(p, total), p.scalar(len(inputs), total.shape))
        return total

    return lower


def clip(p: Builder, node: Node, inputs, shapes) -> View:
    x = inputs[0] if isinstance(inputs[0], View) else p.view(inputs[0])
    low, high = given(inputs, 1), given(inputs, 2)
    for function, bound in (("maximum", low), ("minimum", high)):
        if bound is not None:
            x = apply(p, function, x, p.view(bound).broadcast(x.shape))
    return x


def leaky_relu(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    return apply(p, "leaky_relu", x, p.scalar(node.attributes["alpha"], x.shape))


def prelu(p: Builder, node: Node, inputs, shapes) -> View:
    return apply(p, "leaky_relu", real(p, inputs[0]), real(p, inputs[1]).broadcast(shapes[0]))


def affine(p: Builder, x: View, scale: float, shift: float) -> View:
    """scale * x + shift."""
    return apply(p, "fma", x, p.scalar(scale, x.shape), p.scalar(shift, x.shape))


def bounded(p: Builder, x: View, low: float, high: float) -> View:
    """min(max(x, low), high)."""
    return apply(p, "clip", x, p.scalar(low, x.shape), p.scalar(high, x.shape))


def hard_sigmoid(p: Builder, node: Node, inputs, shapes) -> View:
    x = affine(p, real(p, inputs[0]), node.attributes["alpha"], node.attributes["beta"])
    return bounded(p, x, 0, 1)


def hard_swish(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    return apply(p, "multiply", x, bounded(p, affine(p, x, 1 / 6, 0.5), 0, 1))


def elu(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    return apply(p, "elu", x, p.scalar(node.attributes["alpha"], x.shape), p.scalar(1, x.shape))


def celu(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    alpha = p.scalar(node.attributes["alpha"], x.shape)
    return apply(p, "elu", x, alpha, alpha)


def selu(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    return apply(p, "selu", x, *(p.scalar(node.attributes[name], x.shape) for name in ("alpha", "gamma")))


def thresholded_relu(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    above = apply(p, "less", p.scalar(node.attributes["alpha"], x.shape), x, dtype=BOOL)
    return apply(p, "where", above, x, p.scalar(0, x.shape), dtype=FLOAT)


def softsign(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    return apply(p, "divide", x, affine(p, apply(p, "absolute", x), 1, 1))


def mish(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    return apply(p, "multiply", x, apply(p, "tanh", apply(p, "softplus", x)))


def swish(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    alpha = node.attributes["alpha"]
    scaled = x if alpha == 1 else affine(p, x, alpha, 0)
    return apply(p, "multiply", x, apply(p, "sigmoid", scaled))


def shrink(p: Builder, node: Node, inputs, shapes) -> View:
    """0 between -lambd and lambd; beyond, nearer to 0 by bias."""
    given = inputs[0].dtype
    x, bias, bound = converted(p, inputs[0], FLOAT), node.attributes["bias"], node.attributes["lambd"]
    above = apply(p, "less", p.scalar(bound, x.shape), x, dtype=BOOL)
    below = apply(p, "less", x, p.scalar(-bound, x.shape), dtype=BOOL)
    high = apply(p, "where", above, affine(p, x, 1, -bias), p.scalar(0, x.shape), dtype=FLOAT)
    return converted(p, apply(p, "where", below, affine(p, x, 1, bias), high, dtype=FLOAT), given)


def gelu(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    if node.attributes["approximate"] == "none":
        inner = apply(p, "erf", affine(p, x, 0.5**0.5, 0))
    else:
        cubic = affine(p, apply(p, "square", x), 0.044715, 1)
        inner = apply(p, "tanh", affine(p, apply(p, "multiply", x, cubic), (2 / np.pi) ** 0.5, 0))
    return apply(p, "multiply", x, affine(p, inner, 0.5, 0.5))


def dropout(p: Builder, node: Node, inputs, shapes) -> list[View | np.ndarray]:
    if given(inputs, 2) is not None and np.any(inputs[2]):
        raise UnsupportedError("training_mode is on; tinyseq runs inference")
    return [inputs[0], np.ones(inputs[0].shape, bool)]


LOWERINGS = {
    "Identity": identity,
    "Dropout": dropout,
    "Cast": cast,
    "CastLike": cast_like,
    "Neg": unary("negate"),
    "Abs": unary("absolute"),
    "Sign": unary("sign"),
    "Relu": relu,
    **{
        op: real_unary(function)
        for op, function in {
            "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exp", "Log": "log",
            "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Floor": "floor", "Ceil": "ceil",
            "Round": "round", "Erf": "erf", "Sin": "sine", "Cos": "cosine", "Softplus": "softplus",
        }.items()
    },
    "Not": test("not"),
    "IsNaN": test("is_nan"),
    "IsInf": is_infinite,
    "Add": add,
    "Sub": binary("subtract"),
    "Mul": binary("multiply"),
    "Div": binary("divide"),
    "Pow": power,
    "Mod": modulo,
    "PRelu": prelu,
    "And": logical("and"),
    "Or": logical("or"),
    "Xor": logical("xor"),
    "Equal": compare("equal"),
    "Less": compare("less"),
    "LessOrEqual": compare("less_equal"),
    "Greater": compare("less", swapped=True),
    "GreaterOrEqual": compare("less_equal", swapped=True),
    "Where": where,
    "Max": fold("maximum"),
    "Min": fold("minimum"),
    "Sum": fold("add"),
    "Mean": fold("add", mean=True),
    "Clip": clip,
    "LeakyRelu": leaky_relu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Elu": elu,
    "Celu": celu,
    "Selu": selu,
    "ThresholdedRelu": thresholded_relu,
    "Softsign": softsign,
    "Mish": mish,
    "Gelu": gelu,
    "Swish": swish,
    "Shrink": shrink,
}  # fmt: skip
