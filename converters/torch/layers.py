"""PyTorch's layers from the names and shapes of their state_dict.

Each function adds the layer whose weights' names begin with ``prefix`` to a graph. Formulas and names
are those of PyTorch's documentation of ``torch.nn``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from typing import Any

import numpy as np
from tinyseq.converters.weights import Weights

from tinyseq.common.given import is_one_of
from tinyseq.common.text import shown
from tinyseq.errors import ModelError, UnsupportedError
from tinyseq.ir.graph import Graph, Tensor
from tinyseq.kernels.activations import BY_TORCH_NAME
from tinyseq.kernels.cells import CELLS


def _layer(add: Callable) -> Callable:
    """A layer whose graph, weights and prefix are checked."""
    parameters = signature(add)

    @wraps(add)
    def checked(*given, **named):
        arguments = parameters.bind(*given, **named).arguments
        for name, kind in (("graph", Graph), ("weights", Weights)):
            if not isinstance(arguments[name], kind):
                raise ModelError(
                    f"{add.__name__}: {name} is a {kind.__name__}, not {type(arguments[name]).__name__}"
                )
        if not isinstance(arguments.get("prefix", ""), str):
            raise ModelError(f"{add.__name__}: prefix is a word, not {shown(arguments['prefix'])}")
        if not isinstance(arguments.get("batch_first", False), (bool, np.bool_)):
            raise ModelError(
                f"{add.__name__}: batch_first is True or False, not {shown(arguments['batch_first'])}"
            )
        return add(*given, **named)

    return checked


@_layer
def lstm(
    graph: Graph, x: Tensor, weights: Weights, prefix: str = "", *, batch_first: bool = False,
    h: Tensor | None = None, c: Tensor | None = None, lengths: Tensor | None = None,
) -> tuple[str, str, str]:  # fmt: skip
    """``nn.LSTM``: all its layers and directions.

    Args:
        x: [frames, rows, features], or [rows, frames, features] with ``batch_first``.
        h: initial state [layers * directions, rows, hidden], likewise ``c``; zeros if left out. With
            ``proj_size`` P, h and the outputs have P numbers and c has hidden.
        lengths: int32 [rows], how many frames of each row count.

    Returns:
        The last layer's outputs, with frames and rows as x has them, and the last h and c, shaped as the
        initial ones.
    """
    return _recurrent("lstm", graph, x, weights, prefix, batch_first, (h, c), lengths, {})


@_layer
def gru(
    graph: Graph, x: Tensor, weights: Weights, prefix: str = "", *, batch_first: bool = False,
    h: Tensor | None = None, lengths: Tensor | None = None,
) -> tuple[str, str]:  # fmt: skip
    """``nn.GRU``: arguments and results as ``lstm``, less c."""
    return _recurrent("gru", graph, x, weights, prefix, batch_first, (h,), lengths, {})


@_layer
def rnn(
    graph: Graph, x: Tensor, weights: Weights, prefix: str = "", *, batch_first: bool = False,
    nonlinearity: str = "tanh", h: Tensor | None = None, lengths: Tensor | None = None,
) -> tuple[str, str]:  # fmt: skip
    """``nn.RNN``: arguments and results as ``lstm``, less c."""
    attributes = _nonlinear(nonlinearity, prefix)
    return _recurrent("rnn", graph, x, weights, prefix, batch_first, (h,), lengths, attributes)


def _nonlinear(nonlinearity: str, prefix: str) -> dict[str, Any]:
    if not is_one_of(nonlinearity, BY_TORCH_NAME):
        names = " or ".join(map(repr, BY_TORCH_NAME))
        raise UnsupportedError(f"RNN {prefix!r}: nonlinearity={shown(nonlinearity)}; it is {names}")
    name = BY_TORCH_NAME[nonlinearity].name
    return {} if (name,) == CELLS["RNN"].activations else {"activations": (name,)}


def _recurrent(kind, graph, x, weights, prefix, batch_first, initials, lengths, attributes):
    layers = 0
    while f"{_dotted(prefix)}weight_ih_l{layers}" in weights:
        layers += 1
    y = graph.transpose(x, [1, 0, 2]) if batch_first else x
    finals = []
    for layer in range(max(1, layers)):
        forward = _cell(weights, prefix, f"_l{layer}")
        reverse = f"_l{layer}_reverse"
        backward = (
            _cell(weights, prefix, reverse) if f"{_dotted(prefix)}weight_ih{reverse}" in weights else None
        )
        directions = 1 if backward is None else 2
        start = {
            name: _part(graph, state, layer * directions, directions, layers)
            for name, state in zip("hc", initials)
        }
        y, *last = getattr(graph, kind)(
            y, forward, backward=backward, layout="torch", lengths=lengths,
            name=f"{_dotted(prefix)}l{layer}", **start, **_for_directions(attributes, directions),
        )  # fmt: skip
        finals.append(last)
    y = graph.transpose(y, [1, 0, 2]) if batch_first else y
    return y, *(states[0] if layers == 1 else graph.concat(states, axis=0) for states in zip(*finals))


def _for_directions(attributes: dict[str, Any], directions: int) -> dict[str, Any]:
    return {name: value * directions for name, value in attributes.items()}


def _part(graph: Graph, state: Tensor | None, first: int, count: int, layers: int) -> Tensor | None:
    """One layer's rows of a stacked initial state."""
    return state if state is None or layers == 1 else graph.slice(state, 0, first, first + count)


