"""Keras' layers: each class as a function that adds it to a graph.

The formulas are those of Keras' documentation. Recurrent layers, attention, and those that slide a window
have modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import numpy as np
from tinyseq.converters.keras import attention, masks, recurrent, windows
from tinyseq.converters.keras.files import Variables
from tinyseq.converters.keras.settings import Settings, Tensor, activate, one_input

from tinyseq.errors import ModelError
from tinyseq.ir.graph import Graph

Builder = Callable[[Graph, Settings, Variables, Sequence[Tensor]], list[Tensor]]


def dense(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """``activation(x @ kernel + bias)`` over the last axis."""
    x = one_input(settings, inputs)
    (units,) = settings.sizes("units", 1)
    kernel = variables.take(x.shape[-1], units)
    bias = variables.take(units) if settings.get("use_bias", True) else None
    y = graph.dense(x.name, kernel, bias, name=settings.name)
    return [Tensor(activate(graph, y, settings.function("activation"), settings), (*x.shape[:-1], units))]


def embedding(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Rows of a table; floating indices lose their fractions. ``mask_zero`` makes index 0 padding."""
    x = one_input(settings, inputs)
    (width,) = settings.sizes("output_dim", 1)
    table = variables.take(settings.get("input_dim"), width)
    indices = x.name if x.whole else graph.apply("Cast", x.name, to=np.dtype(np.int64))
    mask = masks.of_zeros(graph, indices) if settings.get("mask_zero", False) else None
    return [Tensor(graph.embedding(indices, table, name=settings.name), (*x.shape, width), mask=mask)]


def _last_axis(settings: Settings, x: Tensor) -> None:
    axis = settings.get("axis", -1)
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    if len(axes) != 1 or axes[0] not in (-1, x.rank - 1):
        raise settings.refusal(f"axis={axis!r} of {x.rank} dimensions; tinyseq takes the last")


