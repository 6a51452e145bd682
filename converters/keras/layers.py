"""Keras' layers: each class as a function that adds it to a graph.

The formulas are those of Keras' documentation. Recurrent layers, attention, and those that slide a window
have modules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np
from tinyseq.converters.keras import attention, convolutional, masks, norms, recurrent, windows
from tinyseq.converters.keras.files import Variables
from tinyseq.converters.keras.operands import together
from tinyseq.converters.keras.operations import bounded, einsum
from tinyseq.converters.keras.settings import BOOL, FLOAT, WHOLE, Settings, Tensor, activate, cast, one_input

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
    indices = cast(graph, x, WHOLE).name
    mask = masks.of_zeros(graph, x) if settings.get("mask_zero", False) else None
    return [Tensor(graph.embedding(indices, table, name=settings.name), (*x.shape, width), mask=mask)]


def reversible(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """ReversibleEmbedding: an embedding or, called with ``reverse``, the scores of its rows by its table or
    one of their own."""
    cap, tied = settings.get("logit_soft_cap", None), settings.get("tie_weights", True)
    settings.get("reverse_dtype", None)
    sizes = settings.get("input_dim"), settings.sizes("output_dim", 1)[0]
    if not settings.called("reverse", False):
        results = embedding(graph, settings, variables, inputs)
        if not tied:
            variables.take(*reversed(sizes))
        return results
    settings.get("mask_zero", False)
    table = variables.take(*sizes)
    x = cast(graph, one_input(settings, inputs), FLOAT)
    y = graph.dense(x.name, table.T if tied else variables.take(*reversed(sizes)), name=settings.name)
    if cap is not None:
        y = graph.mul(graph.tanh(graph.mul(y, np.float32(1 / cap))), np.float32(cap))
    return [Tensor(y, (*x.shape[:-1], sizes[0]))]


def einsum_dense(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """``activation(einsum(equation, x, kernel) + bias)``."""
    x = one_input(settings, inputs)
    equation = settings.get("equation").replace(" ", "")
    settings.get("output_shape", None)
    term, _, rest = equation.partition(",")
    weights, _, result = rest.partition("->")
    kernel = variables.take(*(None,) * len(weights))
    y = einsum(graph, settings, equation, [x, Tensor(graph.constant(kernel), kernel.shape)])
    if axes := settings.get("bias_axes", None):
        before, _, after = term.partition("...")
        sizes = dict(zip(before, x.shape)) | dict(zip(reversed(after), reversed(x.shape)))
        sizes |= dict(zip(weights, kernel.shape))
        many = "." * (x.rank - len(before) - len(after)) if "..." in term else ""
        last = result[min(result.index(axis) for axis in axes) :].replace("...", many)
        bias = variables.take(*(sizes[axis] if axis in axes else 1 for axis in last))
        y = Tensor(graph.add(y.name, bias), y.shape)
    return [Tensor(activate(graph, y.name, settings.function("activation"), settings), y.shape)]


def merge(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Add, Multiply, Average, Maximum, Minimum, Subtract; tensors of fewer dimensions get some behind the
    rows."""
    if not inputs or (settings.kind == "Subtract" and len(inputs) != 2):
        raise settings.refusal(f"it merges {len(inputs)} tensors")
    rank = max(tensor.rank for tensor in inputs)
    masked = any(tensor.mask is not None for tensor in inputs)
    if any(tensor.rank != rank for tensor in inputs):
        if masked:
            raise settings.refusal("it merges masked tensors of several ranks")
        inputs = [_raised(graph, tensor, rank) for tensor in inputs]
    shape = together([tensor.shape for tensor in inputs])
    mask = masks.merged(graph, settings, inputs) if masked else None
    return [Tensor(_merged(graph, settings, inputs, masked), shape, mask=mask)]


def _raised(graph: Graph, x: Tensor, rank: int) -> Tensor:
    more = rank - x.rank
    name = graph.unsqueeze(x.name, list(range(1, more + 1))) if more else x.name
    return Tensor(name, (*x.shape[:1], *(1,) * more, *x.shape[1:]))


