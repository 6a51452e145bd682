"""Lowerings of normalisations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.plan.lower.elementwise import apply
from tinyseq.plan.lower.operands import along, as_rows, given, real, reshaped
from tinyseq.plan.lower.reduction import folded
from tinyseq.plan.view import BOOL, FLOAT, View
from tinyseq.shapes import axes_of, axis_of, broadcast_shapes

if TYPE_CHECKING:
    from tinyseq.ir.model import Node
    from tinyseq.plan.builder import Builder


def batch(p: Builder, node: Node, inputs, shapes) -> View:
    """One multiplication and addition by what is worked out for each channel, now if all of it is known."""
    x, epsilon = real(p, inputs[0]), node.attributes["epsilon"]
    if all(isinstance(array, np.ndarray) for array in inputs[1:]):
        scale, bias, mean, variance = (array.astype(np.float64) for array in inputs[1:])
        factor = scale / np.sqrt(variance + epsilon)
        factors, shifts = (p.constant(a.astype(np.float32)) for a in (factor, bias - mean * factor))
    else:
        scale, bias, mean, variance = (real(p, value) for value in inputs[1:])
        deviation = apply(p, "sqrt", apply(p, "add", variance, p.scalar(epsilon, variance.shape)))
        factors = apply(p, "divide", scale, deviation)
        shifts = apply(p, "subtract", bias, apply(p, "multiply", mean, factors))
    return apply(p, "fma", x, _by_channel(factors, x), _by_channel(shifts, x))


def _by_channel(vector: View, x: View) -> View:
    """A vector over the channels of x[N, C, ...], spread to x's shape."""
    return vector.reshaped((x.shape[1], *[1] * (len(x.shape) - 2))).broadcast(x.shape)


def _normalised(
    p: Builder,
    node: Node,
    x: View,
    first: int,
    scale: View | None = None,
    bias: View | None = None,
    centred: bool = True,
) -> list[View]:
    """[x normalised over its axes from ``first`` on, the means, 1 / sqrt(variance + epsilon)]: times
    ``scale`` and plus ``bias``, whose shapes extend to that of these axes; the mean is 0 unless ``centred``.
    """
    kept, own = x.shape[:first], x.shape[first:]
    rows, count = math.prod(kept), math.prod(own)
    factors, shifts = _term(p, scale, own, 1), _term(p, bias, own, 0)
    source = as_rows(p, x, rows, count)
    y, statistics = p.allocate(x.shape), p.allocate((2, *kept, *[1] * len(own)))
    if rows:
        epsilon = p.scalar(node.attributes["epsilon"], (1,))
        sizes = rows, source.strides[0], count
        p.emit("normalise", source, *sizes, epsilon, factors, shifts, y, statistics, int(centred))
    return [y, *(along(statistics, 0, part, 1).reshaped(statistics.shape[1:]) for part in range(2))]


def _term(p: Builder, view: View | None, own: tuple[int, ...], otherwise: float) -> View:
    """A scale or bias for each element of a row, dense."""
    count = math.prod(own)
    if view is None:
        return p.constant(np.full(count, otherwise, np.float32))
    return p.dense(view.broadcast(own)).reshaped((count,))


def layer(p: Builder, node: Node, inputs, shapes, centred: bool = True) -> list[View]:
    """Scale and bias may be of more dimensions than are normalised over, and larger: such come afterwards."""
    x, bias = real(p, inputs[0]), given(inputs, 2)
    first = axis_of(node.attributes["axis"], len(x.shape))
    scale, bias = ((value, None if value is None else real(p, value)) for value in (inputs[1], bias))
    factors = _of_rows(p, *scale, x.shape[first:])
    shifts = None if factors is None else _of_rows(p, *bias, x.shape[first:])
    y, *statistics = _normalised(p, node, x, first, factors, shifts, centred)
    if factors is None:
        y = _broadcast(p, "multiply", y, scale[1])
    if bias[1] is not None and shifts is None:
        y = _broadcast(p, "add", y, bias[1])
    return [y, *statistics]


def _of_rows(p: Builder, value, view: View | None, own: tuple[int, ...]) -> View | None:
    """A scale or bias as one of each row; None where it is not. Of one that is no constant of the model its
    rank alone decides: how many rows there are changes no bit."""
    before = 0 if view is None else max(len(view.shape) - len(own), 0)
    if before and not (
        isinstance(value, np.ndarray) and p.owns(value) and math.prod(view.shape[:before]) == 1
    ):
        return None
    view = view and view.reshaped(view.shape[before:])
    return view if view is not None and broadcast_shapes(view.shape, own) == own else None


def _broadcast(p: Builder, function: str, a: View, b: View) -> View:
    shape = broadcast_shapes(a.shape, b.shape)
    return apply(p, function, a.broadcast(shape), b.broadcast(shape))


def instance(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    scale, bias = (_by_channel(real(p, value), x) for value in inputs[1:3])
    return apply(p, "fma", _normalised(p, node, x, 2)[0], scale, bias)


def group(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    scale, bias = (_by_channel(real(p, value), x) for value in inputs[1:3])
    groups = node.attributes["num_groups"]
    parts = reshaped(p, x, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    return apply(p, "fma", reshaped(p, _normalised(p, node, parts, 2)[0], x.shape), scale, bias)


def rms(p: Builder, node: Node, inputs, shapes) -> View:
    return layer(p, node, inputs, shapes, centred=False)[0]


def mean_variance(p: Builder, node: Node, inputs, shapes) -> View:
    """The deviation is raised, not the variance."""
    x = real(p, inputs[0])
    axes = axes_of(node.attributes["axes"], len(x.shape))
    count = math.prod(x.shape[axis] for axis in axes)
    mean = folded(p, "add", x, axes)
    mean = apply(p, "divide", mean, p.scalar(count, mean.shape))
    centred = apply(p, "subtract", x, mean.broadcast(x.shape))
    squares = folded(p, "add", apply(p, "square", centred), axes)
    deviation = apply(p, "sqrt", apply(p, "divide", squares, p.scalar(count, squares.shape)))
    raised = apply(p, "add", deviation, p.scalar(1e-9, deviation.shape))
    return apply(p, "divide", centred, raised.broadcast(x.shape))


def lp(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    axes = [axis_of(node.attributes["axis"], len(x.shape))]
    if node.attributes["p"] == 1:
        norm = folded(p, "add", apply(p, "absolute", x), axes)
    else:
        norm = apply(p, "sqrt", folded(p, "add", apply(p, "square", x), axes))
    # What has no length stays zero.
    none = apply(p, "equal", norm, p.scalar(0, norm.shape), dtype=BOOL)
    norm = apply(p, "where", none, p.scalar(1, norm.shape), norm, dtype=FLOAT)
    return apply(p, "divide", x, norm.broadcast(x.shape))


LOWERINGS = {
    "BatchNormalization": batch,
    "LayerNormalization": layer,
    "InstanceNormalization": instance,
    "GroupNormalization": group,
    "RMSNormalization": rms,
    "MeanVarianceNormalization": mean_variance,
    "LpNormalization": lp,
}