def batch_norm(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """By the mean and variance that training found, folded into one product and one sum."""
    x = one_input(settings, inputs)
    _last_axis(settings, x)
    settings.expect("renorm", False)
    settings.expect("synchronized", False)
    for field in ("momentum", "renorm_momentum"):
        settings.get(field, None)
    size = x.shape[-1]
    scale = variables.take(size) if settings.get("scale", True) else np.float32(1)
    offset = variables.take(size) if settings.get("center", True) else np.float32(0)
    mean, variance = variables.take(size), variables.take(size)
    spread = variance.astype(np.float64) + settings.get("epsilon", 1e-3)
    if not np.all(spread > 0):
        raise ModelError(f"{settings}: its variance and epsilon are not positive; the file is damaged")
    factor = scale / np.sqrt(spread)
    y = graph.add(graph.mul(x.name, factor), offset - mean * factor)
    return [Tensor(y, x.shape)]


def layer_norm(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = one_input(settings, inputs)
    _last_axis(settings, x)
    settings.expect("rms_scaling", False)
    size = x.shape[-1]
    scale = variables.take(size) if settings.get("scale", True) else np.ones(size or 1, np.float32)
    offset = variables.take(size) if settings.get("center", True) else None
    y = graph.layer_norm(x.name, scale, offset, epsilon=settings.get("epsilon", 1e-3))
    return [Tensor(y, x.shape)]


def merge(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Add, Multiply, Average, Maximum, Minimum, Subtract of tensors of one rank."""
    if len(inputs) < 2 or len({tensor.rank for tensor in inputs}) > 1:
        raise settings.refusal("it merges tensors of several ranks, or only one")
    mask = masks.merged(graph, settings, inputs)
    op = {"Multiply": "Mul", "Subtract": "Sub", "Maximum": "Max", "Minimum": "Min"}.get(settings.kind, "Add")
    y, *rest = (tensor.name for tensor in inputs)
    for other in rest:
        y = graph.apply(op, y, other, name=settings.name)
    if settings.kind == "Average":
        y = graph.mul(y, 1 / len(inputs))
    shape = [next((size for size in sizes if size != 1), 1) for sizes in zip(*(t.shape for t in inputs))]
    return [Tensor(y, tuple(shape), mask=mask)]


def concatenate(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    axis = settings.get("axis", -1) % inputs[0].rank
    sizes = [tensor.shape[axis] for tensor in inputs]
    shape = list(inputs[0].shape)
    shape[axis] = None if None in sizes else sum(sizes)
    y = graph.concat([tensor.name for tensor in inputs], axis=axis)
    return [Tensor(y, tuple(shape), mask=masks.concatenated(graph, settings, inputs, axis))]


def dot(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """The products of two tensors along an axis of each, which may be normed to length 1 before."""
    settings.expect("normalize", False)
    axes = settings.get("axes")
    left, right = (axes, axes) if isinstance(axes, int) else axes
    if len(inputs) != 2 or any(tensor.rank not in (2, 3) for tensor in inputs):
        raise settings.refusal("it takes two tensors of 2 or 3 dimensions")
    names, shapes = [], []
    for tensor, axis, last in zip(inputs, (left, right), (True, False)):
        axis %= tensor.rank
        order = [0, *(other for other in range(1, tensor.rank) if other != axis)]
        order.insert(len(order) if last else 1, axis)
        name, shape = graph.transpose(tensor.name, order), tuple(tensor.shape[other] for other in order)
        if tensor.rank == 2:
            name = graph.unsqueeze(name, [1 if last else 2])
        names.append(name)
        shapes.append(shape[1:-1] if last else shape[2:])
    y = graph.apply("MatMul", *names, name=settings.name)
    alone = [axis for axis, tensor in zip((1, 2), inputs) if tensor.rank == 2]
    free = (*shapes[0], *shapes[1])
    if len(alone) == 2:
        return [Tensor(graph.squeeze(y, [2]), (inputs[0].shape[0], 1))]
    y = graph.squeeze(y, alone) if alone else y
    return [Tensor(y, (inputs[0].shape[0], *free))]


def reshape(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = one_input(settings, inputs)
    target = list(settings.get("target_shape"))
    if -1 in target and None not in x.shape[1:]:
        target[target.index(-1)] = prod(x.shape[1:]) // -prod(target)
    shape = tuple(None if size == -1 else size for size in target)
    return [Tensor(graph.reshape(x.name, [0, *target]), (x.shape[0], *shape))]


def flatten(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = one_input(settings, inputs)
    settings.expect("data_format", "channels_last", None)
    size = None if None in x.shape[1:] else prod(x.shape[1:])
    return [Tensor(graph.apply("Flatten", x.name, axis=1), (x.shape[0], size))]


def permute(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = one_input(settings, inputs)
    order = [0, *settings.get("dims")]
    return [Tensor(graph.transpose(x.name, order), tuple(x.shape[axis] for axis in order))]


def repeat(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = one_input(settings, inputs, 2)
    (count,) = settings.sizes("n", 1)
    y = graph.apply("Expand", graph.unsqueeze(x.name, [1]), np.array([1, count, 1]), name=settings.name)
    return [Tensor(y, (x.shape[0], count, x.shape[1]))]


def activation(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = one_input(settings, inputs)
    return [Tensor(activate(graph, x.name, settings.function("activation"), settings), x.shape)]


def relu(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """The layer ReLU: x between threshold and ceiling; slope * (x - threshold) below."""
    x = one_input(settings, inputs)
    top, slope, threshold = (settings.get(f, None) for f in ("max_value", "negative_slope", "threshold"))
    if not slope and not threshold:
        y = graph.relu(x.name)
    else:
        threshold = np.float32(threshold or 0)
        low = graph.apply("Less", x.name, threshold)
        falling = graph.mul(graph.apply("Sub", x.name, threshold), np.float32(slope or 0))
        y = graph.apply("Where", low, falling, x.name)
    return [Tensor(y if top is None else graph.apply("Min", y, np.float32(top)), x.shape)]


def prelu(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """A learned slope below zero, one for each place or shared along axes."""
    x = one_input(settings, inputs)
    shared = settings.get("shared_axes", None) or ()
    shape = [1 if axis in shared else size for axis, size in enumerate(x.shape) if axis]
    return [Tensor(graph.apply("PRelu", x.name, variables.take(*shape)), x.shape)]


def thresholded(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Keras 2's ThresholdedReLU."""
    x = one_input(settings, inputs)
    return [Tensor(graph.apply("ThresholdedRelu", x.name, alpha=float(settings.get("theta"))), x.shape)]


def rescaling(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """``x * scale + offset``."""
    x = one_input(settings, inputs)
    scale, offset = (np.asarray(settings.get(field), np.float32) for field in ("scale", "offset"))
    return [Tensor(graph.add(graph.mul(x.name, scale), offset), x.shape)]


def normalization(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """``(x - mean) / max(sqrt(variance), 1e-7)`` over the last axis, or the inverse of it."""
    x = one_input(settings, inputs)
    _last_axis(settings, x)
    mean, variance = settings.get("mean", None), settings.get("variance", None)
    if mean is None or variance is None:
        mean, variance = variables.take(x.shape[-1]), variables.take(x.shape[-1])
        variables.take()  # how many examples it has seen
    mean = np.asarray(mean, np.float64).reshape(-1)
    spread = np.maximum(np.sqrt(np.asarray(variance, np.float64).reshape(-1)), 1e-7)
    if settings.get("invert", False):
        return [Tensor(graph.add(graph.mul(x.name, spread), mean), x.shape)]
    return [Tensor(graph.mul(graph.add(x.name, -mean), 1 / spread), x.shape)]


def unit_norm(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """``x / sqrt(max(sum(x * x), 1e-12))`` over the last axis."""
    x = one_input(settings, inputs)
    _last_axis(settings, x)
    total = graph.apply("ReduceSumSquare", x.name, np.array([-1]), keepdims=1)
    length = graph.apply("Sqrt", graph.apply("Max", total, np.float32(1e-12)))
    return [Tensor(graph.apply("Div", x.name, length), x.shape)]


def rms_norm(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """``x / sqrt(mean(x * x) + epsilon) * scale`` over the last axis."""
    x = one_input(settings, inputs)
    _last_axis(settings, x)
    mean = graph.apply("ReduceMean", graph.mul(x.name, x.name), np.array([-1]), keepdims=1)
    length = graph.apply("Sqrt", graph.add(mean, np.float32(settings.get("epsilon", 1e-6))))
    y = graph.apply("Div", x.name, length)
    return [Tensor(graph.mul(y, variables.take(x.shape[-1])), x.shape)]


def sloped(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """LeakyReLU and ELU; Keras 3 calls LeakyReLU's slope ``negative_slope``."""
    x = one_input(settings, inputs)
    op, field = ("Elu", "alpha") if settings.kind == "ELU" else ("LeakyRelu", "negative_slope")
    slope = settings.get(field if field in settings.config else "alpha")
    return [Tensor(graph.apply(op, x.name, alpha=float(slope)), x.shape)]


def softmax(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = one_input(settings, inputs)
    if x.mask is not None:
        raise settings.refusal("it gives nothing to what a mask hides, which tinyseq does not do")
    return [Tensor(graph.softmax(x.name, settings.get("axis", -1)), x.shape)]


def nothing(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Layers that only act in training."""
    for field in ("rate", "stddev", "l1", "l2"):
        settings.get(field, None)
    return [one_input(settings, inputs)]


POINTWISE = ("Dense", "Activation", "Dropout", "ReLU", "LeakyReLU", "ELU", "Identity", "Rescaling")
"""Layers that treat every frame alike already."""


def time_distributed(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """A layer applied to every frame: to rows and frames together as rows, unless it is the same anyway."""
    (x,) = inputs
    inner = settings.get("layer")
    kind = inner.get("class_name")
    if kind not in LAYERS:
        raise settings.refusal(f"it wraps a {kind}; tinyseq takes {', '.join(sorted(LAYERS))}")
    own = Settings(kind, inner["config"], settings.version)
    add = partial(LAYERS[kind], graph, own, variables.child("layer"))
    if kind in POINTWISE:
        results = add(inputs)
    else:
        sizes = graph.apply("Shape", x.name)
        features = graph.slice(sizes, 0, 2, x.rank)
        rows = graph.apply("Reshape", x.name, graph.concat([np.array([-1]), features], axis=0))
        (y,) = add([Tensor(rows, (None, *x.shape[2:]))])
        outer = graph.slice(sizes, 0, 0, 2)
        inside = graph.slice(graph.apply("Shape", y.name), 0, 1, y.rank)
        back = graph.apply("Reshape", y.name, graph.concat([outer, inside], axis=0))
        results = [Tensor(back, (*x.shape[:2], *y.shape[1:]))]
    own.finish()
    return results


LAYERS: dict[str, Builder] = {
    **dict.fromkeys(recurrent.KINDS, recurrent.recurrent),
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), merge),
    **dict.fromkeys(("Attention", "AdditiveAttention"), attention.attention),
    **dict.fromkeys(("Conv1D", "Conv2D"), windows.convolution),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), windows.depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), windows.separable),
    **dict.fromkeys(
        ("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D"), windows.pooling
    ),
    **dict.fromkeys(
        ("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D"),
        windows.global_pooling,
    ),
    **dict.fromkeys(
        (
            "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise",
            "Identity", "SpatialDropout1D", "SpatialDropout2D",
        ),
        nothing,
    ),
    **dict.fromkeys(("LeakyReLU", "ELU"), sloped),
    "Activation": activation,
    "BatchNormalization": batch_norm,
    "Bidirectional": recurrent.bidirectional,
    "Concatenate": concatenate,
    "Cropping1D": windows.cropping,
    "Dense": dense,
    "Dot": dot,
    "Embedding": embedding,
    "Flatten": flatten,
    "LayerNormalization": layer_norm,
    "Masking": masks.masking,
    "MultiHeadAttention": attention.multi_head,
    "Normalization": normalization,
    "Permute": permute,
    "PReLU": prelu,
    "RMSNormalization": rms_norm,
    "ReLU": relu,
    "RepeatVector": repeat,
    "Rescaling": rescaling,
    "Reshape": reshape,
    "Softmax": softmax,
    "ThresholdedReLU": thresholded,
    "TimeDistributed": time_distributed,
    "UnitNormalization": unit_norm,
    "UpSampling1D": windows.upsampling,
    "ZeroPadding1D": windows.zero_padding,
}  # fmt: skip
"""How each class of layers is added."""
