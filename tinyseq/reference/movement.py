"""Ops that move elements."""

from __future__ import annotations

import math

import numpy as np

from tinyseq.reference.common import checked_shape, defines, tuple_of


@defines("Shape")
def shape(x, *, start, end):
    return np.array(x.shape[start:end], np.int64)


@defines("Size")
def size(x):
    return np.array(x.size, np.int64)


@defines("ConstantOfShape")
def constant_of_shape(shape, *, value):
    fill = np.zeros(1, np.float32) if value is None else value
    return np.full(checked_shape(shape), fill.reshape(()), fill.dtype)


@defines("Concat")
def concat(*tensors, axis):
    return np.concatenate(tensors, axis=axis)


@defines("Split")
def split(x, split=None, *, axis, num_outputs):
    if split is None:
        part = -(-x.shape[axis] // num_outputs)
        cuts = [min(part * i, x.shape[axis]) for i in range(1, num_outputs)]
    else:
        cuts = np.cumsum(split)[:-1].tolist()
    return tuple(np.split(x, cuts, axis=axis))


@defines("Slice")
def slice_(x, starts, ends, axes=None, steps=None):
    axes = range(len(starts)) if axes is None else np.ravel(axes).tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    cuts = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps):
        # A start before the first element is the first element; Python, going down, would begin before it.
        start = max(start, -x.shape[axis])
        # Beyond the start, going down, is "to the very first element", which Python spells None.
        first = None if step < 0 and end < -x.shape[axis] else end
        cuts[axis] = slice(start, first, step)
    return x[tuple(cuts)]


@defines("Squeeze")
def squeeze(x, axes=None):
    return np.squeeze(x, tuple_of(axes))


@defines("Unsqueeze")
def unsqueeze(x, axes):
    return np.expand_dims(x, tuple_of(axes))


@defines("Reshape")
def reshape(x, shape, *, allowzero):
    sizes = [
        x.shape[axis] if size == 0 and not allowzero else size for axis, size in enumerate(shape.tolist())
    ]
    return x.reshape(sizes)


@defines("Flatten")
def flatten(x, *, axis):
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@defines("Transpose")
def transpose(x, *, perm):
    return np.transpose(x, perm)


@defines("Expand")
def expand(x, shape):
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, checked_shape(shape)))


@defines("Pad")
def pad(x, pads, value=None, axes=None, *, mode):
    axes = range(x.ndim) if axes is None else np.ravel(axes).tolist()
    widths = [[0, 0] for _ in range(x.ndim)]
    for position, axis in enumerate(axes):
        widths[axis] = [int(pads[position]), int(pads[position + len(axes)])]
    if not x.ndim:
        return x
    crop = tuple(slice(max(0, -a), size - max(0, -b)) for size, (a, b) in zip(x.shape, widths))
    widths = [[max(0, a), max(0, b)] for a, b in widths]
    if mode == "constant":
        return np.pad(x[crop], widths, constant_values=0 if value is None else value.reshape(()))
    return np.pad(x[crop], widths, mode=mode)


@defines("Tile")
def tile(x, repeats):
    if len(repeats) != x.ndim:
        raise ValueError(f"{len(repeats)} repeats of {x.ndim} dimensions")
    checked_shape([size * int(count) for size, count in zip(x.shape, repeats)])
    return np.tile(x, [int(count) for count in repeats])


@defines("DepthToSpace")
def depth_to_space(x, *, blocksize, mode):
    rows, channels, height, width = x.shape
    depth = channels // blocksize**2
    if mode == "DCR":
        blocks = x.reshape(rows, blocksize, blocksize, depth, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        blocks = x.reshape(rows, depth, blocksize, blocksize, height, width).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(rows, depth, height * blocksize, width * blocksize)


@defines("SpaceToDepth")
def space_to_depth(x, *, blocksize, mode):
    rows, channels, height, width = x.shape
    blocks = x.reshape(rows, channels, height // blocksize, blocksize, width // blocksize, blocksize)
    depth = channels * blocksize**2
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return blocks.transpose(order).reshape(rows, depth, height // blocksize, width // blocksize)
