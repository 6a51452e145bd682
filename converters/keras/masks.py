"""Keras' masks: booleans [rows, frames] beside a tensor, False where a frame is padding.

Embedding and Masking make them, recurrent layers, attention and averages heed them, and most layers hand
them on. What a layer does with one, and which results carry one, is as Keras has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tinyseq.converters.keras.settings import BOOL, FLOAT, INT32, Settings, Tensor, cast

from tinyseq.ir.graph import Graph

HAND_ON = {
    "Activation", "ActivityRegularization", "AdditiveAttention", "AlphaDropout", "Attention",
    "BatchNormalization", "Dense", "Dropout", "ELU", "GaussianDropout", "GaussianNoise", "Identity",
    "LayerNormalization", "LeakyReLU", "MultiHeadAttention", "Normalization", "PReLU", "ReLU", "Rescaling",
    "Softmax", "SpatialDropout1D", "SpatialDropout2D", "ThresholdedReLU", "TimeDistributed",
    "UnitNormalization",
}  # fmt: skip
"""Layers whose first result has the mask of their first input. Other layers make their own or, as Keras says
with a warning, lose it."""


def handed_on(kind: str, inputs: Sequence[Tensor], results: list[Tensor]) -> list[Tensor]:
    """A layer's results, with the masks that come through it from its inputs."""
    if kind not in HAND_ON:
        return results
    return [replace(results[0], mask=inputs[0].mask), *results[1:]]


def of_zeros(graph: Graph, indices: Tensor) -> str:
    """The mask of an embedding: False where an index is 0."""
    return cast(graph, indices, BOOL).name


