"""The shape rules: from the inputs' shapes and known values to the outputs' shapes.

Every rule is ``rule(attributes, shapes, values) -> tuple of shapes`` over concrete shapes, as the
ONNX specification of its op says. An absent input has shape None. A rule that finds its inputs at
odds raises ``Mismatch``, to which the caller adds the node.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Attributes = dict[str, Any]


class Mismatch(ValueError):
    """Inputs that do not fit each other or the op."""


def axis_of(axis: int, rank: int) -> int:
    """A possibly negative axis as a position in 0 ... rank - 1."""
    if not -rank <= axis < rank:
        raise Mismatch(f"axis {axis} is outside a tensor of {rank} dimensions")
    return axis % rank


def axes_of(axes, rank: int) -> list[int]:
    """Axes given as a tensor or list, made positive; refuses doubles."""
    given = axes.ravel().tolist() if isinstance(axes, np.ndarray) else list(axes)
    positions = [axis_of(axis, rank) for axis in given]
    if len(set(positions)) != len(positions):
        raise Mismatch(f"axes {given} name a dimension twice")
    return positions


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The common shape of tensors under multidirectional broadcasting."""
    rank = max(map(len, shapes))
    result = []
    for sizes in zip(*((1,) * (rank - len(shape)) + tuple(shape) for shape in shapes)):
        others = {size for size in sizes if size != 1}
        if len(others) > 1:
            raise Mismatch(f"shapes {', '.join(str(list(s)) for s in shapes)} do not broadcast")
        result.append(others.pop() if others else 1)
    return tuple(result)


