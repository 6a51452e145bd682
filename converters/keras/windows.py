"""Keras' layers that slide a window over frames or pixels.

Keras has channels last or, where a layer says so, after the rows, as ONNX has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tinyseq.converters.keras.files import Variables
from tinyseq.converters.keras.settings import Settings, Tensor, activate, one_input

from tinyseq.common.given import is_whole
from tinyseq.errors import ModelError
from tinyseq.ir.graph import Graph


def channels_first(settings: Settings) -> bool:
    """Whether a layer has the channels after the rows."""
    settings.expect("data_format", "channels_last", "channels_first", None)
    return settings.config.get("data_format") == "channels_first"


@dataclass(frozen=True, slots=True)
class Field:
    """What a window slides over: a tensor [rows, channels, sizes...], made of one with the channels where
    ``first`` says."""

    graph: Graph
    name: str
    rows: int | None
    channels: int | None
    sizes: tuple[int | None, ...]
    first: bool

    @classmethod
    def of(cls, graph: Graph, settings: Settings, x: Tensor) -> Field:
        """The field that a layer's input is."""
        if channels_first(settings):
            return cls(graph, x.name, x.shape[0], x.shape[1], x.shape[2:], True)
        name = graph.transpose(x.name, [0, x.rank - 1, *range(1, x.rank - 1)])
        return cls(graph, name, x.shape[0], x.shape[-1], x.shape[1:-1], False)

    def result(self, y: str, sizes: Sequence[int | None], channels: int | None) -> Tensor:
        """What a layer made of it, the channels where the input had them."""
        if self.first:
            return Tensor(y, (self.rows, channels, *sizes))
        y = self.graph.transpose(y, [0, *range(2, len(sizes) + 2), 1])
        return Tensor(y, (self.rows, *sizes, channels))


def _dimensions(settings: Settings) -> int:
    """How many axes a window slides along, by the name of the class."""
    return int(next(letter for letter in settings.kind if letter.isdigit()))


