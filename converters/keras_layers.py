"""Keras' layers other than recurrent ones: each class as a function that adds it to a graph.

The formulas are those of Keras' documentation. Keras has channels last, ONNX channels after the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from tinyseq.converters import keras_recurrent
from tinyseq.converters.keras_files import Variables
from tinyseq.converters.keras_settings import Settings, Tensor, activate

from tinyseq.errors import ModelError
from tinyseq.graph import Graph

Builder = Callable[[Graph, Settings, Variables, Sequence[Tensor]], list[Tensor]]


def _one(settings: Settings, inputs: Sequence[Tensor], *ranks: int) -> Tensor:
    """The only input, of one of these ranks if any are given."""
    if len(inputs) != 1 or (ranks and inputs[0].rank not in ranks):
        shapes = ", ".join(str(list(tensor.shape)) for tensor in inputs)
        raise settings.refusal(f"its inputs {shapes} are not those of such a layer")
    return inputs[0]


def dense(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """``activation(x @ kernel + bias)`` over the last axis."""
    x = _one(settings, inputs)
    (units,) = settings.sizes("units", 1)
    kernel = variables.take(x.shape[-1], units)
    bias = variables.take(units) if settings.get("use_bias", True) else None
    y = graph.dense(x.name, kernel, bias, name=settings.name)
    return [Tensor(activate(graph, y, settings.function("activation"), settings), (*x.shape[:-1], units))]


def embedding(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Rows of a table; floating indices lose their fractions. A mask would silence frames, and is refused."""
    x = _one(settings, inputs)
    if settings.get("mask_zero", False):
        raise settings.refusal("mask_zero=True hides frames of padding, which tinyseq does not do")
    (width,) = settings.sizes("output_dim", 1)
    table = variables.take(settings.get("input_dim"), width)
    indices = x.name if x.whole else graph.apply("Cast", x.name, to=np.dtype(np.int64))
    return [Tensor(graph.embedding(indices, table, name=settings.name), (*x.shape, width))]