def masking(graph: Graph, settings: Settings, variables, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Masking: frames of which every number is ``mask_value`` become padding, and zeros."""
    (x,) = inputs
    value = np.float32(settings.get("mask_value", 0.0))
    same = graph.apply("Cast", graph.apply("Equal", cast(graph, x, FLOAT).name, value), to=INT32)
    padding = graph.apply("ReduceMin", same, np.array([x.rank - 1]), keepdims=1)
    mask = graph.apply("Equal", padding, np.array(0, np.int32))
    y = graph.apply("Where", mask, x.name, np.array(0, x.dtype), name=settings.name)
    return [Tensor(y, x.shape, x.dtype, mask=graph.squeeze(mask, [x.rank - 1]))]


def merged(graph: Graph, settings: Settings, inputs: Sequence[Tensor]) -> str | None:
    """The mask of a merge, or none if one input has none: Keras 3 shows what one input shows, Keras 2 what
    all show."""
    masks = list(dict.fromkeys(tensor.mask for tensor in inputs))
    return None if None in masks else _joined(graph, settings, masks)


def product(graph: Graph, settings: Settings, inputs: Sequence[Tensor]) -> str:
    """The product, in which a hidden factor counts as 1; where all are hidden it is 0."""
    shown = [tensor.mask and graph.unsqueeze(tensor.mask, [2]) for tensor in inputs]
    factors = [
        tensor.name if mask is None else graph.apply("Where", mask, tensor.name, np.float32(1))
        for mask, tensor in zip(shown, inputs)
    ]
    y = factors[0]
    for factor in factors[1:]:
        y = graph.apply("Mul", y, factor, name=settings.name)
    if None in shown:
        return y
    return graph.apply("Where", _joined(graph, settings, shown), y, np.float32(0))


def most(graph: Graph, settings: Settings, op: str, inputs: Sequence[Tensor]) -> str:
    """The largest or smallest of the values that are shown."""
    y, seen = inputs[0].name, inputs[0].mask and graph.unsqueeze(inputs[0].mask, [2])
    for tensor in inputs[1:]:
        x, mask = tensor.name, tensor.mask and graph.unsqueeze(tensor.mask, [2])
        x = x if mask is None else graph.apply("Where", mask, x, y)
        y = y if seen is None else graph.apply("Where", seen, y, x)
        seen = None if mask is None or seen is None else _joined(graph, settings, [seen, mask])
        y = graph.apply(op, y, x, name=settings.name)
    return y


def concatenated(graph: Graph, settings: Settings, inputs: Sequence[Tensor], axis: int) -> str | None:
    """The mask of tensors end to end. Along the features an input without a mask shows everything; along
    the frames the masks are end to end too.

    Raises:
        UnsupportedError: they are joined along other axes.
    """
    masks = [tensor.mask for tensor in inputs]
    known = list(dict.fromkeys(mask for mask in masks if mask is not None))
    if not known:
        return None
    if axis == inputs[0].rank - 1:
        return None if None in masks and not settings.keras2 else _joined(graph, settings, known)
    if axis != 1 or inputs[0].rank != 3:
        raise settings.refusal(f"it joins masked tensors of {inputs[0].rank} dimensions along axis {axis}")
    return graph.concat([mask or all_true(graph, x) for mask, x in zip(masks, inputs)], axis=1)


def _joined(graph: Graph, settings: Settings, masks: Sequence[str]) -> str:
    first, *rest = masks
    for other in rest:
        first = graph.apply("And" if settings.keras2 else "Or", first, other)
    return first


def all_true(graph: Graph, x: Tensor) -> str:
    """A mask [rows, frames] that hides nothing."""
    sizes = graph.slice(graph.apply("Shape", x.name), 0, 0, 2)
    return graph.apply("Expand", np.array(True), sizes)


class Compacted:
    """Frames of a masked sequence brought together at its start, and the way back.

    A recurrent layer leaves its state alone while frames are hidden. So it runs over the others only, as
    many of each row as there are.

    Args:
        frames: [frames, rows, features].
        mask: [frames, rows].
    """

    def __init__(self, graph: Graph, frames: str, mask: str) -> None:
        self.graph = graph
        self.mask = mask
        self.shape = graph.apply("Shape", mask)
        self.length = graph.squeeze(graph.slice(self.shape, 0, 0, 1), [0])
        self.number = graph.apply("Cast", mask, to=np.dtype(np.int64))
        self.seen = graph.apply("CumSum", self.number, np.array(0, np.int64))
        self.before = graph.apply("Sub", self.seen, np.array(1, np.int64))
        self.count = graph.apply("ReduceSum", self.number, np.array([0]), keepdims=0)
        self.lengths = graph.apply("Cast", self.count, to=np.dtype(np.int32))
        self.frames = self._picked(frames, self._order())

    def _order(self) -> str:
        """Where the frames that count lie, those first, then zeros."""
        graph = self.graph
        times = graph.apply("Range", np.array(0, np.int64), self.length, np.array(1, np.int64))
        times = graph.apply("Expand", graph.unsqueeze(times, [1]), self.shape)
        # One place behind the end takes the frames that are hidden.
        places = graph.apply("Where", self.mask, self.before, self.length)
        room = graph.apply("Add", self.shape, np.array([1, 0], np.int64))
        order = graph.apply("Expand", np.array(0, np.int64), room)
        return graph.slice(graph.apply("ScatterElements", order, places, times, axis=0), 0, 0, -1)

    def _picked(self, frames: str, times: str) -> str:
        """Of each row the frames at these times [frames, rows]."""
        graph = self.graph
        features = graph.slice(graph.apply("Shape", frames), 0, 2, 3)
        shape = graph.concat([graph.apply("Shape", times), features], axis=0)
        return graph.apply(
            "GatherElements", frames, graph.apply("Expand", graph.unsqueeze(times, [2]), shape), axis=0
        )

    def held(self, results: str, start: str, backwards: bool) -> str:
        """The results [frames, rows, units] back at their times. A hidden frame repeats the one that the
        layer met before it, or ``start`` [1, rows, units] if there was none."""
        graph = self.graph
        if not backwards:
            return self._picked(graph.concat([start, results], axis=0), self.seen)
        later = graph.apply("Sub", self.seen, self.number)
        later = graph.apply("Where", graph.apply("Equal", later, self.count), self.length, later)
        return self._picked(graph.concat([results, start], axis=0), later)

    def zeroed(self, results: str) -> str:
        """The results back at their times, hidden frames zero."""
        graph = self.graph
        y = self._picked(results, graph.apply("Max", self.before, np.array(0, np.int64)))
        return graph.apply("Where", graph.unsqueeze(self.mask, [2]), y, np.float32(0))