def convolution(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Conv1D and Conv2D."""
    axes = _dimensions(settings)
    field = Field.of(graph, settings, one_input(settings, inputs, axes + 2))
    (filters,), (groups,) = settings.sizes("filters", 1), settings.sizes("groups", 1, 1)
    channels = None if field.channels is None else field.channels // groups
    kernel = settings.sizes("kernel_size", axes)
    weights = np.moveaxis(variables.take(*kernel, channels, filters), (-1, -2), (0, 1))
    bias = variables.take(filters) if settings.get("use_bias", True) else None
    return [_activated(graph, settings, _convolved(graph, settings, field, weights, bias, groups))]


def _activated(graph: Graph, settings: Settings, y: Tensor) -> Tensor:
    return Tensor(activate(graph, y.name, settings.function("activation"), settings), y.shape)


def transposed(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Conv1DTranspose and Conv2DTranspose."""
    axes = _dimensions(settings)
    field = Field.of(graph, settings, one_input(settings, inputs, axes + 2))
    settings.expect("groups", 1)
    settings.expect("padding", "valid", "same")
    (filters,), kernel = settings.sizes("filters", 1), settings.sizes("kernel_size", axes)
    weights = np.moveaxis(variables.take(*kernel, filters, field.channels), (-1, -2), (0, 1))
    bias = variables.take(filters) if settings.get("use_bias", True) else None
    strides, dilations = settings.sizes("strides", axes, 1), settings.sizes("dilation_rate", axes, 1)
    more = settings.get("output_padding", None)
    more = [more] * axes if more is None or is_whole(more) else list(more)
    before, after, sizes = [], [], []
    for size, span, stride, dilation, extra in zip(field.sizes, kernel, strides, dilations, more):
        span = (span - 1) * dilation + 1
        if settings.config.get("padding") == "same":
            # Of the whole (size - 1) * stride + span, what is cut off before; the rest is after.
            total = stride + span - 2 if extra is None else span + span % 2 - 2 + extra
            start = span - 1 - min(total // 2 + total % 2, span - 1)
            end = span - 1 - (total - (span - 1 - start))
        else:
            start, end = 0, -(max(0, stride - span) if extra is None else extra)
        before.append(start)
        after.append(end)
        sizes.append(None if size is None else (size - 1) * stride + span - start - end)
    pads, added = [*before, *(max(0, end) for end in after)], [max(0, -end) for end in after]
    y = graph.apply(
        "ConvTranspose", field.name, weights, bias, name=settings.name,
        strides=strides, dilations=dilations, pads=tuple(pads), output_padding=tuple(added),
    )  # fmt: skip
    return [_activated(graph, settings, field.result(y, sizes, filters))]


def depthwise(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """DepthwiseConv1D and 2D: ``depth_multiplier`` filters for each channel by itself."""
    field = Field.of(graph, settings, one_input(settings, inputs, _dimensions(settings) + 2))
    weights, channels = _depthwise_weights(settings, variables, field)
    bias = variables.take(len(weights)) if settings.get("use_bias", True) else None
    return [_activated(graph, settings, _convolved(graph, settings, field, weights, bias, channels))]


def separable(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """SeparableConv1D and 2D: filters for each channel, then a mixture of the channels."""
    axes = _dimensions(settings)
    field = Field.of(graph, settings, one_input(settings, inputs, axes + 2))
    weights, channels = _depthwise_weights(settings, variables, field)
    (filters,) = settings.sizes("filters", 1)
    mixture = variables.take(*(1,) * axes, len(weights), filters).reshape(len(weights), filters)
    bias = variables.take(filters) if settings.get("use_bias", True) else None
    y = _convolved(graph, settings, field, weights, None, channels)
    if field.first:
        kernel = mixture.T.reshape(filters, len(weights), *(1,) * axes)
        mixed = Tensor(graph.apply("Conv", y.name, kernel, bias), (y.shape[0], filters, *y.shape[2:]))
    else:
        mixed = Tensor(graph.dense(y.name, mixture, bias, name=settings.name), (*y.shape[:-1], filters))
    return [_activated(graph, settings, mixed)]


def _depthwise_weights(settings: Settings, variables: Variables, field: Field) -> tuple[np.ndarray, int]:
    """Filters [channels * multiplier, 1, kernel...], and how many channels."""
    (multiplier,), (groups,) = settings.sizes("depth_multiplier", 1, 1), settings.sizes("groups", 1, 1)
    if groups != 1:
        raise settings.refusal(f"groups={groups}; a layer that works depthwise has as many as channels")
    settings.get("filters", None)
    kernel = settings.sizes("kernel_size", _dimensions(settings))
    stored = variables.take(*kernel, field.channels, multiplier)
    channels = stored.shape[-2]
    return np.moveaxis(stored, (-2, -1), (0, 1)).reshape(channels * multiplier, 1, *kernel), channels


def _convolved(graph, settings, field, weights, bias, groups) -> Tensor:
    """A convolution by weights [filters, channels / groups, kernel...] of ONNX."""
    axes, filters, kernel = weights.ndim - 2, weights.shape[0], weights.shape[2:]
    strides, dilations = settings.sizes("strides", axes, 1), settings.sizes("dilation_rate", axes, 1)
    spans = [dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations)]
    padding, sizes = _padding(settings, field.sizes, spans, strides, causal=axes == 1)
    y = graph.apply(
        "Conv", field.name, weights, bias, name=settings.name,
        strides=strides, dilations=dilations, group=groups, **padding,
    )  # fmt: skip
    return field.result(y, sizes, filters)


def pooling(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """MaxPooling and AveragePooling over 1 or 2 axes."""
    axes = _dimensions(settings)
    field = Field.of(graph, settings, one_input(settings, inputs, axes + 2))
    window = settings.sizes("pool_size", axes)
    strides = window if settings.get("strides", None) is None else settings.sizes("strides", axes)
    padding, sizes = _padding(settings, field.sizes, window, strides, causal=False)
    op = "MaxPool" if settings.kind.startswith("Max") else "AveragePool"
    y = graph.apply(op, field.name, kernel_shape=window, strides=strides, name=settings.name, **padding)
    return [field.result(y, sizes, field.channels)]


def _padding(settings: Settings, sizes, spans, strides, causal: bool):
    """The op's padding for Keras' word for it, and the sizes of the result."""
    settings.expect("padding", "valid", "same", *(["causal"] if causal else []))
    after = sizes_after(settings, sizes, spans, strides)
    if settings.config.get("padding") == "causal":
        return {"pads": (spans[0] - 1, 0)}, after
    return same_padding(settings, sizes, after, spans, strides), after


def sizes_after(settings: Settings, sizes, spans, strides) -> list[int | None]:
    """The sizes of what a window of ``spans`` gives that moves by ``strides``."""
    valid = settings.config.get("padding", "valid") == "valid"
    return [
        None if size is None else -(-(size - span + 1 if valid else size) // stride)
        for size, span, stride in zip(sizes, spans, strides)
    ]


def same_padding(settings: Settings, sizes, after, spans, strides) -> dict[str, Any]:
    """The op's padding, where it is all that the result's sizes ask for, or none."""
    if settings.config.get("padding", "valid") == "valid":
        return {}
    if any(stride > 1 and size is None for size, stride in zip(sizes, strides)):
        return {"auto_pad": "SAME_UPPER"}
    wanted = [
        span - 1 if stride == 1 else max(0, (new - 1) * stride + span - size)
        for size, new, span, stride in zip(sizes, after, spans, strides)
    ]
    return {"pads": (*(total // 2 for total in wanted), *(total - total // 2 for total in wanted))}


def global_pooling(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """GlobalMaxPooling and GlobalAveragePooling: over all axes but rows and channels."""
    x = one_input(settings, inputs, _dimensions(settings) + 2)
    first, keep = channels_first(settings), bool(settings.get("keepdims", False))
    axes = np.arange(2, x.rank) if first else np.arange(1, x.rank - 1)
    if x.mask is not None and settings.kind == "GlobalAveragePooling1D":
        y = _mean_of_frames(graph, x, int(axes[0]), keep)
    else:
        op = "ReduceMax" if "Max" in settings.kind else "ReduceMean"
        y = graph.apply(op, x.name, axes, keepdims=int(keep), name=settings.name)
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape) if keep or axis not in axes]
    return [Tensor(y, tuple(shape))]


def _mean_of_frames(graph: Graph, x: Tensor, axis: int, keep: bool) -> str:
    """The mean of the frames that a mask shows."""
    shown = graph.unsqueeze(x.mask, [3 - axis])
    kept = graph.apply("Where", shown, x.name, np.float32(0))
    count = graph.apply("Cast", shown, to=np.dtype(np.float32))
    total, count = (
        graph.apply("ReduceSum", part, np.array([axis]), keepdims=int(keep)) for part in (kept, count)
    )
    return graph.apply("Div", total, count)


def zero_padding(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """ZeroPadding1D to 3D: zeros before and after."""
    x, sides = _sides(settings, inputs, "padding")
    before, after = ([pair[way] for pair in sides] for way in (0, 1))
    y = graph.apply("Pad", x.name, np.array([*before, *after]), name=settings.name)
    shape = [None if size is None else size + b + a for size, b, a in zip(x.shape, before, after)]
    return [Tensor(y, tuple(shape))]


def cropping(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Cropping1D to 3D: without what is first and last."""
    x, sides = _sides(settings, inputs, "cropping")
    name, shape = x.name, []
    for axis, (size, (before, after)) in enumerate(zip(x.shape, sides)):
        if before or after:
            name = graph.slice(name, axis, before, -after if after else np.iinfo(np.int64).max)
        shape.append(None if size is None else size - before - after)
    return [Tensor(name, tuple(shape), x.dtype)]


def _sides(settings: Settings, inputs: Sequence[Tensor], field: str) -> tuple[Tensor, list[tuple[int, int]]]:
    """The input, and of each of its axes how much is added or taken at either side."""
    axes = _dimensions(settings)
    x = one_input(settings, inputs, axes + 2)
    first, value = channels_first(settings), settings.get(field)
    if axes == 1:
        value = [value]
    entries: list[Any] = [value] * axes if is_whole(value) else list(value)
    pairs = [(entry, entry) if is_whole(entry) else tuple(entry) for entry in entries]
    wrong = any(len(pair) != 2 or not all(is_whole(side) and side >= 0 for side in pair) for pair in pairs)
    if len(pairs) != axes or wrong:
        raise ModelError(f"{settings}: {field}={value!r} is not one or two numbers an axis; it is damaged")
    return x, [(0, 0), (0, 0), *pairs] if first else [(0, 0), *pairs, (0, 0)]


def upsampling(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """UpSampling1D to 3D: every frame or pixel several times."""
    axes = _dimensions(settings)
    x = one_input(settings, inputs, axes + 2)
    settings.expect("interpolation", "nearest")
    factors = list(settings.sizes("size", axes))
    factors = [1, 1, *factors] if channels_first(settings) else [1, *factors, 1]
    sizes = graph.apply("Shape", x.name)
    name = x.name
    parts: list[Any] = []
    for axis, factor in reversed(list(enumerate(factors))):
        parts.insert(0, graph.slice(sizes, 0, axis, axis + 1))
        if factor > 1:
            name = graph.unsqueeze(name, [axis + 1])
            parts.insert(1, np.array([factor]))
    repeated = graph.apply("Expand", name, graph.concat(parts, axis=0))
    y = graph.apply("Reshape", repeated, graph.mul(sizes, np.array(factors)), name=settings.name)
    shape = [None if size is None else size * factor for size, factor in zip(x.shape, factors)]
    return [Tensor(y, tuple(shape), x.dtype)]
