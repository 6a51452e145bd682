"""Looks: the axes of an op's inputs along which an element of its result needs more than one element, or
another one.

Every rule is ``rule(attributes, shapes, values) -> {input: axes}`` over concrete shapes and known values, as
shape rules are; inputs that it leaves out are looked at element by element. Whoever streams a tensor along
one of these axes must know what to carry from chunk to chunk.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinyseq.shapes.common import Attributes, axes_of, axis_of
from tinyseq.shapes.einsum import equation
from tinyseq.shapes.movement import pad_widths, slice_bounds
from tinyseq.shapes.reduction import reduce_axes
from tinyseq.shapes.windows import Geometry, conv_geometry, conv_transpose_geometry, pool_geometry

Looks = dict[int, Iterable[int]]


def nothing(attributes: Attributes, shapes, values) -> Looks:
    return {}


def everything(attributes: Attributes, shapes, values) -> Looks:
    return {index: range(len(shape)) for index, shape in enumerate(shapes) if shape is not None}


def one_axis(attributes: Attributes, shapes, values) -> Looks:
    """Along the attribute ``axis`` of the first input."""
    return {0: (axis_of(attributes["axis"], len(shapes[0])),)}


def every_axis(attributes: Attributes, shapes, values) -> Looks:
    """Along the attribute ``axis`` of all inputs."""
    return {index: (axis_of(attributes["axis"], len(shape)),) for index, shape in enumerate(shapes)}


def from_axis(attributes: Attributes, shapes, values) -> Looks:
    rank = len(shapes[0])
    return {0: range(axis_of(attributes["axis"], rank), rank)}


def over_axes(attributes: Attributes, shapes, values) -> Looks:
    """Along the attribute ``axes``."""
    return {0: axes_of(attributes["axes"], len(shapes[0]))}


def from_third(attributes: Attributes, shapes, values) -> Looks:
    return {0: range(2, len(shapes[0]))}


def from_second(attributes: Attributes, shapes, values) -> Looks:
    return {0: range(1, len(shapes[0]))}


def last_two(attributes: Attributes, shapes, values) -> Looks:
    return {0: range(len(shapes[0]) - 2, len(shapes[0]))}


def reduced(attributes: Attributes, shapes, values) -> Looks:
    return {0: reduce_axes(attributes, shapes, values)}


def cumulated(attributes: Attributes, shapes, values) -> Looks:
    return {0: (axis_of(int(np.ravel(values[1])[0]), len(shapes[0])),)}


ENDLESS = 2**30
"""Places from here on are beyond any end: exporters write the greatest integer where nothing is cut off."""


def cut(attributes: Attributes, shapes, values) -> Looks:
    """Where elements are left out, or would be of a longer dimension."""
    shape, bounds = shapes[0], slice_bounds(shapes[0], values)
    axes = axes_of(values[3], len(shape)) if len(values) > 3 and values[3] is not None else range(len(shape))
    limited = {axis for axis, end in zip(axes, np.ravel(values[2])) if shape[axis] < end < ENDLESS}
    return {0: [axis for axis, bound in enumerate(bounds) if bound != (0, 1, shape[axis]) or axis in limited]}


def widened(attributes: Attributes, shapes, values) -> Looks:
    widths = pad_widths(shapes[0], values)
    return {0: [axis for axis, width in enumerate(widths) if width != (0, 0)]}


def repeated(attributes: Attributes, shapes, values) -> Looks:
    return {0: [axis for axis, count in enumerate(np.ravel(values[1])) if count != 1]}


def gathered(attributes: Attributes, shapes, values) -> Looks:
    batch, places = attributes["batch_dims"], shapes[1][-1]
    return {0: range(batch, batch + places), 1: (len(shapes[1]) - 1,)}


def reversed_(attributes: Attributes, shapes, values) -> Looks:
    return {0: (attributes["time_axis"],)}


def multiplied(attributes: Attributes, shapes, values) -> Looks:
    a, b = shapes[:2]
    return {0: (len(a) - 1,), 1: (max(len(b) - 2, 0),)}


def multiplied_turned(attributes: Attributes, shapes, values) -> Looks:
    return {0: (0 if attributes["transA"] else 1,), 1: (1 if attributes["transB"] else 0,)}


def multiplied_fused(attributes: Attributes, shapes, values) -> Looks:
    """``multiplied``, the factors' last two dimensions exchanged where that is said."""
    a, b = map(len, shapes[:2])
    first = a - 2 if attributes["transA"] and a > 1 else a - 1
    second = b - 1 if attributes["transB"] and b > 1 else max(b - 2, 0)
    return {0: (first,), 1: (second,)}


def summed(attributes: Attributes, shapes, values) -> Looks:
    """Along what is summed over, and along diagonals."""
    found = equation(attributes["equation"], tuple(map(len, shapes)))
    return {
        index: [
            axis for axis, label in enumerate(labels) if label not in found.output or labels.count(label) > 1
        ]
        for index, labels in enumerate(found.inputs)
    }


def _slid(geometry: Geometry, weights: Looks) -> Looks:
    """Where windows are wider than one element, apart, or reach into padding."""
    axes = [axis for axis, each in enumerate(zip(*geometry), 2) if each != (1, 1, each[2], 0, 0)]
    return {0: [1, *axes], **weights}


def convolved(attributes: Attributes, shapes, values) -> Looks:
    return _slid(conv_geometry(attributes, *shapes[:2]), {1: range(len(shapes[1]))})


def spread(attributes: Attributes, shapes, values) -> Looks:
    geometry, _ = conv_transpose_geometry(attributes, *shapes[:2])
    return _slid(geometry, {1: range(len(shapes[1]))})


def pooled(attributes: Attributes, shapes, values) -> Looks:
    looks = _slid(pool_geometry(attributes, shapes[0]), {})
    return {0: list(looks[0])[1:]}


def recurrent(attributes: Attributes, shapes, values) -> Looks:
    """Frames and features of x, all of the weights."""
    rest = {index: range(len(shape)) for index, shape in enumerate(shapes) if shape is not None and index < 4}
    return rest | {0: (1 if attributes["layout"] else 0, 2)}
