"""Shape rules of ops that fold dimensions, or that order and accumulate along them."""

from __future__ import annotations

import numpy as np

from tinyseq.shapes.common import Attributes, Mismatch, Shape, axes_of, axis_of, whole_numbers


def reduce(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    return (_folded(shapes[0], reduce_axes(attributes, shapes, values), attributes["keepdims"]),)


def _folded(shape: Shape, axes, keepdims: int) -> Shape:
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def reduce_axes(attributes: Attributes, shapes, values) -> tuple[int, ...]:
    """The axes that a reduction folds."""
    given = values[1] if len(values) > 1 else None
    if given is None or np.size(given) == 0:
        return () if attributes["noop_with_empty_axes"] else tuple(range(len(shapes[0])))
    return axes_of(given, len(shapes[0]))


def arg_reduce(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    axis = axis_of(attributes["axis"], len(shapes[0]))
    if shapes[0][axis] == 0:
        raise Mismatch(f"axis {axis} of {list(shapes[0])} has no elements to choose from")
    return (_folded(shapes[0], (axis,), attributes["keepdims"]),)


def cumulate(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    if np.size(values[1]) != 1:
        raise Mismatch(f"{np.size(values[1])} axes where one is needed")
    axis_of(*whole_numbers(values[1], "axes"), len(shapes[0]))
    return (shapes[0],)


def top_k(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    axis = axis_of(attributes["axis"], len(shapes[0]))
    if np.size(values[1]) != 1:
        raise Mismatch(f"k holds {np.size(values[1])} elements where one is needed")
    (count,) = whole_numbers(values[1], "k")
    if not 0 <= count <= shapes[0][axis]:
        raise Mismatch(f"k={count} of the {shapes[0][axis]} elements of axis {axis}")
    shape = (*shapes[0][:axis], count, *shapes[0][axis + 1 :])
    return shape, shape


def softmax(attributes: Attributes, shapes, values) -> tuple[Shape, ...]:
    axis_of(attributes["axis"], len(shapes[0]))
    return (shapes[0],)
