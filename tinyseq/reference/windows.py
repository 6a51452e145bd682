"""What slides a window: convolutions and pools."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tinyseq.reference.common import checked_shape, defines


def _same_pads(sizes, kernel, strides, dilations, auto_pad: str) -> list[tuple[int, int]]:
    """Padding that gives one window for every stride begun."""
    pads = []
    for size, taps, stride, dilation in zip(sizes, kernel, strides, dilations):
        windows = math.ceil(size / stride)
        total = max(0, (windows - 1) * stride + dilation * (taps - 1) + 1 - size)
        less, more = total // 2, total - total // 2
        pads.append((less, more) if auto_pad == "SAME_UPPER" else (more, less))
    return pads


def _pads(x, kernel, strides, dilations, auto_pad: str, pads) -> list[tuple[int, int]]:
    """For each spatial axis the padding before and after."""
    rank = x.ndim - 2
    if auto_pad.startswith("SAME"):
        return _same_pads(x.shape[2:], kernel, strides, dilations, auto_pad)
    if auto_pad == "VALID" or pads is None:
        return [(0, 0)] * rank
    return list(zip(pads[:rank], pads[rank:], strict=True))


def _windows(x, kernel, strides, dilations):
    """[N, C, windows..., taps...] of an input that is padded already."""
    spans = [dilation * (taps - 1) + 1 for dilation, taps in zip(dilations, kernel)]
    if 0 in x.shape[2:]:
        counts = [max(0, (n - span) // step + 1) for n, span, step in zip(x.shape[2:], spans, strides)]
        return np.zeros((*x.shape[:2], *counts, *kernel), x.dtype)
    windows = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(2, x.ndim)))
    steps = tuple(slice(None, None, stride) for stride in strides)
    taps = tuple(slice(None, None, dilation) for dilation in dilations)
    return windows[(slice(None), slice(None), *steps, *taps)]


@defines("Conv")
def conv(x, w, b=None, *, auto_pad, dilations, group, kernel_shape, pads, strides):
    rank = x.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    pads = _pads(x, w.shape[2:], strides, dilations, auto_pad, pads)
    windows = _windows(np.pad(x, [(0, 0), (0, 0), *pads]), w.shape[2:], strides, dilations)
    windows = windows.reshape(x.shape[0], group, w.shape[1], *windows.shape[2:])
    kernels = w.reshape(group, w.shape[0] // group, *w.shape[1:])
    space = list(range(3, 3 + rank))
    inside = list(range(3 + rank, 3 + 2 * rank))
    y = np.einsum(windows, [0, 1, 2, *space, *inside], kernels, [1, 30, 2, *inside], [0, 1, 30, *space])
    y = y.reshape(y.shape[0], w.shape[0], *y.shape[3:])
    return y if b is None else y + b.reshape(-1, *[1] * rank)


@defines("ConvTranspose")
def conv_transpose(
    x, w, b=None, *,
    auto_pad, dilations, group, kernel_shape, output_padding, output_shape, pads, strides,
):  # fmt: skip
    """Every element of x adds the kernel, times itself, to the output."""
    rank = x.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    extra = output_padding or [0] * rank
    sizes, kernel = x.shape[2:], w.shape[2:]
    full = [
        s * (size - 1) + more + d * (taps - 1) + 1
        for size, taps, s, d, more in zip(sizes, kernel, strides, dilations, extra)
    ]
    if output_shape is None and auto_pad.startswith("SAME"):
        output_shape = [size * stride for size, stride in zip(sizes, strides)]
    if output_shape is None:
        begins = [0] * rank if pads is None or auto_pad == "VALID" else pads[:rank]
        ends = [0] * rank if pads is None or auto_pad == "VALID" else pads[rank:]
        output_shape = [n - before - after for n, before, after in zip(full, begins, ends)]
    else:
        totals = [max(0, n - wanted) for n, wanted in zip(full, output_shape)]
        begins = [n // 2 if auto_pad == "SAME_UPPER" else n - n // 2 for n in totals]
    filters = w.shape[1]
    room = [max(n, before + wanted) for n, before, wanted in zip(full, begins, output_shape)]
    y = np.zeros(checked_shape([x.shape[0], group, filters, *room]), x.dtype)
    inputs = x.reshape(x.shape[0], group, x.shape[1] // group, *sizes)
    kernels = w.reshape(group, x.shape[1] // group, *w.shape[1:])
    for tap in itertools.product(*map(range, kernel)):
        part = np.einsum("ngc...,gcf->ngf...", inputs, kernels[(..., *tap)])
        places = [
            slice(t * d, t * d + (size - 1) * s + 1 if size else t * d, s)
            for t, d, s, size in zip(tap, dilations, strides, sizes)
        ]
        y[(..., *places)] += part
    kept = tuple(slice(before, before + wanted) for before, wanted in zip(begins, output_shape))
    y = y[(..., *kept)].reshape(x.shape[0], group * filters, *output_shape)
    return y if b is None else y + b.reshape(-1, *[1] * rank)


def _pooled(x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode):
    """x in windows, beside them the position of each element in its plane and whether it is one.

    Positions are -1 in the padding, -2 beyond it, where ceil_mode makes a window reach.
    """
    rank = x.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    pads = _pads(x, kernel_shape, strides, dilations, auto_pad, pads)
    beyond, kept = [], []
    for size, taps, s, d, (before, after) in zip(x.shape[2:], kernel_shape, strides, dilations, pads):
        span = size + before + after - d * (taps - 1) - 1
        count = (math.ceil(span / s) if ceil_mode else span // s) + 1
        if ceil_mode and (count - 1) * s >= size + before:
            count -= 1
        beyond.append((0, max(0, (count - 1) * s - span)))
        kept.append(slice(count))
    positions = np.arange(math.prod(x.shape[2:])).reshape(1, 1, *x.shape[2:])
    edges = [(0, 0), (0, 0)]
    positions = np.pad(positions, [*edges, *pads], constant_values=-1)
    positions = np.pad(positions, [*edges, *beyond], constant_values=-2)
    x = np.pad(np.pad(x, [*edges, *pads]), [*edges, *beyond])
    return tuple(
        _windows(array, kernel_shape, strides, dilations)[(slice(None), slice(None), *kept)]
        for array in (x, positions)
    )


@defines("AveragePool")
def average_pool(x, *, auto_pad, ceil_mode, count_include_pad, dilations, kernel_shape, pads, strides):
    windows, positions = _pooled(x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    taps = tuple(range(x.ndim, windows.ndim))
    counted = positions >= (-1 if count_include_pad else 0)
    with np.errstate(invalid="ignore"):
        return np.sum(windows, taps) / np.sum(counted, taps, dtype=x.dtype)


@defines("LpPool")
def lp_pool(x, *, auto_pad, ceil_mode, dilations, kernel_shape, pads, p, strides):
    windows, _ = _pooled(x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    return np.sum(np.abs(windows) ** p, tuple(range(x.ndim, windows.ndim))) ** (1 / p)


@defines("MaxPool")
def max_pool(x, *, auto_pad, ceil_mode, dilations, kernel_shape, pads, storage_order, strides):
    """Beside the greatest elements their positions in the whole tensor, the last axis but one first where
    ``storage_order`` says so."""
    windows, positions = _pooled(x, kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    positions = np.broadcast_to(positions, windows.shape)
    shape = windows.shape[: x.ndim]
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    windows = (
        np.where(positions >= 0, windows, least).astype(x.dtype).reshape(*shape, math.prod(kernel_shape))
    )
    positions = positions.reshape(*shape, math.prod(kernel_shape))
    values = np.max(windows, -1)
    same = (windows == values[..., None]) | np.isnan(windows)
    best = np.expand_dims(np.argmax(same & (positions >= 0), -1), -1)
    places = np.take_along_axis(positions, best, -1)[..., 0]
    if storage_order:
        axes = np.unravel_index(np.maximum(places, 0), x.shape[2:])
        places = np.ravel_multi_index(axes, x.shape[2:], order="F")
    planes = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *[1] * (x.ndim - 2))
    return values, (planes * math.prod(x.shape[2:]) + places).astype(np.int64)


@defines("GlobalAveragePool")
def global_average_pool(x):
    with np.errstate(invalid="ignore"):
        return np.sum(x, tuple(range(2, x.ndim)), keepdims=True) / math.prod(x.shape[2:])


@defines("GlobalMaxPool")
def global_max_pool(x):
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return np.max(x, tuple(range(2, x.ndim)), keepdims=True, initial=least)
