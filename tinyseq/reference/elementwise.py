"""Ops that compute element by element."""

from __future__ import annotations

import functools
import math

import numpy as np

from tinyseq.reference.common import defines


@defines("Identity")
def identity(x):
    return x


@defines("Cast")
def cast(x, *, to, saturate, round_mode):
    # What a number out of the target's range becomes, the specification leaves open.
    with np.errstate(invalid="ignore", over="ignore"):
        return x.astype(to)


@defines("CastLike")
def cast_like(x, like, *, saturate, round_mode):
    return cast(x, to=like.dtype, saturate=saturate, round_mode=round_mode)


@defines("Dropout")
def dropout(x, ratio=None, training_mode=None, *, seed):
    if training_mode is not None and training_mode.any():
        raise ValueError("training_mode is true; models are run, not trained: export for inference")
    return x, np.ones(x.shape, bool)


@defines("Relu")
def relu(x):
    return np.maximum(x, 0)


@defines("Sigmoid")
def sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


@defines("Tanh")
def tanh(x):
    return np.tanh(x)


@defines("Exp")
def exp(x):
    with np.errstate(over="ignore"):
        return np.exp(x)


@defines("Log")
def log(x):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(x)


@defines("Sqrt")
def sqrt(x):
    with np.errstate(invalid="ignore"):
        return np.sqrt(x)


@defines("Sin")
def sin(x):
    with np.errstate(invalid="ignore"):
        return np.sin(x)


@defines("Cos")
def cos(x):
    with np.errstate(invalid="ignore"):
        return np.cos(x)


@defines("Erf")
def erf(x):
    return np.vectorize(math.erf, otypes=[float])(x).astype(x.dtype)


@defines("Neg")
def neg(x):
    return -x


@defines("Abs")
def absolute(x):
    return np.abs(x)


@defines("Sign")
def sign(x):
    return np.sign(x)


@defines("Floor")
def floor(x):
    return np.floor(x)


@defines("Ceil")
def ceil(x):
    return np.ceil(x)


@defines("Round")
def round_(x):
    """Halves go to the nearest even number."""
    return np.round(x)


@defines("Reciprocal")
def reciprocal(x):
    with np.errstate(divide="ignore"):
        return 1 / x


@defines("Softplus")
def softplus(x):
    return np.logaddexp(x, x.dtype.type(0))


@defines("Softsign")
def softsign(x):
    with np.errstate(invalid="ignore"):
        return x / (1 + np.abs(x))


@defines("Elu")
def elu(x, *, alpha):
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


@defines("Selu")
def selu(x, *, alpha, gamma):
    return gamma * elu(x, alpha=alpha)


@defines("Celu")
def celu(x, *, alpha):
    return np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha))


@defines("LeakyRelu")
def leaky_relu(x, *, alpha):
    return np.where(x < 0, alpha * x, x)


@defines("PRelu")
def prelu(x, slope):
    return np.where(x < 0, slope * x, x)


@defines("ThresholdedRelu")
def thresholded_relu(x, *, alpha):
    return np.where(x > alpha, x, x.dtype.type(0))


@defines("HardSigmoid")
def hard_sigmoid(x, *, alpha, beta):
    return np.clip(alpha * x + beta, 0, 1)


@defines("HardSwish")
def hard_swish(x):
    return x * np.clip(x / 6 + 0.5, 0, 1)


@defines("Mish")
def mish(x):
    return x * np.tanh(softplus(x))


@defines("Swish")
def swish(x, *, alpha):
    return x * sigmoid(alpha * x)


@defines("Shrink")
def shrink(x, *, bias, lambd):
    moved = np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0))
    return moved.astype(x.dtype)


@defines("Gelu")
def gelu(x, *, approximate):
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


@defines("Clip")
def clip(x, least=None, most=None):
    """Where the bounds cross, the upper one holds."""
    if any(bound is not None and (bound.size != 1 or bound.ndim > x.ndim) for bound in (least, most)):
        raise ValueError("a bound is one number")
    x = x if least is None else np.maximum(x, least.astype(x.dtype))
    return x if most is None else np.minimum(x, most.astype(x.dtype))


@defines("IsNaN")
def is_nan(x):
    return np.isnan(x)


@defines("IsInf")
def is_inf(x, *, detect_negative, detect_positive):
    return np.isinf(x) & ((x < 0) & bool(detect_negative) | (x > 0) & bool(detect_positive))


@defines("Not")
def logical_not(x):
    return ~x


@defines("And")
def logical_and(a, b):
    return a & b


@defines("Or")
def logical_or(a, b):
    return a | b


@defines("Xor")
def logical_xor(a, b):
    return a ^ b


@defines("Equal")
def equal(a, b):
    return np.equal(a, b)


@defines("Greater")
def greater(a, b):
    return np.greater(a, b)


@defines("Less")
def less(a, b):
    return np.less(a, b)


@defines("GreaterOrEqual")
def greater_or_equal(a, b):
    return np.greater_equal(a, b)


@defines("LessOrEqual")
def less_or_equal(a, b):
    return np.less_equal(a, b)


@defines("Where")
def where(condition, a, b):
    return np.where(condition, a, b)


@defines("Add")
def add(a, b):
    return a + b


@defines("Sub")
def sub(a, b):
    return a - b


@defines("Mul")
def mul(a, b):
    return a * b


@defines("Div")
def div(a, b):
    if np.issubdtype(a.dtype, np.integer):
        # Integer division truncates toward zero, where Python's floors.
        quotient = np.abs(a) // np.abs(b)
        return (quotient * np.sign(a) * np.sign(b)).astype(a.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        return a / b


@defines("Mod")
def mod(a, b, *, fmod):
    """With ``fmod`` the sign is the dividend's, else the divisor's."""
    with np.errstate(invalid="ignore"):
        return np.fmod(a, b) if fmod else np.mod(a, b)


@defines("Pow")
def power(a, b):
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if a.dtype.kind in "iu" and b.dtype.kind == "i":
            # NumPy refuses integers to negative powers; their fractions are cut off.
            inverse = np.where(np.abs(a) == 1, np.where(b % 2 == 0, 1, a), 0)
            return np.where(b < 0, inverse, np.power(a, np.maximum(b, 0))).astype(a.dtype)
        return np.power(a, b).astype(a.dtype)


def _folded(function):
    def fold(*tensors):
        return functools.reduce(function, tensors)

    return fold


defines("Max")(_folded(np.maximum))
defines("Min")(_folded(np.minimum))
defines("Sum")(_folded(np.add))


@defines("Mean")
def mean(*tensors):
    return functools.reduce(np.add, tensors) / len(tensors)
