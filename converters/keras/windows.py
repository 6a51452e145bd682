"""Keras' layers that slide a window over frames or pixels.

Keras has channels last, ONNX channels after the rows.
"""

from __future__ import annotations

import numpy as np
from tinyseq.converters.keras.files import Variables
from tinyseq.converters.keras.settings import Settings, Tensor, activate, one_input

from tinyseq.errors import ModelError
from tinyseq.ir.graph import Graph


def convolution(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Conv1D and Conv2D."""
    settings.expect("data_format", "channels_last", None)
    (filters,), (groups,) = settings.sizes("filters", 1), settings.sizes("groups", 1, 1)
    channels = None if inputs[0].shape[-1] is None else inputs[0].shape[-1] // groups
    kernel = settings.sizes("kernel_size", int(settings.kind[-2]))
    weights = np.moveaxis(variables.take(*kernel, channels, filters), (-1, -2), (0, 1))
    bias = variables.take(filters) if settings.get("use_bias", True) else None
    return _convolved(graph, settings, inputs, weights, bias, groups)


def depthwise(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """DepthwiseConv1D and 2D: ``depth_multiplier`` filters for each channel by itself."""
    weights, channels = _depthwise_weights(settings, variables, inputs)
    bias = variables.take(len(weights)) if settings.get("use_bias", True) else None
    return _convolved(graph, settings, inputs, weights, bias, channels)


def separable(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """SeparableConv1D and 2D: filters for each channel, then a mixture of the channels."""
    weights, channels = _depthwise_weights(settings, variables, inputs)
    (filters,), axes = settings.sizes("filters", 1), weights.ndim - 2
    mixture = variables.take(*(1,) * axes, len(weights), filters).reshape(len(weights), filters)
    bias = variables.take(filters) if settings.get("use_bias", True) else None
    function = settings.function("activation")
    (y,) = _convolved(graph, settings, inputs, weights, None, channels, activated=False)
    mixed = activate(graph, graph.dense(y.name, mixture, bias, name=settings.name), function, settings)
    return [Tensor(mixed, (*y.shape[:-1], filters))]


def _depthwise_weights(settings: Settings, variables: Variables, inputs) -> tuple[np.ndarray, int]:
    """Filters [channels * multiplier, 1, kernel...], and how many channels."""
    settings.expect("data_format", "channels_last", None)
    (multiplier,), (groups,) = settings.sizes("depth_multiplier", 1, 1), settings.sizes("groups", 1, 1)
    if groups != 1:
        raise settings.refusal(f"groups={groups}; a layer that works depthwise has as many as channels")
    kernel = settings.sizes("kernel_size", int(settings.kind[-2]))
    stored = variables.take(*kernel, inputs[0].shape[-1], multiplier)
    channels = stored.shape[-2]
    return np.moveaxis(stored, (-2, -1), (0, 1)).reshape(channels * multiplier, 1, *kernel), channels


def _convolved(graph, settings, inputs, weights, bias, groups, activated=True) -> list[Tensor]:
    """A convolution by weights [filters, channels / groups, kernel...] of ONNX."""
    axes, filters, kernel = weights.ndim - 2, weights.shape[0], weights.shape[2:]
    x = one_input(settings, inputs, axes + 2)
    strides, dilations = settings.sizes("strides", axes, 1), settings.sizes("dilation_rate", axes, 1)
    spans = [dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations)]
    padding, sizes = _padding(settings, x.shape[1:-1], spans, strides, causal=axes == 1)
    y = graph.apply(
        "Conv", _channels_first(graph, x), weights, bias, name=settings.name,
        strides=strides, dilations=dilations, group=groups, **padding,
    )  # fmt: skip
    y = _channels_last(graph, y, axes + 2)
    y = activate(graph, y, settings.function("activation"), settings) if activated else y
    return [Tensor(y, (x.shape[0], *sizes, filters))]


def pooling(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """MaxPooling and AveragePooling over 1 or 2 axes."""
    axes = int(settings.kind[-2])
    x = one_input(settings, inputs, axes + 2)
    settings.expect("data_format", "channels_last", None)
    window = settings.sizes("pool_size", axes)
    strides = window if settings.get("strides", None) is None else settings.sizes("strides", axes)
    padding, sizes = _padding(settings, x.shape[1:-1], window, strides, causal=False)
    op = "MaxPool" if settings.kind.startswith("Max") else "AveragePool"
    first = _channels_first(graph, x)
    y = graph.apply(op, first, kernel_shape=window, strides=strides, name=settings.name, **padding)
    return [Tensor(_channels_last(graph, y, axes + 2), (x.shape[0], *sizes, x.shape[-1]))]


def _padding(settings: Settings, sizes, spans, strides, causal: bool):
    """The op's padding for Keras' word for it, and the sizes of the result."""
    settings.expect("padding", "valid", "same", *(["causal"] if causal else []))
    padding = settings.config.get("padding", "valid")
    after = [
        None if size is None else -(-(size if padding != "valid" else size - span + 1) // stride)
        for size, span, stride in zip(sizes, spans, strides)
    ]
    if padding == "valid":
        return {}, after
    if padding == "causal":
        return {"pads": (spans[0] - 1, 0)}, after
    if max(strides) > 1 and None in sizes:
        return {"auto_pad": "SAME_UPPER"}, after
    wanted = [
        span - 1 if stride == 1 else max(0, (new - 1) * stride + span - size)
        for size, new, span, stride in zip(sizes, after, spans, strides)
    ]
    return {"pads": (*(total // 2 for total in wanted), *(total - total // 2 for total in wanted))}, after


def _channels_first(graph: Graph, x: Tensor) -> str:
    return graph.transpose(x.name, [0, x.rank - 1, *range(1, x.rank - 1)])


def _channels_last(graph: Graph, x: str, rank: int) -> str:
    return graph.transpose(x, [0, *range(2, rank), 1])


def global_pooling(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """GlobalMaxPooling and GlobalAveragePooling: over all axes between rows and channels."""
    x = one_input(settings, inputs, int(settings.kind[-2]) + 2)
    settings.expect("data_format", "channels_last", None)
    keep = bool(settings.get("keepdims", False))
    axes = np.arange(1, x.rank - 1)
    if x.mask is not None and settings.kind == "GlobalAveragePooling1D":
        y = _mean_of_frames(graph, x, keep)
    else:
        op = "ReduceMax" if "Max" in settings.kind else "ReduceMean"
        y = graph.apply(op, x.name, axes, keepdims=int(keep), name=settings.name)
    return [Tensor(y, (x.shape[0], *((1,) * len(axes) if keep else ()), x.shape[-1]))]


def _mean_of_frames(graph: Graph, x: Tensor, keep: bool) -> str:
    """The mean of the frames that a mask shows."""
    shown = graph.unsqueeze(x.mask, [2])
    kept = graph.apply("Where", shown, x.name, np.float32(0))
    count = graph.apply("Cast", shown, to=np.dtype(np.float32))
    total, count = (
        graph.apply("ReduceSum", part, np.array([1]), keepdims=int(keep)) for part in (kept, count)
    )
    return graph.apply("Div", total, count)


def zero_padding(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """ZeroPadding1D: frames of zeros before and after."""
    x = one_input(settings, inputs, 3)
    settings.expect("data_format", "channels_last", None)
    before, after = _sides(settings, "padding")
    y = graph.apply("Pad", x.name, np.array([0, before, 0, 0, after, 0]), name=settings.name)
    length = None if x.shape[1] is None else x.shape[1] + before + after
    return [Tensor(y, (x.shape[0], length, x.shape[2]))]


def cropping(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Cropping1D: without the first and last frames."""
    x = one_input(settings, inputs, 3)
    before, after = _sides(settings, "cropping")
    y = graph.slice(x.name, 1, before, -after if after else np.iinfo(np.int64).max)
    length = None if x.shape[1] is None else x.shape[1] - before - after
    return [Tensor(y, (x.shape[0], length, x.shape[2]))]


def _sides(settings: Settings, field: str) -> tuple[int, int]:
    value = settings.get(field)
    sides = (value, value) if isinstance(value, int) else tuple(value)
    if len(sides) != 2 or not all(type(side) is int and side >= 0 for side in sides):
        raise ModelError(f"{settings}: {field}={value!r} is not one or two numbers; the file is damaged")
    return sides


def upsampling(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """UpSampling1D: every frame several times."""
    x = one_input(settings, inputs, 3)
    (size,) = settings.sizes("size", 1)
    sizes = graph.apply("Shape", x.name)
    room = graph.concat([graph.slice(sizes, 0, 0, 2), np.array([size]), graph.slice(sizes, 0, 2, 3)], axis=0)
    repeated = graph.apply("Expand", graph.unsqueeze(x.name, [2]), room)
    y = graph.apply("Reshape", repeated, graph.mul(sizes, np.array([1, size, 1])), name=settings.name)
    return [Tensor(y, (x.shape[0], None if x.shape[1] is None else size * x.shape[1], x.shape[2]))]