def _merged(graph: Graph, settings: Settings, inputs: Sequence[Tensor], masked: bool) -> str:
    op = {"Multiply": "Mul", "Subtract": "Sub", "Maximum": "Max", "Minimum": "Min"}.get(settings.kind, "Add")
    if masked and op in ("Mul", "Max", "Min") and settings.version >= (3, 4):
        if settings.version < (3, 6):
            raise settings.refusal(
                "what masks do to it depends on the backend in Keras 3.4 and 3.5; save the model with a "
                "newer one"
            )
        if any(tensor.rank != 3 for tensor in inputs):
            raise settings.refusal("it merges masked tensors that are not of 3 dimensions")
        if op == "Mul":
            return masks.product(graph, settings, inputs)
        return masks.most(graph, settings, op, inputs)
    y = inputs[0].name
    for other in inputs[1:]:
        y = graph.apply(op, y, other.name, name=settings.name)
    if settings.kind == "Average":
        y = graph.mul(y, 1 / len(inputs))
    return graph.apply("Identity", y) if len(inputs) == 1 else y


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
    if x.rank < 1:
        raise settings.refusal("it reshapes a number")
    if -1 in target and None not in x.shape[1:]:
        target[target.index(-1)] = prod(x.shape[1:]) // -prod(target)
    shape = tuple(None if size == -1 else size for size in target)
    return [Tensor(graph.reshape(x.name, [0, *target]), (x.shape[0], *shape), x.dtype)]


