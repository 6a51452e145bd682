"""Keras' recurrent layers: LSTM, GRU, SimpleRNN, their CuDNN forms, and Bidirectional.

Keras has rows first, ONNX frames first; shapes of states are [rows, units] and [1, rows, units].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tinyseq.converters.keras.files import Variables
from tinyseq.converters.keras.masks import Compacted
from tinyseq.converters.keras.settings import Settings, Tensor

from tinyseq.ir.gates import ORDERS
from tinyseq.ir.graph import Graph
from tinyseq.kernels.activations import BY_KERAS_NAME

KINDS = {
    "LSTM": ("LSTM", "keras"),
    "GRU": ("GRU", "keras"),
    "SimpleRNN": ("RNN", "keras"),
    "CuDNNLSTM": ("LSTM", "cudnn"),
    "CuDNNGRU": ("GRU", "cudnn"),
}
"""The op and the layout of the weights, by class."""


@dataclass(frozen=True, slots=True)
class LayerConfig:
    """What a recurrent layer's configuration says."""

    kind: str
    units: int
    bias: bool
    functions: tuple[str, str]
    reset_after: bool
    sequences: bool
    state: bool
    backwards: bool
    zeros: bool

    @classmethod
    def read(cls, settings: Settings) -> LayerConfig:
        """Reads all fields of a layer."""
        kind = settings.kind
        cudnn = kind.startswith("CuDNN")
        settings.expect("time_major", False)
        layer = cls(
            kind,
            *settings.sizes("units", 1),
            bool(settings.get("use_bias", True)),
            ("sigmoid" if cudnn else settings.function("recurrent_activation", "sigmoid"),
             "tanh" if cudnn else settings.function("activation", "tanh")),
            cudnn or (kind == "GRU" and bool(settings.get("reset_after", False))),
            bool(settings.get("return_sequences", False)),
            bool(settings.get("return_state", False)),
            bool(settings.get("go_backwards", False)),
            bool(settings.get("zero_output_for_mask", False)),
        )  # fmt: skip
        for function in layer.functions:
            if function not in BY_KERAS_NAME:
                raise settings.refusal(f"the activation {function!r} within a recurrent layer is not known")
        settings.get("stateful", False)
        settings.finish()
        return layer

    @property
    def op(self) -> str:
        return KINDS[self.kind][0]

    @property
    def states(self) -> int:
        return 2 if self.op == "LSTM" else 1

    def weights(self, variables: Variables, features: int | None) -> list[np.ndarray | None]:
        """Kernel, recurrent kernel and bias."""
        rows = len(ORDERS[self.op]["keras"]) * self.units
        cell = variables if self.kind.startswith("CuDNN") else variables.child("cell")
        taken: list[np.ndarray | None] = [cell.take(features, rows), cell.take(self.units, rows)]
        if not self.bias:
            return [*taken, None]
        if self.kind.startswith("CuDNN"):
            return [*taken, cell.take(2 * rows)]
        return [*taken, cell.take(2, rows) if self.reset_after else cell.take(rows)]

    def attributes(self, directions: int, version: int) -> dict[str, Any]:
        """The op's activations, where they are not its defaults."""
        recurrent, own = self.functions
        if own == "tanh" and (recurrent == "sigmoid" or self.op == "RNN"):
            return {}
        used = {"LSTM": (recurrent, own, own), "GRU": (recurrent, own), "RNN": (own,)}[self.op]
        rows = [BY_KERAS_NAME[function] for function in used] * directions
        attributes: dict[str, Any] = {"activations": tuple(row.name for row in rows)}
        for kind in ("alpha", "beta"):
            numbers = [row.parameters_in_keras(version)[kind] for row in rows if kind in row.parameters]
            if numbers:
                attributes[f"activation_{kind}"] = tuple(numbers)
        return attributes


def recurrent(
    graph: Graph, settings: Settings, variables: Variables, inputs: Sequence[Tensor]
) -> list[Tensor]:
    """A layer over a sequence; further inputs are its initial states.

    Returns:
        The outputs (of all frames or the last) and, with ``return_state``, the last states.
    """
    layer = LayerConfig.read(settings)
    x, *initials = inputs
    weights = layer.weights(variables, x.shape[-1])
    y, *finals = _one_way(graph, settings, layer, x, weights, initials)
    last = [Tensor(graph.squeeze(state, [0]), (x.shape[0], layer.units)) for state in finals]
    if not layer.sequences:
        return [last[0], *(last if layer.state else [])]
    return [_rows_first(graph, y, x, layer.units), *(last if layer.state else [])]


