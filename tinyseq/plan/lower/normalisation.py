"""Lowerings of normalisations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import UnsupportedError
from tinyseq.plan.lower.elementwise import apply
from tinyseq.plan.lower.operands import given, real
from tinyseq.plan.lower.reduction import folded
from tinyseq.plan.view import View
from tinyseq.shapes import axis_of

if TYPE_CHECKING:
    from tinyseq.model import Node
    from tinyseq.plan.builder import Builder


def batch(p: Builder, node: Node, inputs, shapes) -> View:
    """Mean and variance are known: one multiplication and addition is left."""
    x = real(p, inputs[0])
    if not all(isinstance(array, np.ndarray) for array in inputs[1:]):
        raise UnsupportedError("statistics that are computed at run time")
    if node.attributes.get("training_mode"):
        raise UnsupportedError("training_mode is on; tinyseq runs inference")
    scale, bias, mean, variance = (array.astype(np.float64) for array in inputs[1:5])
    factor = scale / np.sqrt(variance + node.attributes["epsilon"])
    shape = (-1, *[1] * (len(x.shape) - 2))
    factors, shifts = (
        p.constant(array.astype(np.float32).reshape(shape)).broadcast(x.shape)
        for array in (factor, bias - mean * factor)
    )
    return apply(p, "fma", x, factors, shifts)


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
    scale, bias = (
        real(p, value).reshaped((x.shape[1], *[1] * (len(x.shape) - 2))).broadcast(x.shape)
        for value in inputs[1:3]
    )
    axes = list(range(2, len(x.shape)))
    centred, _, spread = _centred(p, x, axes, node.attributes["epsilon"])
    return apply(p, "fma", apply(p, "multiply", centred, spread.broadcast(x.shape)), scale, bias)


def lp(p: Builder, node: Node, inputs, shapes) -> View:
    x = real(p, inputs[0])
    axes = [axis_of(node.attributes["axis"], len(x.shape))]
    if node.attributes["p"] == 1:
        norm = folded(p, "add", apply(p, "absolute", x), axes)
    else:
        norm = apply(p, "sqrt", folded(p, "add", apply(p, "square", x), axes))
    return apply(p, "divide", x, norm.broadcast(x.shape))


LOWERINGS = {
    "BatchNormalization": batch,
    "LayerNormalization": layer,
    "InstanceNormalization": instance,
    "LpNormalization": lp,
}
