"""Keras' masks: booleans [rows, frames] beside a tensor, False where a frame is padding.

Embedding and Masking make them, recurrent layers, attention and averages heed them, and most layers hand
them on. What a layer does with one, and which results carry one, is as Keras has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tinyseq.converters.keras.settings import Settings, Tensor

from tinyseq.ir.graph import Graph

HAND_ON = {
    "Activation", "ActivityRegularization", "AdditiveAttention", "AlphaDropout", "Attention",
    "BatchNormalization", "Dense", "Dropout", "ELU", "GaussianDropout", "GaussianNoise", "Identity",
    "LayerNormalization", "LeakyReLU", "Normalization", "PReLU", "ReLU", "Rescaling", "Softmax",
    "SpatialDropout1D", "SpatialDropout2D", "ThresholdedReLU", "TimeDistributed", "UnitNormalization",
}  # fmt: skip
"""Layers whose result has the mask of their first input. Other layers make their own or, as Keras says
with a warning, lose it."""


def handed_on(kind: str, inputs: Sequence[Tensor], results: list[Tensor]) -> list[Tensor]:
    """A layer's results, with the masks that come through it from its inputs."""
    if kind not in HAND_ON:
        return results
    return [replace(result, mask=inputs[0].mask) for result in results]


def of_zeros(graph: Graph, indices: str) -> str:
    """The mask of an embedding: False where an index is 0."""
    return graph.apply("Not", graph.apply("Equal", indices, np.array(0, np.int64)))


def masking(graph: Graph, settings: Settings, variables, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Masking: frames of which every number is ``mask_value`` become padding, and zeros."""
    (x,) = inputs
    value = np.float32(settings.get("mask_value", 0.0))
    same = graph.apply("Cast", graph.apply("Equal", x.name, value), to=np.dtype(np.int32))
    padding = graph.apply("ReduceMin", same, np.array([x.rank - 1]), keepdims=1)
    mask = graph.apply("Equal", padding, np.array(0, np.int32))
    y = graph.apply("Where", mask, x.name, np.float32(0), name=settings.name)
    return [Tensor(y, x.shape, mask=graph.squeeze(mask, [x.rank - 1]))]


def merged(graph: Graph, settings: Settings, inputs: Sequence[Tensor]) -> str | None:
    """The mask of a merge, or none if one input has none: Keras 3 shows what one input shows, Keras 2 what
    all show.

    Raises:
        UnsupportedError: the layer picks values by the masks.
    """
    masks = list(dict.fromkeys(tensor.mask for tensor in inputs))
    if settings.kind in ("Maximum", "Minimum") and masks != [None]:
        raise settings.refusal("it picks among values by their masks, which tinyseq does not do")
    return None if None in masks else _joined(graph, settings, masks)


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
        return None if None in masks and settings.version == 3 else _joined(graph, settings, known)
    if axis != 1 or inputs[0].rank != 3:
        raise settings.refusal(f"it joins masked tensors of {inputs[0].rank} dimensions along axis {axis}")
    return graph.concat([mask or all_true(graph, x) for mask, x in zip(masks, inputs)], axis=1)


def _joined(graph: Graph, settings: Settings, masks: Sequence[str]) -> str:
    first, *rest = masks
    for other in rest:
        first = graph.apply("Or" if settings.version == 3 else "And", first, other)
    return first


def all_true(graph: Graph, x: Tensor) -> str:
    """A mask [rows, frames] that hides nothing."""
    sizes = graph.slice(graph.apply("Shape", x.name), 0, 0, 2)
    return graph.apply("Expand", np.array(True), sizes)


def _not_equal(graph: Graph, settings: Settings, arguments: list, inputs: Sequence[Tensor]) -> list[Tensor]:
    x, value = inputs[0], arguments[1]
    number = np.array(value, np.int64 if x.whole else np.float32)
    return [Tensor(graph.apply("Not", graph.apply("Equal", x.name, number)), x.shape)]


def _any(graph: Graph, settings: Settings, arguments: list, inputs: Sequence[Tensor]) -> list[Tensor]:
    (x,) = inputs
    settings.expect("axis", -1)
    settings.expect("keepdims", False)
    shown = graph.apply("Cast", x.name, to=np.dtype(np.int32))
    most = graph.apply("ReduceMax", shown, np.array([x.rank - 1]), keepdims=0)
    return [Tensor(graph.apply("Not", graph.apply("Equal", most, np.array(0, np.int32))), x.shape[:-1])]


def _expand_dims(graph: Graph, settings: Settings, arguments: list, inputs: Sequence[Tensor]) -> list[Tensor]:
    (x,) = inputs
    settings.expect("axis", -1)
    return [Tensor(graph.unsqueeze(x.name, [x.rank]), (*x.shape, 1))]


def _filled(value: bool):
    def like(graph: Graph, settings: Settings, arguments: list, inputs: Sequence[Tensor]) -> list[Tensor]:
        (x,) = inputs
        settings.expect("dtype", "bool")
        return [Tensor(graph.apply("Expand", np.array(value), graph.apply("Shape", x.name)), x.shape)]

    return like


def _logical(op: str):
    def build(graph: Graph, settings: Settings, arguments: list, inputs: Sequence[Tensor]) -> list[Tensor]:
        return [Tensor(graph.apply(op, *(x.name for x in inputs)), inputs[-1].shape)]

    return build


def _end_to_end(graph: Graph, settings: Settings, arguments: list, inputs: Sequence[Tensor]) -> list[Tensor]:
    axis = settings.get("axis")
    return [Tensor(graph.concat([x.name for x in inputs], axis=axis), inputs[0].shape)]


OPERATIONS = {
    "Any": _any,
    "Concatenate": _end_to_end,
    "ConvertToTensor": _logical("Identity"),
    "ExpandDims": _expand_dims,
    "LogicalAnd": _logical("And"),
    "LogicalNot": _logical("Not"),
    "LogicalOr": _logical("Or"),
    "NotEqual": _not_equal,
    "OnesLike": _filled(True),
    "ZerosLike": _filled(False),
}
"""Keras 3 writes the computation of masks into functional models, as these operations."""


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
