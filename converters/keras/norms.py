"""Keras' layers that norm what they are given, along any axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tinyseq.converters.keras.files import Variables
from tinyseq.converters.keras.movements import axes_of
from tinyseq.converters.keras.operations import unit_length
from tinyseq.converters.keras.settings import Settings, Tensor, one_input

from tinyseq.errors import ModelError
from tinyseq.ir.graph import Graph


def _placed(values: Any, x: Tensor, axes: Sequence[int]) -> np.ndarray:
    """Numbers of some axes, in the dimensions of x."""
    return np.asarray(values).reshape(
        [np.shape(values)[axes.index(axis)] if axis in axes else 1 for axis in range(x.rank)]
    )


def batch_norm(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """By the mean and variance that training found, folded into one product and one sum."""
    x = one_input(settings, inputs)
    axes = axes_of(settings, settings.get("axis", -1), x.rank)
    if len(axes) != 1:
        raise settings.refusal("it norms along several axes")
    settings.expect("renorm", False)
    for field in ("momentum", "renorm_momentum", "synchronized"):
        settings.get(field, None)
    settings.called("mask")
    size = x.shape[axes[0]]
    scale = variables.take(size) if settings.get("scale", True) else np.float32(1)
    offset = variables.take(size) if settings.get("center", True) else np.float32(0)
    mean, variance = variables.take(size), variables.take(size)
    spread = variance.astype(np.float64) + settings.get("epsilon", 1e-3)
    if not np.all(spread > 0):
        raise ModelError(f"{settings}: its variance and epsilon are not positive; the file is damaged")
    factor = scale / np.sqrt(spread)
    factor, offset = (_placed(part, x, axes) for part in (factor, offset - mean * factor))
    return [Tensor(graph.add(graph.mul(x.name, factor), offset), x.shape)]


def _apart(graph: Graph, x: Tensor, axes: np.ndarray) -> tuple[str, str]:
    """x less its mean along axes, and its variance there."""
    apart = graph.apply("Sub", x.name, graph.apply("ReduceMean", x.name, axes, keepdims=1))
    return apart, graph.apply("ReduceMean", graph.mul(apart, apart), axes, keepdims=1)


def layer_norm(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Mean 0 and variance 1 along axes; with ``rms_scaling`` by the variance alone."""
    x = one_input(settings, inputs)
    axes = sorted(axes_of(settings, settings.get("axis", -1), x.rank))
    rms, sizes = settings.get("rms_scaling", False), [x.shape[axis] for axis in axes]
    scale = variables.take(*sizes) if settings.get("scale", True) or rms else None
    offset = variables.take(*sizes) if settings.get("center", True) and not rms else None
    epsilon = settings.get("epsilon", 1e-3)
    if axes == list(range(x.rank - len(axes), x.rank)) and not rms:
        scale = np.ones([size or 1 for size in sizes], np.float32) if scale is None else scale
        return [Tensor(graph.layer_norm(x.name, scale, offset, axis=-len(axes), epsilon=epsilon), x.shape)]
    apart, variance = _apart(graph, x, np.array(axes))
    length = graph.apply("Sqrt", graph.add(variance, np.float32(epsilon)))
    y = graph.apply("Div", x.name if rms else apart, length)
    y = y if scale is None else graph.mul(y, _placed(scale, x, axes))
    return [Tensor(y if offset is None else graph.add(y, _placed(offset, x, axes)), x.shape)]


def group_norm(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Mean 0 and variance 1 within groups of channels."""
    x = one_input(settings, inputs)
    (axis,) = axes_of(settings, settings.get("axis", -1), x.rank)
    size, groups = x.shape[axis], settings.get("groups", 32)
    if size is None or axis == 0:
        raise settings.refusal("it norms an axis of an open size, or the rows")
    groups = size if groups == -1 else groups
    scale = variables.take(size) if settings.get("scale", True) else np.ones(size, np.float32)
    offset = variables.take(size) if settings.get("center", True) else np.zeros(size, np.float32)
    order = [0, axis, *(other for other in range(1, x.rank) if other != axis)]
    first = graph.transpose(x.name, order)
    y = graph.apply(
        "GroupNormalization", first, scale, offset, num_groups=groups,
        epsilon=float(settings.get("epsilon", 1e-3)), name=settings.name,
    )  # fmt: skip
    return [Tensor(graph.transpose(y, [order.index(other) for other in range(x.rank)]), x.shape)]


def normalization(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """``(x - mean) / max(sqrt(variance), 1e-7)`` along axes, or the inverse of it."""
    x = one_input(settings, inputs)
    kept = settings.get("axis", -1)
    axes = sorted(axes_of(settings, kept, x.rank)) if kept is not None else []
    sizes = [x.shape[axis] for axis in axes]
    mean, variance = settings.get("mean", None), settings.get("variance", None)
    if mean is None or variance is None:
        mean, variance = variables.take(*sizes), variables.take(*sizes)
        variables.take()  # how many examples it has seen
    mean, variance = (_spread(settings, values, x, axes) for values in (mean, variance))
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    if settings.get("invert", False):
        return [Tensor(graph.add(graph.mul(x.name, deviation), mean), x.shape)]
    return [Tensor(graph.mul(graph.add(x.name, -mean), 1 / deviation), x.shape)]


def _spread(settings: Settings, values: Any, x: Tensor, axes: Sequence[int]) -> np.ndarray:
    """Means or variances in the dimensions of x; one number is for all."""
    array = np.asarray(values, np.float64)
    if array.size == 1:
        return array.reshape(())
    wanted = [x.shape[axis] if axis in axes else 1 for axis in range(x.rank)]
    if array.size != np.prod([size or 1 for size in wanted]):
        raise settings.refusal(f"its means and variances {list(array.shape)} are not those of its axes")
    return array.reshape([size or 1 for size in wanted])


def unit_norm(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """``x`` divided by its length along axes, which is at least 1e-6, in Keras 3 at least 1e-12."""
    x = one_input(settings, inputs)
    least = 1e-12 if settings.keras2 else 1e-24
    return [unit_length(graph, x, axes_of(settings, settings.get("axis", -1), x.rank), least)]


def rms_norm(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """``x / sqrt(mean(x * x) + epsilon) * scale`` along axes."""
    x = one_input(settings, inputs)
    axes = sorted(axes_of(settings, settings.get("axis", -1), x.rank))
    mean = graph.apply("ReduceMean", graph.mul(x.name, x.name), np.array(axes), keepdims=1)
    length = graph.apply("Sqrt", graph.add(mean, np.float32(settings.get("epsilon", 1e-6))))
    scale = variables.take(*(x.shape[axis] for axis in axes))
    return [Tensor(graph.mul(graph.apply("Div", x.name, length), _placed(scale, x, axes)), x.shape)]