def same(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return (shapes[0],)


def broadcast(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return (broadcast_shapes(*shapes),)


def shape_of(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return ((len(shapes[0][attributes["start"] : attributes["end"]]),),)


def size_of(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return ((),)


def constant_of_shape(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return (tuple(map(int, values[0])),)


def gather(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    axis = axis_of(attributes["axis"], len(shapes[0]))
    return (shapes[0][:axis] + tuple(shapes[1]) + shapes[0][axis + 1 :],)


def concat(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    first = shapes[0]
    axis = axis_of(attributes["axis"], len(first))
    for shape in shapes:
        if len(shape) != len(first) or shape[:axis] + shape[axis + 1 :] != first[:axis] + first[axis + 1 :]:
            raise Mismatch(f"cannot join {list(first)} and {list(shape)} along axis {axis}")
    return (first[:axis] + (sum(shape[axis] for shape in shapes),) + first[axis + 1 :],)


def split_sizes(attributes: Attributes, shapes, values) -> tuple[int, ...]:
    """The size of each part along the axis."""
    axis = axis_of(attributes["axis"], len(shapes[0]))
    size = shapes[0][axis]
    if len(values) > 1 and values[1] is not None:
        parts = tuple(map(int, values[1]))
        if sum(parts) != size or min(parts, default=0) < 0:
            raise Mismatch(f"parts {list(parts)} do not add up to {size}")
        return parts
    count = attributes["num_outputs"]
    if not count:
        raise Mismatch("neither the input split nor the attribute num_outputs is given")
    part = -(-size // count)
    return tuple(max(0, min(part, size - part * i)) for i in range(count))


def split(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    axis = axis_of(attributes["axis"], len(shapes[0]))
    sizes = split_sizes(attributes, shapes, values)
    return tuple(shapes[0][:axis] + (size,) + shapes[0][axis + 1 :] for size in sizes)


def slice_bounds(shape: Shape, values) -> list[tuple[int, int, int]]:
    """For each dimension (start, step, count) of a Slice, from its input values."""
    starts, ends = values[1].ravel().tolist(), values[2].ravel().tolist()
    axes = values[3] if len(values) > 3 and values[3] is not None else range(len(starts))
    steps = values[4].tolist() if len(values) > 4 and values[4] is not None else [1] * len(starts)
    positions = axes_of(axes, len(shape))
    if not len(starts) == len(ends) == len(positions) == len(steps):
        raise Mismatch("starts, ends, axes and steps have different lengths")
    bounds = [(0, 1, size) for size in shape]
    for axis, start, end, step in zip(positions, starts, ends, steps):
        if step == 0:
            raise Mismatch("a step of 0")
        # A start before the first element is the first element; Python, going down, would begin before it.
        run = range(shape[axis])[slice(max(start, -shape[axis]), end, step)]
        bounds[axis] = (run.start, run.step, len(run))
    return bounds


def slice_(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return (tuple(count for _, _, count in slice_bounds(shapes[0], values)),)


def squeeze(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    shape = shapes[0]
    if len(values) < 2 or values[1] is None:
        return (tuple(size for size in shape if size != 1),)
    axes = axes_of(values[1], len(shape))
    for axis in axes:
        if shape[axis] != 1:
            raise Mismatch(f"axis {axis} of {list(shape)} is not of size 1")
    return (tuple(size for axis, size in enumerate(shape) if axis not in axes),)


def unsqueeze(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    rank = len(shapes[0]) + np.size(values[1])
    axes = axes_of(values[1], rank)
    rest = iter(shapes[0])
    return (tuple(1 if axis in axes else next(rest) for axis in range(rank)),)


def reshape(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    wanted = [int(size) for size in np.ravel(values[1])]
    if not attributes["allowzero"]:
        for axis, size in enumerate(wanted):
            if size == 0:
                if axis >= len(shapes[0]):
                    raise Mismatch(f"size 0 at axis {axis} copies a dimension that {list(shapes[0])} lacks")
                wanted[axis] = shapes[0][axis]
    total = math.prod(shapes[0])
    if wanted.count(-1) > 1 or any(size < -1 for size in wanted):
        raise Mismatch(f"{wanted} is no shape")
    if -1 in wanted:
        rest = math.prod(size for size in wanted if size != -1)
        if rest == 0 or total % rest:
            raise Mismatch(f"{list(shapes[0])} cannot become {wanted}")
        wanted[wanted.index(-1)] = total // rest
    if math.prod(wanted) != total:
        raise Mismatch(f"{list(shapes[0])} cannot become {wanted}")
    return (tuple(wanted),)


def flatten(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    rank = len(shapes[0])
    axis = attributes["axis"]
    axis = rank if axis == rank else axis_of(axis, rank)
    return ((math.prod(shapes[0][:axis]), math.prod(shapes[0][axis:])),)


def transpose(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    rank = len(shapes[0])
    order = attributes["perm"] if attributes["perm"] is not None else range(rank)[::-1]
    if sorted(order) != list(range(rank)):
        raise Mismatch(f"perm {list(order)} is no order of {rank} dimensions")
    return (tuple(shapes[0][axis] for axis in order),)


def expand(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return (broadcast_shapes(shapes[0], tuple(map(int, values[1]))),)


def pad_widths(shape: Shape, values) -> list[tuple[int, int]]:
    """For each dimension (before, after) of a Pad; negative widths crop."""
    widths = np.ravel(values[1]).tolist()
    axes = axes_of(values[3], len(shape)) if len(values) > 3 and values[3] is not None else range(len(shape))
    if len(widths) != 2 * len(axes):
        raise Mismatch(f"{len(widths)} pads for {len(axes)} axes")
    result = [(0, 0)] * len(shape)
    for position, axis in enumerate(axes):
        result[axis] = (widths[position], widths[position + len(axes)])
    return result


def pad(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    shape = []
    for size, (before, after) in zip(shapes[0], pad_widths(shapes[0], values)):
        if attributes["mode"] == "reflect" and max(before, after) >= max(size, 1):
            raise Mismatch(f"reflecting {max(before, after)} elements needs more than the {size} there are")
        if attributes["mode"] == "edge" and size == 0 and before + after > 0:
            raise Mismatch("an empty dimension has no edge to repeat")
        if max(0, -before) + max(0, -after) > size:
            raise Mismatch(f"pads {before}, {after} crop more than the {size} elements there are")
        shape.append(before + size + after)
    return (tuple(shape),)


def reduce(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    axes = reduce_axes(attributes, shapes, values)
    kept = ((axis, size) for axis, size in enumerate(shapes[0]))
    if attributes["keepdims"]:
        return (tuple(1 if axis in axes else size for axis, size in kept),)
    return (tuple(size for axis, size in kept if axis not in axes),)


def reduce_axes(attributes: Attributes, shapes, values) -> tuple[int, ...]:
    """The axes that a reduction folds."""
    given = values[1] if len(values) > 1 else None
    if given is None or np.size(given) == 0:
        return () if attributes["noop_with_empty_axes"] else tuple(range(len(shapes[0])))
    return axes_of(given, len(shapes[0]))


def matmul(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    a, b = shapes
    if not a or not b:
        raise Mismatch("a scalar has no matrix product")
    left = (1, *a) if len(a) == 1 else a
    right = (*b, 1) if len(b) == 1 else b
    if left[-1] != right[-2]:
        raise Mismatch(f"{list(a)} times {list(b)}: {left[-1]} columns meet {right[-2]} rows")
    result = broadcast_shapes(left[:-2], right[:-2])
    result += () if len(a) == 1 else (left[-2],)
    return (result + (() if len(b) == 1 else (right[-1],)),)


def gemm(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    a, b = shapes[:2]
    if len(a) != 2 or len(b) != 2:
        raise Mismatch(f"Gemm multiplies matrices, not {list(a)} and {list(b)}")
    rows, inner = a[::-1] if attributes["transA"] else a
    other, columns = b[::-1] if attributes["transB"] else b
    if inner != other:
        raise Mismatch(f"{list(a)} times {list(b)}: {inner} columns meet {other} rows")
    if len(shapes) > 2 and shapes[2] is not None:
        if broadcast_shapes((rows, columns), shapes[2]) != (rows, columns):
            raise Mismatch(f"c of {list(shapes[2])} does not broadcast to {[rows, columns]}")
    return ((rows, columns),)


def conv_geometry(attributes: Attributes, x: Shape, w: Shape):
    """(kernel, strides, dilations, pads before, pads after), one entry per spatial axis."""
    rank = len(x) - 2
    if rank < 1 or len(w) != len(x):
        raise Mismatch(f"input {list(x)} and weights {list(w)} are not of one rank above 2")
    strides = tuple(attributes["strides"] or (1,) * rank)
    dilations = tuple(attributes["dilations"] or (1,) * rank)
    pads = () if attributes["auto_pad"] == "VALID" else tuple(attributes["pads"] or ())
    pads = pads or (0,) * 2 * rank
    kernel = w[2:]
    if attributes["kernel_shape"] is not None and tuple(attributes["kernel_shape"]) != kernel:
        raise Mismatch(f"kernel_shape {list(attributes['kernel_shape'])} but weights {list(w)}")
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank:
        raise Mismatch(f"strides, dilations or pads are not for {rank} spatial axes")
    if min(strides + dilations) < 1 or min(pads) < 0:
        raise Mismatch("strides and dilations must be positive, pads not negative")
    return kernel, strides, dilations, pads[:rank], pads[rank:]


def conv(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x, w = shapes[:2]
    geometry = conv_geometry(attributes, x, w)
    if x[1] != w[1] * attributes["group"]:
        raise Mismatch(f"input {list(x)} has {x[1]} channels, weights {list(w)} want {w[1]}")
    if len(shapes) > 2 and shapes[2] is not None and shapes[2] != (w[0],):
        raise Mismatch(f"bias {list(shapes[2])} for {w[0]} output channels")
    spatial = []
    for size, kernel, stride, dilation, before, after in zip(x[2:], *geometry):
        span = size + before + after - dilation * (kernel - 1) - 1
        if span < 0:
            raise Mismatch(
                f"a kernel spanning {dilation * (kernel - 1) + 1} over {size + before + after} elements"
            )
        spatial.append(span // stride + 1)
    return ((x[0], w[0], *spatial),)


def by_branch(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    raise Mismatch("the shape of an If is that of the branch taken")


def _recurrent(attributes: Attributes, shapes, gates: int) -> tuple[Shape, Shape]:
    x, w, r = shapes[:3]
    b, lengths, *initials = (*shapes[3:], *(None,) * 7)[:4]
    hidden = attributes["hidden_size"]
    directions = 2 if attributes["direction"] == "bidirectional" else 1
    if len(x) != 3:
        raise Mismatch(f"input x of {list(x)} is not [frames, rows, features]")
    frames, rows, features = x
    wanted = (
        ("w", w, (directions, gates * hidden, features)),
        ("r", r, (directions, gates * hidden, hidden)),
        ("b", b, (directions, 2 * gates * hidden)),
        ("lengths", lengths, (rows,)),
        *(("initial state", shape, (directions, rows, hidden)) for shape in initials),
    )
    for name, shape, needed in wanted:
        if shape is not None and tuple(shape) != needed:
            raise Mismatch(
                f"{name} of {list(shape)} where {list(needed)} is needed "
                f"(x {list(x)}, hidden_size {hidden}, {attributes['direction']})"
            )
    return (frames, directions, rows, hidden), (directions, rows, hidden)


def rnn(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return _recurrent(attributes, shapes[:6], 1)


def gru(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return _recurrent(attributes, shapes[:6], 3)


def lstm(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    y, final = _recurrent(attributes, shapes[:7], 4)
    return y, final, final