def flatten(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = one_input(settings, inputs)
    first = windows.channels_first(settings) and x.rank > 2
    if first:
        order = [0, *range(2, x.rank), 1]
        x = replace(x, name=graph.transpose(x.name, order), shape=tuple(x.shape[axis] for axis in order))
    if x.rank == 1:
        return [Tensor(graph.unsqueeze(x.name, [1]), (x.shape[0], 1), x.dtype)]
    size = None if None in x.shape[1:] else prod(x.shape[1:])
    return [Tensor(graph.apply("Flatten", x.name, axis=1), (x.shape[0], size), x.dtype)]


def permute(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = one_input(settings, inputs)
    order = [0, *settings.get("dims")]
    return [Tensor(graph.transpose(x.name, order), tuple(x.shape[axis] for axis in order), x.dtype)]


def repeat(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = one_input(settings, inputs, 2)
    (count,) = settings.sizes("n", 1)
    y = graph.apply("Expand", graph.unsqueeze(x.name, [1]), np.array([1, count, 1]), name=settings.name)
    return [Tensor(y, (x.shape[0], count, x.shape[1]), x.dtype)]


def activation(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    x = one_input(settings, inputs)
    return [Tensor(activate(graph, x.name, settings.function("activation"), settings), x.shape)]


def relu(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """The layer ReLU: x above the threshold, at most the ceiling; ``slope * (x - threshold)`` up to it."""
    return [bounded(graph, settings, one_input(settings, inputs))]


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


def sloped(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """LeakyReLU and ELU; Keras 3 calls LeakyReLU's slope ``negative_slope``."""
    x = one_input(settings, inputs)
    op, field = ("Elu", "alpha") if settings.kind == "ELU" else ("LeakyRelu", "negative_slope")
    slope = settings.get(field if field in settings.config else "alpha")
    return [Tensor(graph.apply(op, x.name, alpha=float(slope)), x.shape)]


def softmax(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Shares along an axis, or several together, that sum to 1; what a mask hides has none."""
    x = one_input(settings, inputs)
    mask = settings.called("mask")
    if mask is None and x.mask is not None:
        mask = Tensor(x.mask, x.shape[:2], BOOL)
        if x.rank != 2:
            raise settings.refusal(f"its input of {x.rank} dimensions has a mask of 2")
    x = cast(graph, x, FLOAT)
    shown = None if mask is None else _shown(graph, settings, x, mask)
    if shown is not None:
        x = replace(x, name=graph.apply("Where", shown, x.name, np.float32(-1e9)))
    axes = settings.get("axis", -1)
    axes = sorted(axis % x.rank for axis in (axes if isinstance(axes, (list, tuple)) else [axes]))
    y = graph.softmax(x.name, axes[0]) if len(axes) == 1 else _shares(graph, x, axes)
    if shown is not None and settings.version >= (3, 14):
        y = graph.apply("Where", shown, y, np.float32(0))
    return [Tensor(y, x.shape)]


def _shares(graph: Graph, x: Tensor, axes: Sequence[int]) -> str:
    """Softmax along several axes together."""
    # The axes as one, at the end, and back.
    order = [*(axis for axis in range(x.rank) if axis not in axes), *axes]
    ahead = graph.transpose(x.name, order)
    flat = graph.reshape(ahead, [*[0] * (x.rank - len(axes)), -1])
    y = graph.apply("Reshape", graph.softmax(flat), graph.apply("Shape", ahead))
    return graph.transpose(y, [order.index(axis) for axis in range(x.rank)])


def _shown(graph: Graph, settings: Settings, x: Tensor, mask: Tensor) -> str:
    """Where a mask shows x."""
    if mask.dtype == FLOAT:
        mask = replace(mask, name=graph.apply("Greater", mask.name, np.float32(0.5)), dtype=BOOL)
    if mask.rank > x.rank or any(
        None not in (own, size) and own not in (1, size) for own, size in zip(mask.shape[::-1], x.shape[::-1])
    ):
        raise settings.refusal(f"its mask {list(mask.shape)} does not fit {list(x.shape)}")
    return cast(graph, mask, BOOL).name


def nothing(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """Layers that only act in training."""
    for field in ("rate", "stddev", "l1", "l2"):
        settings.get(field, None)
    return [one_input(settings, inputs)]


POINTWISE = ("Dense", "Activation", "Dropout", "ReLU", "LeakyReLU", "ELU", "Identity", "Rescaling")
"""Layers that treat every frame alike already."""


def time_distributed(graph: Graph, settings: Settings, variables: Variables, inputs) -> list[Tensor]:
    """A layer or model applied to every frame: to rows and frames together as rows, unless it is the same
    anyway."""
    x = one_input(settings, inputs)
    if x.rank < 3:
        raise settings.refusal(f"it gets {x.rank} dimensions")
    inner, own, mask = settings.inner("layer"), variables.child("layer"), settings.called("mask")
    if inner.is_pointwise():
        return inner.build_in(own, [replace(x, mask=None)])
    sizes = graph.apply("Shape", x.name)
    features = graph.slice(sizes, 0, 2, x.rank)
    rows = graph.apply("Reshape", x.name, graph.concat([np.array([-1]), features], axis=0))
    outer = graph.slice(sizes, 0, 0, 2)
    results, each = [], Tensor(rows, (None, *x.shape[2:]), x.dtype)
    if mask is not None and mask.rank == 3:
        places = graph.slice(graph.apply("Shape", mask.name), 0, 2, 3)
        flat = graph.concat([np.array([-1]), places], axis=0)
        each = replace(each, mask=graph.apply("Reshape", cast(graph, mask, BOOL).name, flat))
    elif mask is not None and mask.rank != 2:
        raise settings.refusal(f"it is called with a mask of {mask.rank} dimensions")
    for y in inner.build_in(own, [each]):
        inside = graph.slice(graph.apply("Shape", y.name), 0, 1, y.rank)
        back = graph.apply("Reshape", y.name, graph.concat([outer, inside], axis=0))
        results.append(Tensor(back, (*x.shape[:2], *y.shape[1:]), y.dtype))
    return results


LAYERS: dict[str, Builder] = {
    **dict.fromkeys((*recurrent.KINDS, "RNN"), recurrent.recurrent),
    **dict.fromkeys(("ConvLSTM1D", "ConvLSTM2D"), convolutional.conv_lstm),
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), merge),
    **dict.fromkeys(("Attention", "AdditiveAttention"), attention.attention),
    **dict.fromkeys(("Conv1D", "Conv2D"), windows.convolution),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose"), windows.transposed),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), windows.depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), windows.separable),
    **dict.fromkeys(
        ("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D"), windows.pooling
    ),
    **dict.fromkeys(
        (
            "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D",
            "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D",
        ),
        windows.global_pooling,
    ),
    **dict.fromkeys(
        (
            "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise",
            "Identity", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
        ),
        nothing,
    ),
    **dict.fromkeys(("LeakyReLU", "ELU"), sloped),
    **dict.fromkeys(("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"), windows.zero_padding),
    **dict.fromkeys(("Cropping1D", "Cropping2D", "Cropping3D"), windows.cropping),
    **dict.fromkeys(("UpSampling1D", "UpSampling2D", "UpSampling3D"), windows.upsampling),
    "Activation": activation,
    "BatchNormalization": norms.batch_norm,
    "Bidirectional": recurrent.bidirectional,
    "Concatenate": concatenate,
    "Dense": dense,
    "Dot": dot,
    "EinsumDense": einsum_dense,
    "Embedding": embedding,
    "Flatten": flatten,
    "GroupNormalization": norms.group_norm,
    "LayerNormalization": norms.layer_norm,
    "Masking": masks.masking,
    "MultiHeadAttention": attention.multi_head,
    "Normalization": norms.normalization,
    "Permute": permute,
    "PReLU": prelu,
    "RMSNormalization": norms.rms_norm,
    "ReLU": relu,
    "ReversibleEmbedding": reversible,
    "RepeatVector": repeat,
    "Rescaling": rescaling,
    "Reshape": reshape,
    "Softmax": softmax,
    "ThresholdedReLU": thresholded,
    "TimeDistributed": time_distributed,
    "UnitNormalization": norms.unit_norm,
}  # fmt: skip
"""How each class of layers is added."""
