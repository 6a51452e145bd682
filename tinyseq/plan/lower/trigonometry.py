"""Lowerings of trigonometric and hyperbolic functions: each a few passes of the elementwise kernel.

Numbers near 0, where the plain formulas subtract what is nearly equal, have formulas of their own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tinyseq.plan.lower.elementwise import affine, apply
from tinyseq.plan.lower.operands import real
from tinyseq.plan.view import BOOL, FLOAT, View

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder

ARCTANGENT = (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)
"""The arctangent of x up to tan(pi / 8) is x + x**3 times this polynomial of x**2, to 1e-8."""

LARGE = 1e4
"""From here on the square of a number leaves nothing of 1 in float32."""


def _function(compute):
    """A lowering of one operand."""

    def lower(p: Builder, node: Node, inputs, shapes) -> View:
        return compute(p, real(p, inputs[0]))

    return lower


def _choice(p: Builder, condition: View, a: View, b: View) -> View:
    return apply(p, "where", condition, a, b, dtype=FLOAT)


def _below(p: Builder, x: View, bound: float) -> View:
    return apply(p, "less", x, p.scalar(bound, x.shape), dtype=BOOL)


def _times(p: Builder, a: View, b: View) -> View:
    return apply(p, "multiply", a, b)


def _over(p: Builder, a: View, b: View) -> View:
    return apply(p, "divide", a, b)


def _tangent(p: Builder, x: View) -> View:
    return _over(p, apply(p, "sine", x), apply(p, "cosine", x))


def _arctangent(p: Builder, x: View) -> View:
    """Of |x|: above 1 from that of 1 / x, then twice that of half the angle."""
    size = apply(p, "absolute", x)
    small = _below(p, size, 1)
    inner = _choice(p, small, size, apply(p, "reciprocal", size))
    length = apply(p, "sqrt", affine(p, apply(p, "square", inner), 1, 1))
    half = _over(p, inner, affine(p, length, 1, 1))
    square = apply(p, "square", half)
    series = affine(p, square, *ARCTANGENT[:2])
    for term in ARCTANGENT[2:]:
        series = apply(p, "fma", series, square, p.scalar(term, x.shape))
    angle = affine(p, apply(p, "fma", _times(p, series, square), half, half), 2, 0)
    angle = _choice(p, small, angle, affine(p, angle, -1, math.pi / 2))
    signed = _times(p, angle, apply(p, "sign", x))
    return _choice(p, apply(p, "is_nan", x, dtype=BOOL), x, signed)


def _arcsine(p: Builder, x: View) -> View:
    """The angle whose tangent is x / sqrt((1 - x) (1 + x)), by half of it."""
    rest = apply(p, "sqrt", _times(p, affine(p, x, -1, 1), affine(p, x, 1, 1)))
    return affine(p, _arctangent(p, _over(p, x, affine(p, rest, 1, 1))), 2, 0)


def _arccosine(p: Builder, x: View) -> View:
    half = apply(p, "sqrt", _over(p, affine(p, x, -1, 1), affine(p, x, 1, 1)))
    return affine(p, _arctangent(p, half), 2, 0)


def _hyperbolic_sine(p: Builder, x: View) -> View:
    """2 t / (1 - t**2) with t = tanh(x / 2) below 1, which keeps small x; above, from exp(|x| / 2), whose
    square overflows where the result does."""
    size = apply(p, "absolute", x)
    t = apply(p, "tanh", affine(p, x, 0.5, 0))
    near = _over(p, affine(p, t, 2, 0), affine(p, apply(p, "square", t), -1, 1))
    root = apply(p, "exp", affine(p, size, 0.5, 0))
    far = _times(p, affine(p, root, 0.5, 0), root)
    far = apply(p, "subtract", far, affine(p, apply(p, "exp", affine(p, size, -1, 0)), 0.5, 0))
    return _choice(p, _below(p, size, 1), near, _times(p, far, apply(p, "sign", x)))


def _hyperbolic_cosine(p: Builder, x: View) -> View:
    size = apply(p, "absolute", x)
    root = apply(p, "exp", affine(p, size, 0.5, 0))
    least = affine(p, apply(p, "exp", affine(p, size, -1, 0)), 0.5, 0)
    return apply(p, "fma", affine(p, root, 0.5, 0), root, least)


def _logarithm_from_one(p: Builder, u: View) -> View:
    """log(1 + u), u above -1 and finite: what rounding 1 + u has lost is made up for by u / ((1 + u) - 1)."""
    w = affine(p, u, 1, 1)
    less = affine(p, w, 1, -1)
    lost = apply(p, "equal", less, p.scalar(0, u.shape), dtype=BOOL)
    divisor = _choice(p, lost, p.scalar(1, u.shape), less)
    return _choice(p, lost, u, _times(p, apply(p, "log", w), _over(p, u, divisor)))


def _inverse_sine(p: Builder, x: View) -> View:
    """log(|x| + sqrt(x**2 + 1)), with the sign of x."""
    size = apply(p, "absolute", x)
    square = apply(p, "square", size)
    root = apply(p, "sqrt", affine(p, square, 1, 1))
    near = _logarithm_from_one(p, apply(p, "add", size, _over(p, square, affine(p, root, 1, 1))))
    far = affine(p, apply(p, "log", size), 1, math.log(2))
    return _times(p, _choice(p, _below(p, size, LARGE), near, far), apply(p, "sign", x))


def _inverse_cosine(p: Builder, x: View) -> View:
    """log(x + sqrt(x**2 - 1))."""
    less = affine(p, x, 1, -1)
    root = apply(p, "sqrt", _times(p, less, affine(p, x, 1, 1)))
    near = _logarithm_from_one(p, apply(p, "add", less, root))
    far = affine(p, apply(p, "log", x), 1, math.log(2))
    return _choice(p, _below(p, x, LARGE), near, far)


def _inverse_tangent(p: Builder, x: View) -> View:
    """Half of log((1 + x) / (1 - x))."""
    size = apply(p, "absolute", x)
    less = affine(p, size, -1, 1)
    small = _below(p, size, 0.5)
    kept = _choice(p, small, size, p.scalar(0, x.shape))
    near = _logarithm_from_one(p, _over(p, affine(p, kept, 2, 0), affine(p, kept, -1, 1)))
    far = apply(p, "log", _over(p, affine(p, size, 1, 1), less))
    return _times(p, affine(p, _choice(p, small, near, far), 0.5, 0), apply(p, "sign", x))


LOWERINGS = {
    "Tan": _function(_tangent),
    "Asin": _function(_arcsine),
    "Acos": _function(_arccosine),
    "Atan": _function(_arctangent),
    "Sinh": _function(_hyperbolic_sine),
    "Cosh": _function(_hyperbolic_cosine),
    "Asinh": _function(_inverse_sine),
    "Acosh": _function(_inverse_cosine),
    "Atanh": _function(_inverse_tangent),
}