def bidirectional(
    graph: Graph, settings: Settings, variables: Variables, inputs: Sequence[Tensor]
) -> list[Tensor]:
    """A layer and its twin that runs from the end, merged."""
    inner, other = settings.get("layer"), settings.get("backward_layer", None)
    settings.expect("merge_mode", "concat", "sum", "mul", "ave", None)
    mode = settings.config.get("merge_mode", "concat")
    settings.finish()
    if inner.get("class_name") not in KINDS:
        raise settings.refusal(f"it wraps a {inner.get('class_name')}, not {', '.join(KINDS)}")
    own = Settings(inner["class_name"], inner["config"], settings.version)
    layer = LayerConfig.read(own)
    if other is not None:
        twin = LayerConfig.read(Settings(other["class_name"], other["config"], settings.version))
        if replace(twin, backwards=False) != replace(layer, backwards=False) or not twin.backwards:
            raise settings.refusal("its two directions are set up differently")
    if layer.backwards:
        raise settings.refusal("its first direction runs from the end")
    x, *initials = inputs
    weights = [layer.weights(variables.child(f"{way}_layer"), x.shape[-1]) for way in ("forward", "backward")]
    y, finals = _two_ways(graph, settings, layer, x, weights, initials)
    states = [Tensor(graph.squeeze(final, [0]), (x.shape[0], layer.units)) for final in finals]
    if not layer.sequences:
        outputs = [states[0], states[layer.states]]
    elif mode == "concat":
        outputs = [_rows_first(graph, y, x, 2 * layer.units)]
    else:
        halves = [graph.slice(y, -1, way * layer.units, (way + 1) * layer.units) for way in (0, 1)]
        outputs = [_rows_first(graph, half, x, layer.units) for half in halves]
    merged = _merged(graph, mode, outputs)
    return [*merged, *(states if layer.state else [])]


def _merged(graph: Graph, mode: str | None, outputs: list[Tensor]) -> list[Tensor]:
    if mode is None or len(outputs) == 1:
        return outputs
    one, other = outputs
    if mode == "concat":
        shape = (*one.shape[:-1], 2 * one.shape[-1])
        return [Tensor(graph.concat([one.name, other.name], axis=-1), shape)]
    y = graph.mul(one.name, other.name) if mode == "mul" else graph.add(one.name, other.name)
    return [replace(one, name=graph.mul(y, 0.5) if mode == "ave" else y)]


def _one_way(graph, settings, layer, x, weights, initials) -> tuple[str, ...]:
    """A layer in the direction that it says: outputs in the order of its steps, and the last states."""
    direction = {"direction": "reverse"} if layer.backwards else {}
    if x.mask is None:
        y, *finals = _run(graph, settings, layer, x, _frames_first(graph, x), [weights], initials, direction)
    else:
        compacted = _compacted(graph, x)
        direction["lengths"] = compacted.lengths
        y, *finals = _run(graph, settings, layer, x, compacted.frames, [weights], initials, direction)
        if layer.zeros:
            y = compacted.zeroed(y)
        else:
            shape = graph.apply("Shape", finals[0])
            start = initials[:1] and _with_direction(graph, initials[0])
            y = compacted.held(y, start or graph.apply("Expand", np.float32(0), shape), layer.backwards)
    return _reversed(graph, y) if layer.backwards else y, *finals


def _two_ways(graph, settings, layer, x, weights, initials) -> tuple[str, list[str]]:
    """Both directions as one op: outputs, and the last states of one direction and of the other. Hidden
    frames of sequences are zeros, whatever the layer says."""
    if initials:
        pairs = zip(initials[: layer.states], initials[layer.states :], strict=True)
        initials = [_stacked(graph, pair) for pair in pairs]
    if x.mask is None:
        y, *finals = _run(graph, settings, layer, x, _frames_first(graph, x), weights, initials, {})
    else:
        compacted = _compacted(graph, x)
        lengths = {"lengths": compacted.lengths}
        y, *finals = _run(graph, settings, layer, x, compacted.frames, weights, initials, lengths)
        y = compacted.zeroed(y)
    return y, [graph.slice(final, 0, way, way + 1) for way in (0, 1) for final in finals]


def _compacted(graph: Graph, x: Tensor) -> Compacted:
    return Compacted(graph, _frames_first(graph, x), graph.transpose(x.mask, [1, 0]))


def _run(graph, settings, layer, x, frames, weights, initials, attributes) -> tuple[str, ...]:
    """Adds the op over frames [frames, rows, features]; gives its outputs."""
    if x.rank != 3 or len(initials) not in (0, layer.states):
        raise settings.refusal(f"it gets {x.rank} dimensions and {len(initials)} states")
    start = {name: _with_direction(graph, state) for name, state in zip("hc", initials)}
    reset = {"reset_after": layer.reset_after} if layer.op == "GRU" else {}
    return getattr(graph, layer.op.lower())(
        frames, weights[0], backward=weights[1] if len(weights) > 1 else None,
        layout=KINDS[layer.kind][1], name=settings.name, **start, **reset, **attributes,
        **layer.attributes(len(weights), settings.version),
    )  # fmt: skip


def _with_direction(graph: Graph, state: Tensor) -> str:
    """A state as [directions, rows, units]."""
    return state.name if len(state.shape) == 3 else graph.unsqueeze(state.name, [0])


def _frames_first(graph: Graph, x: Tensor) -> str:
    return graph.transpose(x.name, [1, 0, 2])


def _stacked(graph: Graph, pair: Sequence[Tensor]) -> Tensor:
    """The states of two directions as one [2, rows, units]."""
    joined = graph.concat([graph.unsqueeze(state.name, [0]) for state in pair], axis=0)
    return Tensor(joined, (2, *pair[0].shape))


def _reversed(graph: Graph, y: str) -> str:
    """The frames from the last to the first, as Keras gives those of ``go_backwards``."""
    numbers = (np.array([number], np.int64) for number in (-1, np.iinfo(np.int64).min, 0, -1))
    return graph.apply("Slice", y, *numbers)


def _rows_first(graph: Graph, y: str, x: Tensor, units: int) -> Tensor:
    return Tensor(graph.transpose(y, [1, 0, 2]), (*x.shape[:2], units), mask=x.mask)