def convolution(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Conv1D and Conv2D."""
    axes = int(settings.kind[4])
    x = _one(settings, inputs, axes + 2)
    settings.expect("data_format", "channels_last", None)
    (filters,), (groups,) = settings.sizes("filters", 1), settings.sizes("groups", 1, 1)
    kernel, strides, dilations = (
        settings.sizes("kernel_size", axes),
        settings.sizes("strides", axes, 1),
        settings.sizes("dilation_rate", axes, 1),
    )
    channels = None if x.shape[-1] is None else x.shape[-1] // groups
    weights = np.moveaxis(variables.take(*kernel, channels, filters), (-1, -2), (0, 1))
    bias = variables.take(filters) if settings.get("use_bias", True) else None
    spans = [dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations)]
    padding, sizes = _padding(settings, x.shape[1:-1], spans, strides, causal=axes == 1)
    y = graph.apply(
        "Conv", _channels_first(graph, x), weights, bias, name=settings.name,
        strides=strides, dilations=dilations, group=groups, **padding,
    )  # fmt: skip
    y = activate(graph, _channels_last(graph, y, axes + 2), settings.function("activation"), settings)
    return [Tensor(y, (x.shape[0], *sizes, filters))]


def pooling(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """MaxPooling and AveragePooling over 1 or 2 axes."""
    axes = int(settings.kind[-2])
    x = _one(settings, inputs, axes + 2)
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
    x = _one(settings, inputs, int(settings.kind[-2]) + 2)
    settings.expect("data_format", "channels_last", None)
    keep = bool(settings.get("keepdims", False))
    axes = np.arange(1, x.rank - 1)
    op = "ReduceMax" if "Max" in settings.kind else "ReduceMean"
    y = graph.apply(op, x.name, axes, keepdims=int(keep), name=settings.name)
    return [Tensor(y, (x.shape[0], *((1,) * len(axes) if keep else ()), x.shape[-1]))]


def _last_axis(settings: Settings, x: Tensor) -> None:
    axis = settings.get("axis", -1)
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    if len(axes) != 1 or axes[0] not in (-1, x.rank - 1):
        raise settings.refusal(f"axis={axis!r} of {x.rank} dimensions; tinyseq takes the last")


def batch_norm(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """By the mean and variance that training found, folded into one product and one sum."""
    x = _one(settings, inputs)
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
    x = _one(settings, inputs)
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
    op = {"Multiply": "Mul", "Subtract": "Sub", "Maximum": "Max", "Minimum": "Min"}.get(settings.kind, "Add")
    y, *rest = (tensor.name for tensor in inputs)
    for other in rest:
        y = graph.apply(op, y, other, name=settings.name)
    if settings.kind == "Average":
        y = graph.mul(y, 1 / len(inputs))
    shape = [next((size for size in sizes if size != 1), 1) for sizes in zip(*(t.shape for t in inputs))]
    return [Tensor(y, tuple(shape))]


def concatenate(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    axis = settings.get("axis", -1) % inputs[0].rank
    sizes = [tensor.shape[axis] for tensor in inputs]
    shape = list(inputs[0].shape)
    shape[axis] = None if None in sizes else sum(sizes)
    y = graph.concat([tensor.name for tensor in inputs], axis=axis)
    return [Tensor(y, tuple(shape))]


def attention(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Attention and AdditiveAttention: of query [N, Q, D], value [N, V, E] and key [N, V, D]."""
    settings.expect("causal", False)
    settings.expect("score_mode", "dot")
    if len(inputs) not in (2, 3) or any(tensor.rank != 3 for tensor in inputs):
        raise settings.refusal("it takes query, value and maybe key, each of 3 dimensions")
    query, value, key = (*inputs, inputs[1])[:3]
    scaled = settings.get("use_scale", settings.kind == "AdditiveAttention")
    if settings.kind == "Attention":
        scores = graph.apply("MatMul", query.name, graph.transpose(key.name, [0, 2, 1]), name=settings.name)
        scores = graph.mul(scores, variables.take()) if scaled else scores
    else:
        sums = graph.add(graph.unsqueeze(query.name, [2]), graph.unsqueeze(key.name, [1]))
        scores = graph.tanh(sums)
        scores = graph.mul(scores, variables.take(key.shape[-1])) if scaled else scores
        scores = graph.apply("ReduceSum", scores, np.array([-1]), keepdims=0)
    y = graph.apply("MatMul", graph.softmax(scores), value.name, name=settings.name)
    return [Tensor(y, (*query.shape[:2], value.shape[-1]))]


def reshape(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = _one(settings, inputs)
    target = list(settings.get("target_shape"))
    if -1 in target and None not in x.shape[1:]:
        target[target.index(-1)] = prod(x.shape[1:]) // -prod(target)
    shape = tuple(None if size == -1 else size for size in target)
    return [Tensor(graph.reshape(x.name, [0, *target]), (x.shape[0], *shape))]


def flatten(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = _one(settings, inputs)
    settings.expect("data_format", "channels_last", None)
    size = None if None in x.shape[1:] else prod(x.shape[1:])
    return [Tensor(graph.apply("Flatten", x.name, axis=1), (x.shape[0], size))]


def permute(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = _one(settings, inputs)
    order = [0, *settings.get("dims")]
    return [Tensor(graph.transpose(x.name, order), tuple(x.shape[axis] for axis in order))]


def repeat(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = _one(settings, inputs, 2)
    (count,) = settings.sizes("n", 1)
    y = graph.apply("Expand", graph.unsqueeze(x.name, [1]), np.array([1, count, 1]), name=settings.name)
    return [Tensor(y, (x.shape[0], count, x.shape[1]))]


def activation(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = _one(settings, inputs)
    return [Tensor(activate(graph, x.name, settings.function("activation"), settings), x.shape)]


def relu(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """The layer ReLU, without a ceiling, slope or threshold."""
    x = _one(settings, inputs)
    settings.expect("max_value", None)
    settings.expect("negative_slope", 0.0, None)
    settings.expect("threshold", 0.0, None)
    return [Tensor(graph.relu(x.name), x.shape)]


def sloped(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """LeakyReLU and ELU; Keras 3 calls LeakyReLU's slope ``negative_slope``."""
    x = _one(settings, inputs)
    op, field = ("Elu", "alpha") if settings.kind == "ELU" else ("LeakyRelu", "negative_slope")
    slope = settings.get(field if field in settings.config else "alpha")
    return [Tensor(graph.apply(op, x.name, alpha=float(slope)), x.shape)]


def softmax(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = _one(settings, inputs)
    return [Tensor(graph.softmax(x.name, settings.get("axis", -1)), x.shape)]


def nothing(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Layers that only act in training."""
    for field in ("rate", "stddev"):
        settings.get(field, None)
    return [_one(settings, inputs)]


POINTWISE = ("Dense", "Activation", "Dropout", "ReLU", "LeakyReLU", "ELU")
"""Layers that treat every frame alike already."""


def time_distributed(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """A layer applied to every frame."""
    inner = settings.get("layer")
    kind = inner.get("class_name")
    if kind not in POINTWISE:
        raise settings.refusal(f"it wraps a {kind}; tinyseq takes {', '.join(POINTWISE)}")
    own = Settings(kind, inner["config"], settings.version)
    results = LAYERS[kind](graph, own, variables.child("layer"), inputs)
    own.finish()
    return results


LAYERS: dict[str, Builder] = {
    **dict.fromkeys(keras_recurrent.KINDS, keras_recurrent.recurrent),
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), merge),
    **dict.fromkeys(("Attention", "AdditiveAttention"), attention),
    **dict.fromkeys(("Conv1D", "Conv2D"), convolution),
    **dict.fromkeys(
        ("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D"), pooling
    ),
    **dict.fromkeys(
        ("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D"),
        global_pooling,
    ),
    **dict.fromkeys(
        ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout"), nothing
    ),
    **dict.fromkeys(("LeakyReLU", "ELU"), sloped),
    "Activation": activation,
    "BatchNormalization": batch_norm,
    "Bidirectional": keras_recurrent.bidirectional,
    "Concatenate": concatenate,
    "Dense": dense,
    "Embedding": embedding,
    "Flatten": flatten,
    "LayerNormalization": layer_norm,
    "Permute": permute,
    "ReLU": relu,
    "RepeatVector": repeat,
    "Reshape": reshape,
    "Softmax": softmax,
    "TimeDistributed": time_distributed,
}  # fmt: skip
"""How each class of layers is added."""
