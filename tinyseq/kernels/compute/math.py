"""Scalar float32 functions that need no libm and vectorise.

All three exponentials come from one core: x = n ln 2 + r with integral n and |r| <= ln 2 / 2,
exp(x) = 2**n (1 + p), p = expm1(r) by its Taylor polynomial of degree 7, whose truncation error is
below 1.6e-8 of r. Not-a-number passes through every one of them.
"""

from __future__ import annotations

from math import factorial, pi

import numpy as np

from tinyseq.kernels.llvm.intrinsics import (
    compiled,
    exponent_split,
    exponent_split64,
    float_bits,
    flushed,
    fma,
    fma64,
    power_of_two,
    power_of_two64,
    quotient,
)

LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH = np.float32(0.693145751953125)
LN2_LOW = np.float32(1.4286068203094172e-06)
ROUNDER = np.float32(1.5 * 2**23)
C2, C3, C4, C5, C6, C7 = (np.float32(1 / f) for f in (2, 6, 24, 120, 720, 5040))
ZERO, ONE, TWO, HALF = np.float32(0), np.float32(1), np.float32(2), np.float32(0.5)

E0, E1, E2, E3, E4, E5, E6, E7, E8, E9, E10, E11 = (
    np.float32((-1) ** n * 2 / (pi**0.5 * factorial(n) * (2 * n + 1))) for n in range(12)
)
"""Coefficients of the error function's Maclaurin series."""
ERF_P = np.float32(0.3275911)
ERF1, ERF2, ERF3, ERF4, ERF5 = (
    np.float32(c) for c in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
)

EXP_MAX = np.float32(88.72284)
"""The largest float32 whose exponential is finite."""
EXP_MIN = np.float32(-87.33654)
"""The smallest float32 whose exponential is not denormal."""
BYTE_MAX = np.float32(255)
NEAR = np.float32(2.0**29)
"""Below it, float64 holds an angle well enough to take whole turns off."""
TURN0, TURN1, TURN2, TURN3, TURN4, TURN5, TURN6 = (
    np.int64(word)
    for word in (0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB)
)
"""2 / pi in words of 32 bits."""
MASK32 = np.int64(0xFFFFFFFF)
SIGMOID_MAX = np.float32(87.0)
SIGMOID_MIN = np.float32(-88.37)
"""Below it, 2**128 is a factor of exp(-x)."""
BEYOND = np.float32(-89.0)
"""Below ``SIGMOID_MIN``, and so that both factors of its exponential are at least 1."""
TANH_MAX = np.float32(10.0)


@compiled()
def exponential_parts(x):
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
    t, p = exponential_parts(bounded)
    nearer, rest = (-ONE, TWO) if x > ZERO else (ONE, HALF)
    scale = power_of_two(t + nearer)
    value = fma(scale, p, scale) * rest
    value = np.float32(np.inf) if x > EXP_MAX else value
    return ZERO if x < EXP_MIN else value


@compiled()
def sigmoid(x):
    """1 / (1 + exp(-x)); zero below ``SIGMOID_MIN``, so that x times it is, too."""
    bounded = SIGMOID_MAX if x > SIGMOID_MAX else x
    bounded = BEYOND if bounded < SIGMOID_MIN else bounded
    t, p = exponential_parts(-bounded)
    scale = power_of_two(t)
    return quotient(ONE, ONE + fma(scale, p, scale))


@compiled()
def tanh(x):
    """(exp(2x) - 1) / (exp(2x) + 1), with exp(2x) - 1 formed without cancellation."""
    bounded = TANH_MAX if x > TANH_MAX else x
    bounded = -TANH_MAX if bounded < -TANH_MAX else bounded
    t, p = exponential_parts(TWO * bounded)
    scale = power_of_two(t)
    e = fma(scale, p, scale - ONE)
    return quotient(e, e + TWO)


@compiled()
def relu(x):
    """max(x, 0); not-a-number stays."""
    x = flushed(x)
    return ZERO if x < ZERO else x


@compiled()
def bounded(x, low, high):
    """x held in low ... high; not-a-number stays."""
    x, low, high = flushed(x), flushed(low), flushed(high)
    x = low if x < low else x
    return high if x > high else x


@compiled()
def elu(x, scale, inner):
    """x above 0, scale * (exp(x / inner) - 1) below; not-a-number stays.

    exp(v) - 1 = 2 t / (1 - t) with t = tanh(v / 2), which keeps small v.
    """
    low, high = ZERO if x > ZERO else x, ZERO if x < ZERO else x
    t = tanh(low / inner * HALF)
    return high + t * (TWO * scale) / (ONE - t)


