"""Lowerings of normalisations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.plan.lower.elementwise import apply
from tinyseq.plan.lower.operands import given, real, reshaped
from tinyseq.plan.lower.reduction import folded
from tinyseq.plan.view import BOOL, FLOAT, View
from tinyseq.shapes import axes_of, axis_of

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


def _centred(p: Builder, x: View, axes: list[int], epsilon: float) -> tuple[View, View, View]:
    """(x less its mean, the mean, 1 / sqrt(variance + epsilon)) over ``axes``."""
    count = math.prod(x.shape[axis] for axis in axes)
    mean = folded(p, "add", x, axes)
    mean = apply(p, "divide", mean, p.scalar(count, mean.shape))
    centred = apply(p, "subtract", x, mean.broadcast(x.shape))
    squares = folded(p, "add", apply(p, "square", centred), axes)
    variance = apply(p, "divide", squares, p.scalar(count, squares.shape))
    raised = apply(p, "add", variance, p.scalar(epsilon, variance.shape))
    return centred, mean, apply(p, "reciprocal", apply(p, "sqrt", raised))


def layer(p: Builder, node: Node, inputs, shapes) -> list[View]:
    x, scale, bias = real(p, inputs[0]), real(p, inputs[1]), given(inputs, 2)
    first = axis_of(node.attributes["axis"], len(x.shape))
    axes = list(range(first, len(x.shape)))
    centred, mean, spread = _centred(p, x, axes, node.attributes["epsilon"])
    y = apply(p, "multiply", centred, spread.broadcast(x.shape))
    y = apply(p, "multiply", y, scale.broadcast(x.shape))
    if bias is not None:
        y = apply(p, "add", y, real(p, bias).broadcast(x.shape))
    return [y, mean, spread]


def instance(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    scale, bias = (_by_channel(real(p, value), x) for value in inputs[1:3])
    axes = list(range(2, len(x.shape)))
    centred, _, spread = _centred(p, x, axes, node.attributes["epsilon"])
    return apply(p, "fma", apply(p, "multiply", centred, spread.broadcast(x.shape)), scale, bias)


def group(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    scale, bias = (_by_channel(real(p, value), x) for value in inputs[1:3])
    groups = node.attributes["num_groups"]
    parts = reshaped(p, x, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    centred, _, spread = _centred(p, parts, list(range(2, len(parts.shape))), node.attributes["epsilon"])
    y = apply(p, "multiply", centred, spread.broadcast(parts.shape))
    return apply(p, "fma", reshaped(p, y, x.shape), scale, bias)


def rms(p: Builder, node: Node, inputs, shapes) -> View:
    x, scale = real(p, inputs[0]), real(p, inputs[1])
    axes = list(range(axis_of(node.attributes["axis"], len(x.shape)), len(x.shape)))
    squares = folded(p, "add", apply(p, "square", x), axes)
    mean = apply(p, "divide", squares, p.scalar(math.prod(x.shape[axis] for axis in axes), squares.shape))
    raised = apply(p, "add", mean, p.scalar(node.attributes["epsilon"], mean.shape))
    y = apply(p, "multiply", x, apply(p, "reciprocal", apply(p, "sqrt", raised)).broadcast(x.shape))
    return apply(p, "multiply", y, scale.broadcast(x.shape))


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
