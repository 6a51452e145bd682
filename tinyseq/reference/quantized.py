"""Ops of quantised models."""

from __future__ import annotations

import numpy as np

from tinyseq.reference.common import defines
from tinyseq.reference.recurrent import LayerAttributes, biases_of, lstm_steps, run_layer
from tinyseq.reference.windows import conv


def _spread(parameter, x, axis: int, block_size: int):
    """A scale or zero point as it applies to x: one for all, one for each index of an axis, or one for
    each block along it."""
    if parameter.size == 1 and not block_size:
        return parameter.reshape(())
    if block_size:
        blocks = np.repeat(parameter, block_size, axis)
        return np.take(blocks, range(x.shape[axis]), axis)
    return parameter.reshape([-1 if d == axis % x.ndim else 1 for d in range(x.ndim)])


def _quantised(x, scale, zero_point, dtype):
    """Halves go to the nearest even number; what is out of range, to its end; not-a-number counts as 0."""
    limits = np.iinfo(dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.round(x / scale)
    y = np.where(np.isnan(steps), 0, steps) + zero_point
    return np.clip(y, limits.min, limits.max).astype(dtype)


@defines("QuantizeLinear")
def quantize_linear(x, scale, zero_point=None, *, axis, block_size, output_dtype, precision, saturate):
    zero_point = np.zeros(scale.shape, output_dtype or np.uint8) if zero_point is None else zero_point
    if output_dtype is not None and zero_point.dtype != output_dtype:
        raise ValueError(f"output_dtype {output_dtype} but a zero point of {zero_point.dtype}")
    spread = (_spread(parameter, x, axis, block_size) for parameter in (scale, zero_point))
    return _quantised(x, *spread, zero_point.dtype)


@defines("DequantizeLinear")
def dequantize_linear(x, scale, zero_point=None, *, axis, block_size, output_dtype):
    zero_point = np.zeros(scale.shape, x.dtype) if zero_point is None else zero_point
    spread_scale, offset = (_spread(p, x, axis, block_size) for p in (scale, zero_point))
    y = (x.astype(np.int64) - offset.astype(np.int64)) * spread_scale.astype(np.float64)
    return y.astype(output_dtype or scale.dtype)


def _dynamic_parameters(x) -> tuple[float, int]:
    """The scale and zero point that cover x and 0 with unsigned bytes; not-a-number is left out."""
    least, most = np.fmin.reduce(x, None, initial=0), np.fmax.reduce(x, None, initial=0)
    scale = (most - least) / 255 if most > least else 1.0
    return scale, int(_quantised(-least, scale, 0, np.uint8))


@defines("DynamicQuantizeLinear")
def dynamic_quantize_linear(x):
    scale, zero_point = _dynamic_parameters(x)
    y = _quantised(x, scale, zero_point, np.uint8)
    return y, np.asarray(scale, x.dtype), np.asarray(zero_point, np.uint8)


def _centred(x, zero_point, across: bool):
    """x less its zero point, in 32 bits; a vector of zero points is one per row if ``across``."""
    if x.dtype not in (np.int8, np.uint8) or (zero_point is not None and zero_point.dtype != x.dtype):
        raise ValueError("a factor that is not of 8 bits, or not of its zero point's type")
    x = x.astype(np.int32)
    if zero_point is None:
        return x
    zero_point = zero_point.astype(np.int32)
    return x - (zero_point[:, None] if across and zero_point.ndim == 1 else zero_point)


@defines("MatMulInteger")
def matmul_integer(a, b, a_zero_point=None, b_zero_point=None):
    return np.matmul(_centred(a, a_zero_point, a.ndim > 1), _centred(b, b_zero_point, False))


@defines("ConvInteger")
def conv_integer(
    x, w, x_zero_point=None, w_zero_point=None, *,
    auto_pad, dilations, group, kernel_shape, pads, strides,
):  # fmt: skip
    if w_zero_point is not None and w_zero_point.ndim:
        w_zero_point = w_zero_point.reshape(-1, *[1] * (w.ndim - 1))
    return conv(
        _centred(x, x_zero_point, False), _centred(w, w_zero_point, False), auto_pad=auto_pad,
        dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip


def _rounded(x):
    """What is left of x after it was quantised."""
    scale, zero_point = _dynamic_parameters(x)
    with np.errstate(invalid="ignore"):
        return (_quantised(x, scale, zero_point, np.uint8).astype(x.dtype) - zero_point) * scale


def _weights(w, scale, zero_point, dtype):
    """Weights [D, in, 4H] as numbers; parameters are one for each direction, or for each column of it."""
    offset = zero_point.reshape(len(w), 1, -1).astype(dtype)
    return (w.astype(dtype) - offset) * scale.reshape(len(w), 1, -1)


@defines("DynamicQuantizeLSTM")
def dynamic_quantize_lstm(
    x, w, r, b, lengths, initial_h, initial_c, p, w_scale, w_zero_point, r_scale, r_zero_point, *,
    input_forget, **attributes,
):  # fmt: skip
    """An LSTM whose x and h are quantised to bytes: x at once up to the longest row's end, h frame by
    frame, all rows of a frame at once."""
    layer = LayerAttributes(**attributes)
    layer.check(r.shape[1])
    x = x.copy()
    frames = len(x) if lengths is None else lengths.max(initial=0)
    x[:frames] = _rounded(x[:frames])
    w = _weights(w, w_scale, w_zero_point, x.dtype)
    r = _weights(r, r_scale, r_zero_point, x.dtype)

    def product(w, r):
        return lambda x, h: x @ w + _rounded(h) @ r

    biases = biases_of(b, 4, len(w), layer.hidden_size, x.dtype)
    steps = lstm_steps(layer, [product(*parts) for parts in zip(w, r)], biases, p, input_forget)
    return run_layer(x, lengths, [initial_h, initial_c], layer, steps)