@compiled()
def selu(x, scale, factor):
    """``factor`` times x above 0, and times scale * (exp(x) - 1) below."""
    return elu(x, scale, ONE) * factor


@compiled()
def log(x):
    """ln x; not-a-number below zero, -infinity at zero.

    x = 2**e m with m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh(s), s = (m - 1) / (m + 1), by its series.
    """
    e, m = exponent_split(x)
    s = (m - ONE) / (m + ONE)
    z = s * s
    q = fma(z, np.float32(1 / 9), np.float32(1 / 7))
    q = fma(q, z, np.float32(1 / 5))
    q = fma(q, z, np.float32(1 / 3))
    tail = fma(q * z, TWO * s, e * LN2_LOW)
    value = fma(e, LN2_HIGH, TWO * s + tail)
    value = x if x == np.float32(np.inf) else value
    value = -np.float32(np.inf) if x == ZERO else value
    return np.float32(np.nan) if x < ZERO or x != x else value


@compiled()
def softplus(x):
    """ln(1 + exp(x)), as max(x, 0) + ln(1 + exp(-|x|))."""
    e = exp(-abs(x))
    # ln(1 + e) = ln(u) e / (u - 1) with u = 1 + e rounded, which undoes the rounding.
    u = ONE + e
    small = e if u == ONE else log(u) * (e / (u - ONE))
    return relu(x) + small


@compiled()
def round_even(x):
    """To the nearest integer, halves to even."""
    shifted = (abs(x) + np.float32(2**23)) - np.float32(2**23)
    signed = -shifted if x < ZERO else shifted
    return signed if abs(x) < np.float32(2**23) else x


@compiled()
def quantize(x, scale, zero_point):
    """x / scale to the nearest integer, halves to even, plus the zero point, held in 0 ... 255.

    Not-a-number counts as 0.
    """
    steps = round_even(x / scale)
    steps = ZERO if steps != steps else steps
    y = steps + np.float32(zero_point)
    y = ZERO if y < ZERO else y
    return np.uint8(np.int32(BYTE_MAX if y > BYTE_MAX else y))


@compiled()
def floor(x):
    """The largest integer not above x."""
    nearest = round_even(x)
    return nearest - ONE if nearest > x else nearest


@compiled()
def ceil(x):
    """The smallest integer not below x."""
    nearest = round_even(x)
    return nearest + ONE if nearest < x else nearest


@compiled()
def erf(x):
    """The error function: its Maclaurin series below 1, formula 7.1.26 of Abramowitz and Stegun above."""
    z = x * x
    q = E11
    q = fma(q, z, E10)
    q = fma(q, z, E9)
    q = fma(q, z, E8)
    q = fma(q, z, E7)
    q = fma(q, z, E6)
    q = fma(q, z, E5)
    q = fma(q, z, E4)
    q = fma(q, z, E3)
    q = fma(q, z, E2)
    q = fma(q, z, E1)
    q = fma(q, z, E0)
    near = x * q
    a = abs(x)
    t = ONE / fma(ERF_P, a, ONE)
    p = fma(fma(fma(fma(ERF5, t, ERF4), t, ERF3), t, ERF2), t, ERF1) * t
    far = ONE - p * exp(-z)
    far = -far if x < ZERO else far
    return near if a < ONE else far


@compiled()
def log64(x):
    """ln x of a positive, finite float64, to about 1e-15."""
    e, m = exponent_split64(x)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    q = 0.0
    for k in range(12):
        q = q * z + 1.0 / (25 - 2 * k)
    q = q * z + 1.0
    return e * 0.6931471805599453 + 2.0 * s * q


@compiled()
def exp64(x):
    """exp(x) of a float64 between -700 and 700, to about 1e-15 times |x|."""
    t = x * 1.4426950408889634 + 6755399441055744.0
    n = t - 6755399441055744.0
    r = fma64(n, -1.9082149292705877e-10, fma64(n, -0.6931471803691238, x))
    q = 1.0
    for k in range(13):
        q = q * r / (13 - k) + 1.0
    return q * power_of_two64(n)