def _dotted(prefix: str) -> str:
    return f"{prefix}." if prefix else ""


def _cell(weights: Weights, prefix: str, suffix: str) -> list:
    start = _dotted(prefix)
    return [
        weights.take(f"{start}weight_ih{suffix}", None, None),
        weights.take(f"{start}weight_hh{suffix}", None, None),
        weights.find(f"{start}bias_ih{suffix}", None),
        weights.find(f"{start}bias_hh{suffix}", None),
        *([w_hr] if (w_hr := weights.find(f"{start}weight_hr{suffix}", None, None)) is not None else []),
    ]


@_layer
def lstm_cell(
    graph: Graph, x: Tensor, weights: Weights, prefix: str = "", *,
    h: Tensor | None = None, c: Tensor | None = None,
) -> tuple[str, str]:  # fmt: skip
    """``nn.LSTMCell``: x [rows, features], states and results h and c [rows, hidden]."""
    return _one_step("lstm", graph, x, weights, prefix, {"h": h, "c": c})


@_layer
def gru_cell(graph: Graph, x: Tensor, weights: Weights, prefix: str = "", *, h: Tensor | None = None) -> str:
    """``nn.GRUCell``: x [rows, features], state and result h [rows, hidden]."""
    return _one_step("gru", graph, x, weights, prefix, {"h": h})[0]


@_layer
def rnn_cell(
    graph: Graph, x: Tensor, weights: Weights, prefix: str = "", *,
    nonlinearity: str = "tanh", h: Tensor | None = None,
) -> str:  # fmt: skip
    """``nn.RNNCell``: x [rows, features], state and result h [rows, hidden]."""
    return _one_step("rnn", graph, x, weights, prefix, {"h": h}, **_nonlinear(nonlinearity, prefix))[0]


def _one_step(kind, graph, x, weights, prefix, initials, **attributes) -> tuple[str, ...]:
    start = {
        name: state if state is None else graph.unsqueeze(state, [0]) for name, state in initials.items()
    }
    frames = graph.unsqueeze(x, [0])
    _, *finals = getattr(graph, kind)(
        frames, _cell(weights, prefix, ""), layout="torch", name=prefix or kind, **start, **attributes
    )
    return tuple(graph.squeeze(final, [0]) for final in finals)


@_layer
def linear(graph: Graph, x: Tensor, weights: Weights, prefix: str = "") -> str:
    """``nn.Linear``: ``x @ weight.T + bias``."""
    w = weights.take(f"{_dotted(prefix)}weight", None, None)
    b = weights.find(f"{_dotted(prefix)}bias", w.shape[0])
    return graph.dense(x, w.T, b, name=prefix or "linear")


@_layer
def embedding(graph: Graph, indices: Tensor, weights: Weights, prefix: str = "") -> str:
    """``nn.Embedding``: the weight's rows at whole-numbered indices."""
    table = weights.take(f"{_dotted(prefix)}weight", None, None)
    return graph.embedding(indices, table, name=prefix or "embedding")


@_layer
def conv1d(graph: Graph, x: Tensor, weights: Weights, prefix: str = "", **settings) -> str:
    """``nn.Conv1d``: stride, padding, dilation and groups as ``Graph.conv1d`` takes them."""
    w = weights.take(f"{_dotted(prefix)}weight", None, None, None)
    b = weights.find(f"{_dotted(prefix)}bias", w.shape[0])
    return graph.conv1d(x, w, b, name=prefix or "conv", **settings)


@_layer
def convolution(
    graph: Graph, x: Tensor, weights: Weights, prefix: str = "", *, strides: Sequence[int],
    padding: Sequence[tuple[int, int]], dilations: Sequence[int], groups: int = 1,
) -> str:  # fmt: skip
    """``nn.Conv1d`` and ``nn.Conv2d``: strides, zeros before and after, and dilations of each dimension."""
    w = weights.take(f"{_dotted(prefix)}weight", *(None,) * (2 + len(strides)))
    b = weights.find(f"{_dotted(prefix)}bias", w.shape[0])
    before, after = zip(*padding)
    return graph.apply(
        "Conv", x, w, b, name=prefix or "conv",
        strides=tuple(strides), pads=(*before, *after), dilations=tuple(dilations), group=groups,
    )  # fmt: skip


@_layer
def layer_norm(graph: Graph, x: Tensor, weights: Weights, prefix: str = "", *, epsilon: float = 1e-5) -> str:
    """``nn.LayerNorm`` over the dimensions of its weight."""
    scale = weights.take(f"{_dotted(prefix)}weight")
    b = weights.find(f"{_dotted(prefix)}bias", *scale.shape)
    return graph.layer_norm(x, scale, b, axis=-scale.ndim, epsilon=epsilon)


@_layer
def batch_norm(graph: Graph, x: Tensor, weights: Weights, prefix: str = "", *, epsilon: float = 1e-5) -> str:
    """``nn.BatchNorm1d`` and ``2d`` in eval mode: by the mean and variance that training found."""
    mean, variance = (weights.take(f"{_dotted(prefix)}running_{name}", None) for name in ("mean", "var"))
    scale, offset = (weights.find(f"{_dotted(prefix)}{name}", mean.size) for name in ("weight", "bias"))
    scale = np.ones_like(mean) if scale is None else scale
    offset = np.zeros_like(mean) if offset is None else offset
    weights.find(f"{_dotted(prefix)}num_batches_tracked")
    return graph.batch_norm(x, scale, offset, mean, variance, epsilon=epsilon)
