"""The scalar functions of the elementwise kernel, by name and kinds of operands."""

from __future__ import annotations

import numpy as np

from tinyseq.kernels.compute import math
from tinyseq.kernels.llvm.intrinsics import compiled, fma, square_root

INT_MAX = np.int64(2**63 - 1)
INT_MIN = np.int64(-(2**63))
LARGE = np.float32(2.0**63)
ZERO, ONE = np.float32(0), np.float32(1)
YES, NO = np.int64(1), np.int64(0)


@compiled()
def _copy(a):
    return a


@compiled()
def _negate(a):
    return -a


@compiled()
def _absolute(a):
    return abs(a)


@compiled()
def _square(a):
    return a * a


@compiled()
def _sqrt(a):
    return square_root(a)


@compiled()
def _reciprocal(a):
    return ONE / a


@compiled()
def _sign(a):
    """-1, 0 or 1 of a's sign; not-a-number stays."""
    return ONE if a > ZERO else -ONE if a < ZERO else a


@compiled()
def _sign_integer(a):
    return YES if a > 0 else -YES if a < 0 else NO


@compiled()
def _truncate(a):
    """Toward zero; what int64 cannot hold becomes its nearest end, not-a-number 0."""
    if a != a:
        return NO
    if a >= LARGE:
        return INT_MAX
    return INT_MIN if a < -LARGE else np.int64(a)


@compiled()
def _nonzero(a):
    return YES if a != 0 else NO


@compiled()
def _is_nan(a):
    return YES if a != a else NO


@compiled()
def _not(a):
    return YES if a == 0 else NO


@compiled()
def _to_float(a):
    return np.float32(a)


@compiled()
def _to_integer(a):
    return np.int64(a)


@compiled()
def _to_byte(a):
    return np.uint8(a)


@compiled()
def _to_word(a):
    return np.int32(a)


@compiled()
def _add(a, b):
    return a + b


@compiled()
def _subtract(a, b):
    return a - b


@compiled()
def _multiply(a, b):
    return a * b


@compiled()
def _divide(a, b):
    return a / b


@compiled()
def _divide_integer(a, b):
    """Toward zero, as ONNX divides; by zero gives 0."""
    if b == 0:
        return NO
    if b == -1:
        return -a
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


@compiled()
def _remainder_integer(a, b):
    """With a's sign; of zero gives 0."""
    return NO if b == 0 else a - b * _divide_integer(a, b)


@compiled()
def _modulo_integer(a, b):
    """With b's sign; of zero gives 0."""
    rest = _remainder_integer(a, b)
    return rest + b if rest != 0 and (rest < 0) != (b < 0) else rest


@compiled()
def _power_integer(a, b):
    """a ** b, wrapping around; to a negative power 1, -1 or, as integer division truncates, 0."""
    if b < 0:
        return YES if a == 1 or (a == -1 and b & 1 == 0) else -YES if a == -1 else NO
    y = YES
    while b > 0:
        if b & 1:
            y *= a
        a *= a
        b >>= 1
    return y


@compiled()
def _maximum(a, b):
    """The larger; not-a-number if either is."""
    return a if a > b or a != a else b


@compiled()
def _minimum(a, b):
    """The smaller; not-a-number if either is."""
    return a if a < b or a != a else b


@compiled()
def _leaky_relu(a, slope):
    return a * slope if a < ZERO else a


@compiled()
def _equal(a, b):
    return YES if a == b else NO


@compiled()
def _less(a, b):
    return YES if a < b else NO


@compiled()
def _less_equal(a, b):
    return YES if a <= b else NO


@compiled()
def _and(a, b):
    return a & b


@compiled()
def _or(a, b):
    return a | b


@compiled()
def _xor(a, b):
    return a ^ b


@compiled()
def _wrap(a, bits):
    """The low ``bits`` of a: of an unsigned number, or for negative ``bits`` of a signed one."""
    width = abs(bits)
    mask = (YES << width) - 1
    low = a & mask
    return low - mask - 1 if bits < 0 and low >> (width - 1) else low


@compiled()
def _dequantize(a, zero_point, scale):
    return (np.float32(a) - np.float32(zero_point)) * scale


@compiled()
def _fma(a, b, c):
    return fma(a, b, c)


@compiled()
def _where(condition, a, b):
    return a if condition != 0 else b


SCALARS = {
    ("copy", "f"): _copy,
    ("negate", "f"): _negate,
    ("absolute", "f"): _absolute,
    ("relu", "f"): math.relu,
    ("sigmoid", "f"): math.sigmoid,
    ("tanh", "f"): math.tanh,
    ("exp", "f"): math.exp,
    ("log", "f"): math.log,
    ("sqrt", "f"): _sqrt,
    ("square", "f"): _square,
    ("reciprocal", "f"): _reciprocal,
    ("floor", "f"): math.floor,
    ("ceil", "f"): math.ceil,
    ("round", "f"): math.round_even,
    ("sign", "f"): _sign,
    ("erf", "f"): math.erf,
    ("sine", "f"): math.sine,
    ("cosine", "f"): math.cosine,
    ("softplus", "f"): math.softplus,
    ("to_byte", "i"): _to_byte,
    ("to_word", "i"): _to_word,
    ("add", "ww"): _add,
    ("copy", "b"): _copy,
    ("copy", "w"): _copy,
    ("to_integer", "b"): _to_integer,
    ("to_integer", "w"): _to_integer,
    ("to_float", "b"): _to_float,
    ("to_float", "w"): _to_float,
    ("quantize", "ffb"): math.quantize,
    ("dequantize", "bbf"): _dequantize,
    ("truncate", "f"): _truncate,
    ("nonzero", "f"): _nonzero,
    ("is_nan", "f"): _is_nan,
    ("to_float", "i"): _to_float,
    ("copy", "i"): _copy,
    ("negate", "i"): _negate,
    ("absolute", "i"): _absolute,
    ("square", "i"): _square,
    ("sign", "i"): _sign_integer,
    ("nonzero", "i"): _nonzero,
    ("not", "i"): _not,
    ("add", "ff"): _add,
    ("subtract", "ff"): _subtract,
    ("multiply", "ff"): _multiply,
    ("divide", "ff"): _divide,
    ("maximum", "ff"): _maximum,
    ("minimum", "ff"): _minimum,
    ("power", "ff"): math.power,
    ("modulo", "ff"): math.modulo,
    ("remainder", "ff"): math.remainder,
    ("leaky_relu", "ff"): _leaky_relu,
    ("equal", "ff"): _equal,
    ("less", "ff"): _less,
    ("less_equal", "ff"): _less_equal,
    ("add", "ii"): _add,
    ("subtract", "ii"): _subtract,
    ("multiply", "ii"): _multiply,
    ("divide", "ii"): _divide_integer,
    ("maximum", "ii"): _maximum,
    ("minimum", "ii"): _minimum,
    ("power", "ii"): _power_integer,
    ("modulo", "ii"): _modulo_integer,
    ("remainder", "ii"): _remainder_integer,
    ("equal", "ii"): _equal,
    ("less", "ii"): _less,
    ("less_equal", "ii"): _less_equal,
    ("and", "ii"): _and,
    ("or", "ii"): _or,
    ("xor", "ii"): _xor,
    ("wrap", "ii"): _wrap,
    ("fma", "fff"): _fma,
    ("clip", "fff"): math.bounded,
    ("elu", "fff"): math.elu,
    ("selu", "fff"): math.selu,
    ("where", "iff"): _where,
    ("where", "iii"): _where,
}