@compiled()
def power(a, b):
    """a ** b as the C standard defines pow, computed in float64."""
    if b == ZERO or a == ONE:
        return ONE
    if a != a or b != b:
        return np.float32(np.nan)
    whole = round_even(b) == b
    odd = whole and abs(b) < np.float32(2**24) and np.int64(b) & 1 == 1
    size = abs(a)
    if size == ZERO:
        value = ZERO if b > ZERO else np.float32(np.inf)
    elif abs(b) == np.float32(np.inf):
        if size == ONE:
            return ONE
        value = np.float32(np.inf) if (size > ONE) == (b > ZERO) else ZERO
    elif size == np.float32(np.inf):
        value = np.float32(np.inf) if b > ZERO else ZERO
    else:
        exponent = np.float64(b) * log64(np.float64(size))
        value = np.float32(exp64(min(max(exponent, -700.0), 700.0)))
    if a < ZERO and abs(b) != np.float32(np.inf) and size != np.float32(np.inf) and not whole:
        return np.float32(np.nan)
    return -value if a < ZERO and odd else value


@compiled()
def remainder(a, b):
    """a - b trunc(a / b), with a's sign."""
    if a != a or b != b or abs(a) == np.float32(np.inf) or b == ZERO:
        return np.float32(np.nan)
    if abs(b) == np.float32(np.inf) or abs(a) < abs(b):
        return a
    x, y = np.float64(abs(a)), np.float64(abs(b))
    # Subtracting twofold multiples of y, largest first, is exact in float64.
    step = y
    while step * 2.0 <= x:
        step *= 2.0
    while step >= y:
        if x >= step:
            x -= step
        step *= 0.5
    return np.float32(-x if a < ZERO else x)


@compiled()
def modulo(a, b):
    """a - b floor(a / b), with b's sign."""
    rest = remainder(a, b)
    if rest == ZERO:
        return -ZERO if b < ZERO else ZERO
    return rest + b if (rest < ZERO) != (b < ZERO) else rest


@compiled()
def _turn_word(k):
    """Bits 32 k ... 32 k + 31 of 2 / pi behind its binary point."""
    if k < 4:
        if k < 2:
            return TURN0 if k == 0 else TURN1
        return TURN2 if k == 2 else TURN3
    if k < 6:
        return TURN4 if k == 4 else TURN5
    return TURN6


@compiled()
def _turn_bits(first):
    """32 bits of 2 / pi from bit ``first`` on."""
    k, shift = first >> 5, first & 31
    high = _turn_word(k) << shift
    return (high | (_turn_word(k + 1) >> (32 - shift))) & MASK32


@compiled()
def _quarter_turns_far(x):
    """``_quarter_turns`` for any finite |x| from 2**25 on, by the method of Payne and Hanek.

    |x| = m 2**q with a 24-bit m. Of 2 / pi only the 96 bits matter that m 2**q carries to 2 ... 2**-94:
    higher ones add whole turns.
    """
    bits = np.int64(float_bits(abs(x)))
    m, q = (bits & 0x7FFFFF) | 0x800000, (bits >> 23) - 150
    low = m * _turn_bits(q + 62)
    middle = m * _turn_bits(q + 30) + (low >> 32)
    high = (m * _turn_bits(q - 2) + (middle >> 32)) & MASK32
    n = high >> 30
    fraction = ((high & 0x3FFFFFFF) << 32) | (middle & MASK32)
    if fraction >> 61:
        n += 1
        fraction -= np.int64(1) << 62
    r = np.float64(fraction) * (1.5707963267948966 / 2.0**62)
    return (-n, -r) if x < ZERO else (n, r)


@compiled()
def _quarter_turns(x):
    """(n, r): x = n pi / 2 + r with |r| <= pi / 4, in float64; for |x| below ``NEAR``."""
    n = np.float64(x) * 0.6366197723675814 + 6755399441055744.0
    n = n - 6755399441055744.0
    r = fma64(n, -6.123233995736766e-17, fma64(n, -1.5707963267948966, np.float64(x)))
    return np.int64(n), r


@compiled()
def _circle(x, shift):
    if not abs(x) < np.float32(np.inf):
        return np.float32(np.nan)
    n, r = _quarter_turns(x) if abs(x) < NEAR else _quarter_turns_far(x)
    n = (n + shift) & 3
    z = r * r
    sine_r = r * (1.0 + z * (-1 / 6 + z * (1 / 120 + z * (-1 / 5040 + z * (1 / 362880 - z / 39916800)))))
    cosine_r = 1.0 + z * (-0.5 + z * (1 / 24 + z * (-1 / 720 + z * (1 / 40320 - z / 3628800))))
    value = cosine_r if n & 1 else sine_r
    return np.float32(-value if n & 2 else value)


@compiled()
def sine(x):
    """sin x."""
    return _circle(x, 0)


@compiled()
def cosine(x):
    """cos x."""
    return _circle(x, 1)
