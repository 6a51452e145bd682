"""Ops that fold dimensions, or that order and accumulate along them."""

from __future__ import annotations

import numpy as np

from tinyseq.reference.common import defines, tuple_of


def _reduction(name: str):
    """Registers ``function(x, axes, keepdims)`` as a reduction."""

    def register(function):
        def reduce(x, axes=None, *, keepdims, noop_with_empty_axes):
            if axes is None or axes.size == 0:
                axes = () if noop_with_empty_axes else None
            return np.asarray(function(x, tuple_of(axes), bool(keepdims))).astype(x.dtype)

        defines(name)(reduce)
        return function

    return register


@_reduction("ReduceSum")
def sum_(x, axes, keepdims):
    return np.sum(x, axes, keepdims=keepdims, dtype=x.dtype)


@_reduction("ReduceMean")
def mean(x, axes, keepdims):
    with np.errstate(invalid="ignore", divide="ignore"):
        count = np.size(x) // max(1, np.size(np.sum(x, axes)))
        total = sum_(x, axes, keepdims)
        return total / count if x.dtype.kind == "f" else np.trunc(total / count)


@_reduction("ReduceProd")
def prod(x, axes, keepdims):
    return np.prod(x, axes, keepdims=keepdims, dtype=x.dtype)


def _limits(dtype) -> tuple:
    """The least and the greatest element of a type."""
    if dtype.kind == "f":
        return -np.inf, np.inf
    return (False, True) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)


@_reduction("ReduceMax")
def max_(x, axes, keepdims):
    return np.max(x, axes, keepdims=keepdims, initial=_limits(x.dtype)[0])


@_reduction("ReduceMin")
def min_(x, axes, keepdims):
    return np.min(x, axes, keepdims=keepdims, initial=_limits(x.dtype)[1])


@_reduction("ReduceL1")
def l1(x, axes, keepdims):
    return sum_(np.abs(x), axes, keepdims)


@_reduction("ReduceL2")
def l2(x, axes, keepdims):
    return np.sqrt(sum_(x * x, axes, keepdims))


@_reduction("ReduceSumSquare")
def sum_square(x, axes, keepdims):
    return sum_(x * x, axes, keepdims)


@_reduction("ReduceLogSum")
def log_sum(x, axes, keepdims):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(sum_(x, axes, keepdims))


@_reduction("ReduceLogSumExp")
def log_sum_exp(x, axes, keepdims):
    return np.logaddexp.reduce(x, axis=tuple(range(x.ndim)) if axes is None else axes, keepdims=keepdims)


def _arg(x, axis: int, keepdims: int, last: int, find):
    """The position of the first, or the last, extreme element."""
    found = x.shape[axis] - 1 - find(np.flip(x, axis), axis) if last else find(x, axis)
    return np.asarray(np.expand_dims(found, axis) if keepdims else found, np.int64)


@defines("ArgMax")
def arg_max(x, *, axis, keepdims, select_last_index):
    return _arg(x, axis, keepdims, select_last_index, np.argmax)


@defines("ArgMin")
def arg_min(x, *, axis, keepdims, select_last_index):
    return _arg(x, axis, keepdims, select_last_index, np.argmin)


@defines("CumSum")
def cum_sum(x, axis, *, exclusive, reverse):
    axis = int(axis.reshape(()))
    y = np.flip(x, axis) if reverse else x
    y = np.cumsum(y, axis, dtype=x.dtype)
    if exclusive:
        y = np.roll(y, 1, axis)
        y[(slice(None),) * (axis % x.ndim) + (slice(0, 1),)] = 0
    return np.flip(y, axis) if reverse else y


@defines("TopK")
def top_k(x, k, *, axis, largest, sorted):
    """Among equal elements the first come first. Results are always in order."""
    count = int(k.reshape(()))
    if not 0 <= count <= x.shape[axis]:
        raise ValueError(f"k={count} of {x.shape[axis]} elements")
    if largest:
        order = np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
        order = x.shape[axis] - 1 - order
    else:
        order = np.argsort(x, axis, kind="stable")
    order = np.take(order, range(count), axis)
    return np.take_along_axis(x, order, axis), order.astype(np.int64)


@defines("Softmax")
def softmax(x, *, axis):
    if x.shape[axis] == 0:
        return x
    with np.errstate(invalid="ignore"):
        powers = np.exp(x - np.max(x, axis, keepdims=True))
    return powers / np.sum(powers, axis, keepdims=True)


@defines("LogSoftmax")
def log_softmax(x, *, axis):
    if x.shape[axis] == 0:
        return x
    with np.errstate(invalid="ignore"):
        shifted = x - np.max(x, axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis, keepdims=True))


@defines("Hardmax")
def hardmax(x, *, axis):
    """1 at the first greatest element, else 0."""
    y = np.zeros_like(x)
    if x.size:
        np.put_along_axis(y, np.expand_dims(np.argmax(x, axis), axis), 1, axis)
    return y
