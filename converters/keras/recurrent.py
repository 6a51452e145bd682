"""Keras' recurrent layers: LSTM, GRU, SimpleRNN, their CuDNN forms, RNN of cells, and Bidirectional.

Keras has rows first, ONNX frames first; shapes of states are [rows, units] and [1, rows, units].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tinyseq.converters.keras.files import Variables
from tinyseq.converters.keras.masks import Compacted
from tinyseq.converters.keras.settings import Settings, Tensor

from tinyseq.errors import ModelError
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

CELLS = {"LSTMCell": "LSTM", "GRUCell": "GRU", "SimpleRNNCell": "SimpleRNN"}
"""The classes of cells, and the layers that run each of them."""


@dataclass(frozen=True, slots=True)
class CellConfig:
    """What a cell's configuration says, or that of a layer that has a cell of its own."""

    kind: str
    units: int
    bias: bool
    functions: tuple[str, str]
    reset_after: bool

    @classmethod
    def read(cls, settings: Settings, kind: str) -> CellConfig:
        """Reads the fields of a cell."""
        cudnn = kind.startswith("CuDNN")
        functions = (
            "sigmoid" if cudnn else settings.function("recurrent_activation", "sigmoid"),
            "tanh" if cudnn else settings.function("activation", "tanh"),
        )
        for function in functions:
            if function not in BY_KERAS_NAME:
                raise settings.refusal(f"the activation {function!r} within a recurrent layer is not known")
        return cls(
            kind,
            *settings.sizes("units", 1),
            bool(settings.get("use_bias", True)),
            functions,
            cudnn or (kind == "GRU" and bool(settings.get("reset_after", False))),
        )

    @property
    def op(self) -> str:
        return KINDS[self.kind][0]

    @property
    def layout(self) -> str:
        return KINDS[self.kind][1]

    @property
    def states(self) -> int:
        return 2 if self.op == "LSTM" else 1

    def weights(self, variables: Variables, features: int | None) -> list[np.ndarray | None]:
        """Kernel, recurrent kernel and bias."""
        rows = len(ORDERS[self.op]["keras"]) * self.units
        taken: list[np.ndarray | None] = [variables.take(features, rows), variables.take(self.units, rows)]
        if not self.bias:
            return [*taken, None]
        if self.layout == "cudnn":
            return [*taken, variables.take(2 * rows)]
        return [*taken, variables.take(2, rows) if self.reset_after else variables.take(rows)]

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


