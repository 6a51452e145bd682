"""Shape rules of ops that move elements."""

from __future__ import annotations

import math

import numpy as np

from tinyseq.shapes.common import (
    Attributes,
    Mismatch,
    Shape,
    axes_of,
    axis_of,
    broadcast_shapes,
    checked_rank,
    listed,
    sizes_of,
    whole_numbers,
)


def shape_of(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return ((len(shapes[0][attributes["start"] : attributes["end"]]),),)


def size_of(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return ((),)


def constant_of_shape(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return (tuple(sizes_of(values[0])),)


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
        parts = tuple(whole_numbers(values[1], "sizes of parts"))
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
    starts, ends = (listed(value, "places") for value in values[1:3])
    axes = values[3] if len(values) > 3 and values[3] is not None else range(len(starts))
    steps = [1] * len(starts)
    if len(values) > 4 and values[4] is not None:
        steps = listed(values[4], "steps")
    positions = axes_of(axes, len(shape))
    if not len(starts) == len(ends) == len(positions) == len(steps):
        raise Mismatch("starts, ends, axes and steps have different lengths")
    bounds = [(0, 1, size) for size in shape]
    for axis, start, end, step in zip(positions, starts, ends, steps):
        bounds[axis] = _run(shape[axis], start, end, step)
    return bounds


def _run(size: int, start: int, end: int, step: int) -> tuple[int, int, int]:
    """(start, step, count) of the elements from ``start`` on, before ``end`` is reached.

    Negative places count from the end; places beyond an end of the dimension are that end.
    """
    if step == 0:
        raise Mismatch("a step of 0")
    start = max(start + size if start < 0 else start, 0)
    end = end + size if end < 0 else end
    if step > 0:
        start, end = min(start, size), min(end, size)
        return start, step, max(-((start - end) // step), 0)
    start, end = min(start, size - 1), max(end, -1)
    return start, step, max(-((end - start) // -step), 0)


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
    checked_rank(range(rank))
    axes = axes_of(values[1], rank)
    rest = iter(shapes[0])
    return (tuple(1 if axis in axes else next(rest) for axis in range(rank)),)


def reshape(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    wanted = sizes_of(values[1])
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
    wanted = tuple(sizes_of(values[1]))
    if min(wanted, default=0) < 0:
        raise Mismatch(f"{list(wanted)} is no shape")
    return (broadcast_shapes(shapes[0], wanted),)


def pad_widths(shape: Shape, values) -> list[tuple[int, int]]:
    """For each dimension (before, after) of a Pad; negative widths crop."""
    widths = listed(values[1], "pads")
    axes = axes_of(values[3], len(shape)) if len(values) > 3 and values[3] is not None else range(len(shape))
    if len(widths) != 2 * len(axes):
        raise Mismatch(f"{len(widths)} pads for {len(axes)} axes")
    result = [(0, 0)] * len(shape)
    for position, axis in enumerate(axes):
        result[axis] = (widths[position], widths[position + len(axes)])
    return result


def pad(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    if len(shapes) > 2 and shapes[2] is not None and math.prod(shapes[2]) != 1:
        raise Mismatch(f"a value of {list(shapes[2])} where one number is needed")
    shape = []
    for size, (before, after) in zip(shapes[0], pad_widths(shapes[0], values)):
        kept, most = size + min(0, before) + min(0, after), max(before, after)
        if kept < 0:
            raise Mismatch(f"pads {before}, {after} crop more than the {size} elements there are")
        if attributes["mode"] == "reflect" and most >= max(kept, 1):
            raise Mismatch(f"reflecting {most} elements needs more than the {kept} there are")
        if attributes["mode"] in ("edge", "wrap") and kept == 0 and most > 0:
            raise Mismatch("an empty dimension has no elements to repeat")
        shape.append(before + size + after)
    return (tuple(shape),)
