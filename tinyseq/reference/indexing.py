"""Ops that pick, put or repeat elements by index."""

from __future__ import annotations

import math

import numpy as np

from tinyseq.reference.common import checked_shape, defines


def _checked_indices(indices, size: int):
    """Indices, negative ones counted from the end; refuses those outside."""
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        raise ValueError(f"an index outside {size} elements")
    return indices


@defines("Gather")
def gather(x, indices, *, axis):
    return np.take(x, _checked_indices(indices, x.shape[axis]), axis=axis)


@defines("GatherElements")
def gather_elements(x, indices, *, axis):
    axis %= x.ndim
    part = x[tuple([slice(None if a == axis else n) for a, n in enumerate(indices.shape)])]
    return np.take_along_axis(part, _checked_indices(indices, x.shape[axis]), axis)


@defines("GatherND")
def gather_nd(x, indices, *, batch_dims):
    """Every row of indices, along its last axis, is a place in x behind the batch dimensions."""
    batch = x.shape[:batch_dims]
    depth = indices.shape[-1]
    rows = indices.reshape(*batch, math.prod(indices.shape[batch_dims:-1]), depth)
    y = np.empty((*rows.shape[:-1], *x.shape[batch_dims + depth :]), x.dtype)
    for place in np.ndindex(rows.shape[:-1]):
        y[place] = x[(*place[:batch_dims], *rows[place].tolist())]
    return y.reshape((*indices.shape[:-1], *x.shape[batch_dims + depth :]))


_COMBINE = {
    "none": lambda old, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "max": np.maximum,
    "min": np.minimum,
}
"""What a scatter does to an element, by its attribute ``reduction``."""


@defines("ScatterND")
def scatter_nd(x, indices, updates, *, reduction):
    y = x.copy()
    if reduction == "none":
        y[tuple(np.moveaxis(indices, -1, 0))] = updates
        return y
    for place in np.ndindex(indices.shape[:-1]):
        target = tuple(indices[place].tolist())
        y[target] = _COMBINE[reduction](y[target], updates[place])
    return y


@defines("ScatterElements")
def scatter_elements(x, indices, updates, *, axis, reduction):
    y = x.copy()
    for place in np.ndindex(indices.shape):
        target = list(place)
        target[axis] = int(_checked_indices(indices[place], x.shape[axis]))
        y[tuple(target)] = _COMBINE[reduction](y[tuple(target)], updates[place])
    return y


@defines("Range")
def range_(start, limit, delta, *, stash_type):
    first, limit, delta = (value.item() for value in (start, limit, delta))
    if delta == 0:
        raise ValueError("delta is 0")
    (count,) = checked_shape(max(0, math.ceil((limit - first) / delta)))
    return (first + np.arange(count) * delta).astype(start.dtype)


@defines("OneHot")
def one_hot(indices, depth, values, *, axis):
    """Indices outside -depth ... depth - 1 give rows of the first value."""
    (depth,) = checked_shape(depth.astype(np.int64))
    indices = indices.astype(np.int64)
    places = np.expand_dims(np.where(indices < 0, indices + depth, indices), axis)
    order = np.arange(depth).reshape([-1 if d == axis % places.ndim else 1 for d in range(places.ndim)])
    return np.where(places == order, values[1], values[0])


@defines("ReverseSequence")
def reverse_sequence(x, lengths, *, batch_axis, time_axis):
    y = np.moveaxis(x, (batch_axis, time_axis), (0, 1)).copy()
    for row, length in zip(y, lengths.tolist(), strict=True):
        if not 0 <= length <= len(row):
            raise ValueError(f"a length of {length} for {len(row)} frames")
        row[:length] = row[:length][::-1].copy()
    return np.moveaxis(y, (0, 1), (batch_axis, time_axis))


@defines("Trilu")
def trilu(x, k=None, *, upper):
    diagonal = 0 if k is None else int(k.reshape(()))
    return np.triu(x, diagonal) if upper else np.tril(x, diagonal)


@defines("EyeLike")
def eye_like(x, *, dtype, k):
    return np.eye(*x.shape, k=k, dtype=x.dtype if dtype is None else dtype)


@defines("NonZero")
def non_zero(x):
    return np.array(np.nonzero(np.atleast_1d(x)), np.int64).reshape(max(x.ndim, 1), -1)[: x.ndim or None]


@defines("Compress")
def compress(x, condition, *, axis):
    return np.compress(condition, x, axis)
