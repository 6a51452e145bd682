"""A live PyTorch module as a Graph. Modules are known by their class names; PyTorch is not imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tinyseq.converters import torch_layers as layers
from tinyseq.converters.weights import Weights, as_float32

from tinyseq.errors import ModelError, UnsupportedError
from tinyseq.graph import Graph
from tinyseq.model import Dimension


def from_module(module: Any, shape: Sequence[Dimension]) -> Graph:
    """The graph of a module in eval mode: of ``nn.Sequential`` and the layers in ``MODULES``.

    Args:
        module: what a layer has, down to ``state_dict()``; a layer with states must be the last.
        shape: of the input ``x``, as ``["N", "T", 40]``.

    Returns:
        A graph with the output ``y``; after LSTM, GRU and RNN also ``h`` (and ``c``), their last states.

    Raises:
        UnsupportedError: a module is of another class or set up in a way that tinyseq does not run.
        ModelError: the module is in training mode.
    """
    if module.training:
        raise ModelError("the module is in training mode; call module.eval() first")
    weights = Weights(
        {name: _array(tensor, name) for name, tensor in module.state_dict().items()}, "the module"
    )
    leaves = list(_leaves(module, ""))
    graph = Graph()
    whole = bool(leaves) and _kind(leaves[0][1]) == "Embedding"
    results = [graph.input("x", shape, np.int64 if whole else np.float32)]
    build = _Builder(graph, weights, len(shape))
    for name, leaf in leaves:
        if len(results) > 1:
            raise UnsupportedError(
                f"module {name!r} ({_kind(leaf)}) follows a layer with states, whose results nn.Sequential "
                "cannot pass on; build this with tinyseq.Graph"
            )
        results = build(name, leaf, results[0])
    weights.finish()
    for name, tensor in zip("yhc", results):
        graph.output(name, tensor)
    return graph


def _kind(module: Any) -> str:
    return type(module).__name__


def _leaves(module: Any, name: str):
    """The layers of nested ``nn.Sequential``, with the prefix of their weights."""
    if _kind(module) != "Sequential":
        yield name, module
        return
    for key, child in module.named_children():
        yield from _leaves(child, f"{name}.{key}" if name else key)


def _array(tensor: Any, name: str) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        raise UnsupportedError(
            f"weight {name!r} is of bfloat16, which NumPy lacks; call module.float() first"
        )
    return as_float32(np.array(tensor.numpy()), name)


class _Builder:
    """Adds modules to a graph."""

    def __init__(self, graph: Graph, weights: Weights, rank: int) -> None:
        self.graph = graph
        self.weights = weights
        self.rank = rank

    def __call__(self, name: str, module: Any, x: str) -> Sequence[str]:
        kind = _kind(module)
        if kind not in MODULES:
            raise UnsupportedError(
                f"module {name!r} is a {kind}, which tinyseq cannot read; it knows Sequential, "
                f"{', '.join(MODULES)}: build this with tinyseq.Graph, or export to ONNX"
            )
        results = MODULES[kind](self, name, module, x)
        return [results] if isinstance(results, str) else results

    def expect(self, name: str, module: Any, **settings: Any) -> None:
        """Refuses a module whose settings are others than these."""
        for setting, wanted in settings.items():
            if (found := getattr(module, setting)) != wanted:
                raise UnsupportedError(
                    f"module {name!r} ({_kind(module)}) has {setting}={found!r}; tinyseq reads "
                    f"{wanted!r} only"
                )

    def expect_rank(self, name: str, module: Any, *ranks: int) -> None:
        if self.rank not in ranks:
            raise UnsupportedError(
                f"module {name!r} ({_kind(module)}) gets {self.rank} dimensions; tinyseq reads it with "
                f"{' or '.join(map(str, ranks))}: give the shape with its rows"
            )

    def recurrent(self, name: str, module: Any, x: str) -> Sequence[str]:
        self.expect_rank(name, module, 3)
        settings = {"nonlinearity": module.nonlinearity} if _kind(module) == "RNN" else {}
        layer = {"LSTM": layers.lstm, "GRU": layers.gru, "RNN": layers.rnn}[_kind(module)]
        return layer(self.graph, x, self.weights, name, batch_first=module.batch_first, **settings)

    def lstm_cell(self, name: str, module: Any, x: str) -> Sequence[str]:
        """h is the first result, and the output."""
        self.expect_rank(name, module, 2)
        h, c = layers.lstm_cell(self.graph, x, self.weights, name)
        return self.graph.apply("Identity", h), h, c

    def gru_cell(self, name: str, module: Any, x: str) -> str:
        self.expect_rank(name, module, 2)
        return layers.gru_cell(self.graph, x, self.weights, name)

    def embedding(self, name: str, module: Any, x: str) -> str:
        self.expect(name, module, max_norm=None)
        self.rank += 1
        return layers.embedding(self.graph, x, self.weights, name)

    def conv1d(self, name: str, module: Any, x: str) -> str:
        self.expect(name, module, padding_mode="zeros")
        self.expect_rank(name, module, 3)
        (stride,), (dilation,) = module.stride, module.dilation
        if module.padding == "same":
            around = dilation * (module.kernel_size[0] - 1)
            padding = (around // 2, around - around // 2)
        else:
            padding = 0 if module.padding == "valid" else module.padding[0]
        return layers.conv1d(
            self.graph, x, self.weights, name,
            stride=stride, padding=padding, dilation=dilation, groups=module.groups,
        )  # fmt: skip

    def layer_norm(self, name: str, module: Any, x: str) -> str:
        self.expect(name, module, elementwise_affine=True)
        return layers.layer_norm(self.graph, x, self.weights, name, epsilon=module.eps)

    def batch_norm(self, name: str, module: Any, x: str) -> str:
        self.expect(name, module, affine=True, track_running_stats=True)
        self.expect_rank(name, module, 2, 3)
        return layers.batch_norm(self.graph, x, self.weights, name, epsilon=module.eps)

    def softmax(self, name: str, module: Any, x: str) -> str:
        if module.dim is None:
            raise UnsupportedError(f"module {name!r} ({_kind(module)}) does not say its dim")
        return self.graph.apply(_kind(module), x, axis=module.dim)

    def gelu(self, name: str, module: Any, x: str) -> str:
        return self.graph.apply("Gelu", x, approximate=module.approximate)

    def softplus(self, name: str, module: Any, x: str) -> str:
        self.expect(name, module, beta=1.0)
        return self.graph.apply("Softplus", x)

    def prelu(self, name: str, module: Any, x: str) -> str:
        """One slope, or one per channel, which is dimension 1."""
        slope = self.weights.take(f"{name}.weight" if name else "weight", None)
        return self.graph.apply("PRelu", x, slope.reshape(-1, *(1,) * (self.rank - 2)))

    def flatten(self, name: str, module: Any, x: str) -> str:
        self.expect(name, module, start_dim=1, end_dim=-1)
        self.rank = 2
        return self.graph.apply("Flatten", x, axis=1)


def _plain(op: str, **settings: str) -> Callable:
    """A module that is one op; ``settings`` say which of its settings is which attribute."""

    def build(builder: _Builder, name: str, module: Any, x: str) -> str:
        attributes = {attribute: float(getattr(module, own)) for attribute, own in settings.items()}
        return builder.graph.apply(op, x, **attributes)

    return build


def _nothing(builder: _Builder, name: str, module: Any, x: str) -> str:
    return x


MODULES: dict[str, Callable[[_Builder, str, Any, str], str | Sequence[str]]] = {
    "LSTM": _Builder.recurrent,
    "GRU": _Builder.recurrent,
    "RNN": _Builder.recurrent,
    "LSTMCell": _Builder.lstm_cell,
    "GRUCell": _Builder.gru_cell,
    "Linear": lambda builder, name, module, x: layers.linear(builder.graph, x, builder.weights, name),
    "Embedding": _Builder.embedding,
    "Conv1d": _Builder.conv1d,
    "LayerNorm": _Builder.layer_norm,
    "BatchNorm1d": _Builder.batch_norm,
    "ReLU": _plain("Relu"),
    "Sigmoid": _plain("Sigmoid"),
    "Tanh": _plain("Tanh"),
    "ELU": _plain("Elu", alpha="alpha"),
    "LeakyReLU": _plain("LeakyRelu", alpha="negative_slope"),
    "PReLU": _Builder.prelu,
    "GELU": _Builder.gelu,
    "Hardsigmoid": lambda builder, name, module, x: builder.graph.apply(
        "HardSigmoid", x, alpha=1 / 6, beta=0.5
    ),
    "Softplus": _Builder.softplus,
    "SiLU": lambda builder, name, module, x: builder.graph.mul(x, builder.graph.sigmoid(x)),
    "Softmax": _Builder.softmax,
    "LogSoftmax": _Builder.softmax,
    "Flatten": _Builder.flatten,
    "Dropout": _nothing,
    "Identity": _nothing,
}
"""How each class of modules is added."""
