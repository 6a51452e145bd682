"""Shape rules of ops that pick, put or repeat elements by index."""

from __future__ import annotations

import math

import numpy as np

from tinyseq.shapes.common import Attributes, Mismatch, Shape, axis_of, listed, whole_numbers

MOST_PLACES = 2**24
"""Places that OneHot may tell apart."""


def _number(value, what: str) -> int | float:
    """The one element of a tensor."""
    if np.size(value) != 1:
        raise Mismatch(f"{what} holds {np.size(value)} elements where one is needed")
    return np.ravel(value).tolist()[0]


def gather(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    axis = axis_of(attributes["axis"], len(shapes[0]))
    return (shapes[0][:axis] + tuple(shapes[1]) + shapes[0][axis + 1 :],)


def gather_elements(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x, indices = shapes
    axis = axis_of(attributes["axis"], len(x))
    _check_within(x, indices, axis)
    return (indices,)


def _check_within(x: Shape, indices: Shape, axis: int) -> None:
    fits = len(x) == len(indices) and all(
        count <= size for d, (size, count) in enumerate(zip(x, indices)) if d != axis
    )
    if not fits:
        raise Mismatch(f"indices {list(indices)} reach beyond {list(x)} off axis {axis}")


def gather_nd(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x, indices = shapes
    batch = attributes["batch_dims"]
    if not indices or not 0 <= batch < min(len(x), len(indices)) or x[:batch] != indices[:batch]:
        raise Mismatch(f"indices {list(indices)} do not share {batch} batch dimensions with {list(x)}")
    if not 0 < indices[-1] <= len(x) - batch:
        raise Mismatch(f"places of {indices[-1]} numbers in {list(x)} behind {batch} batch dimensions")
    return (indices[:-1] + x[batch + indices[-1] :],)


def scatter_nd(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x, indices, updates = shapes
    if not indices or not 0 < indices[-1] <= len(x):
        raise Mismatch(f"indices {list(indices)} are no places in {list(x)}")
    if updates != indices[:-1] + x[indices[-1] :]:
        raise Mismatch(f"updates {list(updates)} for indices {list(indices)} into {list(x)}")
    return (x,)


def scatter_elements(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x, indices, updates = shapes
    _check_within(x, indices, axis_of(attributes["axis"], len(x)))
    if updates != indices:
        raise Mismatch(f"updates {list(updates)} for indices {list(indices)}")
    return (x,)


def range_(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    start, limit, delta = map(_number, values, ("start", "limit", "delta"))
    if delta == 0:
        raise Mismatch("delta is 0")
    return ((max(0, math.ceil((limit - start) / delta)),),)


def tile(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    repeats = listed(values[1], "repeats")
    if len(repeats) != len(shapes[0]) or min(repeats, default=0) < 0:
        raise Mismatch(f"repeats {repeats} of {list(shapes[0])}")
    return (tuple(size * count for size, count in zip(shapes[0], repeats)),)


def one_hot(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    axis = axis_of(attributes["axis"], len(shapes[0]) + 1)
    depth = int(_number(values[1], "depth"))
    if depth > MOST_PLACES:
        raise Mismatch(f"depth {depth:,} is too large; {MOST_PLACES:,} is the most")
    if depth < 1 or shapes[2] != (2,):
        raise Mismatch(f"depth {depth} and values {list(shapes[2])}, which must be [2]")
    return ((*shapes[0][:axis], depth, *shapes[0][axis:]),)


def reverse_sequence(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    x, lengths = shapes
    axes = attributes["batch_axis"], attributes["time_axis"]
    if len(x) < 2 or set(axes) != {0, 1}:
        raise Mismatch(f"batch_axis {axes[0]} and time_axis {axes[1]} of {list(x)} are not 0 and 1")
    if lengths != (x[axes[0]],):
        raise Mismatch(f"lengths {list(lengths)} for {x[axes[0]]} rows")
    return (x,)


def trilu(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    if len(shapes[0]) < 2:
        raise Mismatch(f"{list(shapes[0])} is no matrix")
    if len(values) > 1 and values[1] is not None:
        _number(values[1], "k")
        whole_numbers(values[1], "k")
    return (shapes[0],)


def _blocks(attributes: Attributes, x: Shape) -> tuple[int, int, int, int, int]:
    block = attributes["blocksize"]
    if len(x) != 4 or block < 1:
        raise Mismatch(f"{list(x)} in blocks of {block}; x must have four dimensions")
    return (*x, block)


def depth_to_space(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    rows, channels, height, width, block = _blocks(attributes, shapes[0])
    if channels % block**2:
        raise Mismatch(f"{channels} channels do not divide into blocks of {block}")
    return ((rows, channels // block**2, height * block, width * block),)


def space_to_depth(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    rows, channels, height, width, block = _blocks(attributes, shapes[0])
    if height % block or width % block:
        raise Mismatch(f"{height} by {width} elements do not divide into blocks of {block}")
    return ((rows, channels * block**2, height // block, width // block),)


def eye_like(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    if len(shapes[0]) != 2:
        raise Mismatch(f"{list(shapes[0])} is no matrix")
    return (shapes[0],)


def non_zero(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return ((len(shapes[0]), np.count_nonzero(values[0])),)


def compress(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    """What a vector of booleans keeps along an axis, or of all elements."""
    x, axis = shapes[0], attributes["axis"]
    if len(shapes[1]) != 1:
        raise Mismatch(f"a condition {list(shapes[1])}; it is a list")
    size = math.prod(x) if axis is None else x[axis_of(axis, len(x))]
    if shapes[1][0] > size:
        raise Mismatch(f"{shapes[1][0]} conditions for {size} elements")
    count = int(np.count_nonzero(values[1]))
    if axis is None:
        return ((count,),)
    axis = axis_of(axis, len(x))
    return ((*x[:axis], count, *x[axis + 1 :]),)