@dataclass(frozen=True, slots=True)
class LayerConfig:
    """What a recurrent layer's configuration says; ``stacked`` where it names its cells in a list."""

    cells: tuple[CellConfig, ...]
    stacked: bool
    sequences: bool
    state: bool
    backwards: bool
    zeros: bool

    @classmethod
    def read(cls, settings: Settings) -> LayerConfig:
        """Reads all fields of a layer."""
        settings.expect("time_major", False)
        cells, stacked = _cells(settings)
        layer = cls(
            cells,
            stacked,
            bool(settings.get("return_sequences", False)),
            bool(settings.get("return_state", False)),
            bool(settings.get("go_backwards", False)),
            bool(settings.get("zero_output_for_mask", False)),
        )
        settings.get("stateful", False)
        settings.finish()
        return layer

    @property
    def units(self) -> int:
        return self.cells[-1].units

    @property
    def states(self) -> int:
        return sum(cell.states for cell in self.cells)

    def weights(self, settings: Settings, variables: Variables, features: int | None) -> list[list]:
        """The weights of each cell."""
        if settings.kind.startswith("CuDNN"):
            return [self.cells[0].weights(variables, features)]
        if not self.stacked:
            return [self.cells[0].weights(variables.child("cell"), features)]
        taken, seen = [], Counter[str]()
        for cell in self.cells:
            own = variables.child("cell").listed("cells", f"{cell.kind}Cell", seen[cell.kind])
            taken.append(cell.weights(own, features))
            seen[cell.kind] += 1
            features = cell.units
        return taken

    def split(self, states: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        """The states of each cell."""
        parts, start = [], 0
        for cell in self.cells:
            parts.append(states[start : start + cell.states])
            start += cell.states
        return parts


def _cells(settings: Settings) -> tuple[tuple[CellConfig, ...], bool]:
    """The cells of a layer, and whether it lists them."""
    if settings.kind != "RNN":
        return (CellConfig.read(settings, settings.kind),), False
    cell = settings.get("cell")
    stacked = isinstance(cell, list) or cell.get("class_name") == "StackedRNNCells"
    entries = cell if isinstance(cell, list) else cell["config"]["cells"] if stacked else [cell]
    if stacked and not isinstance(cell, list) and cell["config"].get("reverse_state_order"):
        raise settings.refusal("its cells' states are in reverse order")
    cells = []
    for entry in entries:
        kind = entry.get("class_name")
        if kind not in CELLS or entry.get("registered_name") not in (None, kind):
            raise settings.refusal(
                f"its cell is a {kind}; tinyseq knows {', '.join(CELLS)} and lists of them"
            )
        own = Settings(kind, entry["config"], settings.version)
        cells.append(CellConfig.read(own, CELLS[kind]))
        own.finish()
    if not cells:
        raise ModelError(f"{settings}: it has no cell; the file is damaged")
    return tuple(cells), stacked


def recurrent(
    graph: Graph, settings: Settings, variables: Variables, inputs: Sequence[Tensor]
) -> list[Tensor]:
    """A layer over a sequence; further inputs are its initial states.

    Returns:
        The outputs (of all frames or the last) and, with ``return_state``, the last states.
    """
    return _one_way(graph, settings, LayerConfig.read(settings), variables, inputs)


def bidirectional(
    graph: Graph, settings: Settings, variables: Variables, inputs: Sequence[Tensor]
) -> list[Tensor]:
    """A layer and another that runs from the other end, merged."""
    settings.expect("merge_mode", "concat", "sum", "mul", "ave", None)
    mode = settings.config.get("merge_mode", "concat")
    parts = [settings.get("layer"), settings.get("backward_layer", None)]
    parts[1] = parts[1] or parts[0]
    settings.finish()
    wrapped = [Settings(part["class_name"], part["config"], settings.version) for part in parts]
    for own in wrapped:
        if own.kind not in (*KINDS, "RNN"):
            raise settings.refusal(f"it wraps a {own.kind}, not {', '.join(KINDS)} or RNN")
    layer, other = (LayerConfig.read(own) for own in wrapped)
    if parts[1] is parts[0]:
        other = replace(other, backwards=not layer.backwards)
    if layer.backwards == other.backwards:
        raise ModelError(f"{settings}: its two layers run the same way; the file is damaged")
    if (layer.sequences, layer.state) != (other.sequences, other.state):
        raise ModelError(f"{settings}: its two layers give different things; the file is damaged")
    x, *initials = inputs
    weights = [
        each.weights(own, variables.child(f"{way}_layer"), x.shape[-1])
        for each, own, way in zip((layer, other), wrapped, ("forward", "backward"))
    ]
    alike = other == replace(layer, backwards=True)
    if alike and len(layer.cells) == 1:
        outputs, states = _two_ways(
            graph, settings, layer, x, [cells[0] for cells in weights], initials, mode
        )
    else:
        outputs, states = _each_way(graph, wrapped, (layer, other), x, weights, initials)
    merged = _merged(graph, mode, outputs)
    return [*merged, *(states if layer.state else [])]


def _merged(graph: Graph, mode: str | None, outputs: list[Tensor]) -> list[Tensor]:
    if mode is None or len(outputs) == 1:
        return outputs
    one, other = outputs
    if mode == "concat":
        shape = (*one.shape[:-1], one.shape[-1] + other.shape[-1])
        return [Tensor(graph.concat([one.name, other.name], axis=-1), shape, mask=one.mask)]
    y = graph.mul(one.name, other.name) if mode == "mul" else graph.add(one.name, other.name)
    return [replace(one, name=graph.mul(y, 0.5) if mode == "ave" else y)]


def _one_way(graph, settings, layer, variables, inputs) -> list[Tensor]:
    x, *initials = inputs
    weights = layer.weights(settings, variables, x.shape[-1])
    y, states = _run_all(graph, settings, layer, x, weights, initials)
    if not layer.sequences:
        return [_last(graph, layer, x, states), *(states if layer.state else [])]
    y = _reversed(graph, y) if layer.backwards else y
    return [_rows_first(graph, y, x, layer.units), *(states if layer.state else [])]


def _last(graph: Graph, layer: LayerConfig, x: Tensor, states: Sequence[Tensor]) -> Tensor:
    """The output at the last frame that the layer meets: its last cell's state, or zeros."""
    last = states[-layer.cells[-1].states]
    if x.mask is None or not layer.zeros:
        return last
    end = (0, 1) if layer.backwards else (-1, np.iinfo(np.int64).max)
    shown = graph.slice(x.mask, 1, *end)
    return replace(last, name=graph.apply("Where", shown, last.name, np.float32(0)))


def _run_all(graph, settings, layer, x, weights, initials) -> tuple[str, list[Tensor]]:
    """The cells of a layer one after the other: the outputs [frames, rows, units] of the last, in the order
    of the frames, and the last states of all."""
    if len(initials) not in (0, layer.states):
        raise settings.refusal(f"it gets {len(initials)} states and has {layer.states}")
    attributes = {"direction": "reverse"} if layer.backwards else {}
    compacted = None if x.mask is None else _compacted(graph, x)
    y = _frames_first(graph, x) if compacted is None else compacted.frames
    if compacted is not None:
        attributes["lengths"] = compacted.lengths
    finals: list[str] = []
    for cell, own, start in zip(layer.cells, weights, layer.split(initials)):
        y, *last = _run(graph, settings, cell, x, y, [own], start, attributes)
        finals += last
    if compacted is not None:
        y = _spread(graph, layer, compacted, y, finals[-layer.cells[-1].states], initials)
    sizes = [cell.units for cell in layer.cells for _ in range(cell.states)]
    states = [Tensor(graph.squeeze(state, [0]), (x.shape[0], units)) for state, units in zip(finals, sizes)]
    return y, states


def _spread(graph, layer, compacted, y, last, initials) -> str:
    """The outputs of the frames that are shown, back at their places."""
    if layer.zeros:
        return compacted.zeroed(y)
    start = initials and _with_direction(graph, layer.split(initials)[-1][0])
    start = start or graph.apply("Expand", np.float32(0), graph.apply("Shape", last))
    return compacted.held(y, start, layer.backwards)


def _two_ways(graph, settings, layer, x, weights, initials, mode) -> tuple[list[Tensor], list[Tensor]]:
    """Both directions as one op: outputs, of one direction and of the other where they are not wanted end to
    end, and the last states likewise. Hidden frames of sequences are zeros, whatever the layer says."""
    cell = layer.cells[0]
    if initials:
        pairs = zip(initials[: cell.states], initials[cell.states :], strict=True)
        initials = [_stacked(graph, pair) for pair in pairs]
    if x.mask is None:
        y, *finals = _run(graph, settings, cell, x, _frames_first(graph, x), weights, initials, {})
    else:
        compacted = _compacted(graph, x)
        lengths = {"lengths": compacted.lengths}
        y, *finals = _run(graph, settings, cell, x, compacted.frames, weights, initials, lengths)
        y = compacted.zeroed(y)
    finals = [graph.slice(final, 0, way, way + 1) for way in (0, 1) for final in finals]
    states = [Tensor(graph.squeeze(final, [0]), (x.shape[0], cell.units)) for final in finals]
    if not layer.sequences:
        return [states[0], states[cell.states]], states
    if mode == "concat":
        return [_rows_first(graph, y, x, 2 * cell.units)], states
    halves = [graph.slice(y, -1, way * cell.units, (way + 1) * cell.units) for way in (0, 1)]
    return [_rows_first(graph, half, x, cell.units) for half in halves], states


def _each_way(graph, settings, layers, x, weights, initials) -> tuple[list[Tensor], list[Tensor]]:
    """Two directions that differ, each by itself: outputs and last states of both. The second one's frames
    are turned round once more, which gives their order where it runs from the end."""
    if len(initials) not in (0, sum(layer.states for layer in layers)):
        raise settings[0].refusal(f"it gets {len(initials)} states")
    starts = [initials[: layers[0].states], initials[layers[0].states :]]
    outputs, states = [], []
    for own, layer, cells, start in zip(settings, layers, weights, starts):
        layer = replace(layer, zeros=layer.sequences)
        y, last = _run_all(graph, own, layer, x, cells, start)
        states += last
        if layers[0].backwards:
            y = _reversed(graph, y)
        whole = layer.sequences
        outputs.append(_rows_first(graph, y, x, layer.units) if whole else _last(graph, layer, x, last))
    return outputs, states


def _compacted(graph: Graph, x: Tensor) -> Compacted:
    return Compacted(graph, _frames_first(graph, x), graph.transpose(x.mask, [1, 0]))


def _run(graph, settings, cell, x, frames, weights, initials, attributes) -> tuple[str, ...]:
    """Adds the op over frames [frames, rows, features]; gives its outputs."""
    if x.rank != 3 or len(initials) not in (0, cell.states):
        raise settings.refusal(f"it gets {x.rank} dimensions and {len(initials)} states")
    start = {name: _with_direction(graph, state) for name, state in zip("hc", initials)}
    reset = {"reset_after": cell.reset_after} if cell.op == "GRU" else {}
    return getattr(graph, cell.op.lower())(
        frames, weights[0], backward=weights[1] if len(weights) > 1 else None,
        layout=cell.layout, name=settings.name, **start, **reset, **attributes,
        **cell.attributes(len(weights), settings.version[0]),
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
