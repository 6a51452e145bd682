"""Scalar float32 functions that need no libm and vectorise.

All three exponentials come from one core: x = n ln 2 + r with integral n and |r| <= ln 2 / 2,
exp(x) = 2**n (1 + p), p = expm1(r) by its Taylor polynomial of degree 7, whose truncation error is
below 1.6e-8 of r. Not-a-number passes through every one of them.
"""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.intrinsics import compiled, fma, power_of_two

LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH = np.float32(0.693145751953125)
LN2_LOW = np.float32(1.4286068203094172e-06)
ROUNDER = np.float32(1.5 * 2**23)
C2, C3, C4, C5, C6, C7 = (np.float32(1 / f) for f in (2, 6, 24, 120, 720, 5040))
ZERO, ONE, TWO, HALF = np.float32(0), np.float32(1), np.float32(2), np.float32(0.5)

EXP_MAX = np.float32(88.72284)
"""The largest float32 whose exponential is finite."""
EXP_MIN = np.float32(-87.33654)
"""The smallest float32 whose exponential is not denormal."""
SIGMOID_MAX = np.float32(87.0)
TANH_MAX = np.float32(10.0)


@compiled()
def _exponential_parts(x):
    """(t, p) with exp(x) = power_of_two(t) * (1 + p); |x| below 89."""
    t = fma(x, LOG2_E, ROUNDER)
    n = t - ROUNDER
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    q = fma(C7, r, C6)
    q = fma(q, r, C5)
    q = fma(q, r, C4)
    q = fma(q, r, C3)
    q = fma(q, r, C2)
    return t, fma(q * r, r, r)


@compiled()
def exp(x):
    """exp(x); infinity above ``EXP_MAX``, zero below ``EXP_MIN``."""
    bounded = EXP_MAX if x > EXP_MAX else x
    bounded = EXP_MIN if bounded < EXP_MIN else bounded
    t, p = _exponential_parts(bounded)
    nearer, rest = (-ONE, TWO) if x > ZERO else (ONE, HALF)
    scale = power_of_two(t + nearer)
    value = fma(scale, p, scale) * rest
    value = np.float32(np.inf) if x > EXP_MAX else value
    return ZERO if x < EXP_MIN else value


@compiled()
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    bounded = SIGMOID_MAX if x > SIGMOID_MAX else x
    bounded = -SIGMOID_MAX if bounded < -SIGMOID_MAX else bounded
    t, p = _exponential_parts(-bounded)
    scale = power_of_two(t)
    return ONE / (ONE + fma(scale, p, scale))


@compiled()
def tanh(x):
    """(exp(2x) - 1) / (exp(2x) + 1), with exp(2x) - 1 formed without cancellation."""
    bounded = TANH_MAX if x > TANH_MAX else x
    bounded = -TANH_MAX if bounded < -TANH_MAX else bounded
    t, p = _exponential_parts(TWO * bounded)
    scale = power_of_two(t)
    e = fma(scale, p, scale - ONE)
    return e / (e + TWO)


@compiled()
def relu(x):
    """max(x, 0); not-a-number stays."""
    return ZERO if x < ZERO else x
