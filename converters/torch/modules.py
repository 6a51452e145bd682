"""A live PyTorch module as a Graph. Modules are known by their class names; PyTorch is not imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tinyseq.converters.torch import layers as layers
from tinyseq.converters.weights import Weights, as_float32

from tinyseq.common.text import nearest
from tinyseq.errors import ModelError, UnsupportedError
from tinyseq.ir.graph import Graph
from tinyseq.ir.model import Dimension


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
    if isinstance(module, type) or not callable(getattr(module, "state_dict", None)):
        raise ModelError(f"a module of PyTorch is built in, not a {type(module).__name__}")
    leaves = list(_leaves(module, ""))
    for name, part in (("", module), *leaves):
        if part.training:
            raise ModelError(f"the module {name!r} is in training mode; call module.eval() first")
    weights = Weights(
        {name: _array(tensor, name) for name, tensor in module.state_dict().items()}, "the module"
    )
    graph = Graph()
    whole = bool(leaves) and _kind(leaves[0][1]) == "Embedding"
    results = [graph.input("x", shape, np.int64 if whole else np.float32)]
    build = _Builder(graph, weights, len(tuple(shape)))
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
            near = nearest(kind, ("Sequential", *MODULES))
            raise UnsupportedError(
                f"module {name!r} is a {kind}, which tinyseq cannot read"
                + (f"; near it are {', '.join(near)}" if near else "")
                + ". Build this with tinyseq.Graph, or export to ONNX"
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

    def cell(self, name: str, module: Any, x: str) -> str:
        self.expect_rank(name, module, 2)
        if _kind(module) == "GRUCell":
            return layers.gru_cell(self.graph, x, self.weights, name)
        return layers.rnn_cell(self.graph, x, self.weights, name, nonlinearity=module.nonlinearity)

    def embedding(self, name: str, module: Any, x: str) -> str:
        self.expect(name, module, max_norm=None)
        self.rank += 1
        return layers.embedding(self.graph, x, self.weights, name)

    def convolution(self, name: str, module: Any, x: str) -> str:
        """Conv1d and Conv2d."""
        axes = int(_kind(module)[-2])
        self.expect(name, module, padding_mode="zeros")
        self.expect_rank(name, module, axes + 2)
        around = [dilation * (size - 1) for dilation, size in zip(module.dilation, module.kernel_size)]
        if module.padding == "same":
            padding = [(total // 2, total - total // 2) for total in around]
        else:
            sides = (0,) * axes if module.padding == "valid" else module.padding
            padding = [(side, side) for side in sides]
        return layers.convolution(
            self.graph, x, self.weights, name,
            strides=module.stride, padding=padding, dilations=module.dilation, groups=module.groups,
        )  # fmt: skip

    def pooling(self, name: str, module: Any, x: str) -> str:
        """MaxPool and AvgPool over 1 or 2 dimensions."""
        axes, largest = int(_kind(module)[-2]), _kind(module).startswith("Max")
        self.expect_rank(name, module, axes + 2)
        self.expect(name, module, ceil_mode=False)
        if largest:
            self.expect(name, module, return_indices=False)
        elif axes == 2:
            self.expect(name, module, divisor_override=None)

        def each(setting: str) -> tuple[int, ...]:
            value = getattr(module, setting)
            return tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes

        more = {"dilations": each("dilation")} if largest else {
            "count_include_pad": int(module.count_include_pad)
        }  # fmt: skip
        return self.graph.apply(
            "MaxPool" if largest else "AveragePool", x, kernel_shape=each("kernel_size"),
            strides=each("stride"), pads=each("padding") * 2, **more,
        )  # fmt: skip

    def mean(self, name: str, module: Any, x: str) -> str:
        """AdaptiveAvgPool1d to one frame."""
        self.expect_rank(name, module, 3)
        if module.output_size not in (1, (1,)):
            self.expect(name, module, output_size=1)
        return self.graph.apply("ReduceMean", x, np.array([2]), keepdims=1)

    def layer_norm(self, name: str, module: Any, x: str) -> str:
        if not module.elementwise_affine:
            scale = np.ones(module.normalized_shape, np.float32)
            return self.graph.layer_norm(x, scale, axis=-scale.ndim, epsilon=module.eps)
        return layers.layer_norm(self.graph, x, self.weights, name, epsilon=module.eps)

    def batch_norm(self, name: str, module: Any, x: str) -> str:
        self.expect(name, module, track_running_stats=True)
        self.expect_rank(name, module, *((4,) if _kind(module) == "BatchNorm2d" else (2, 3)))
        return layers.batch_norm(self.graph, x, self.weights, name, epsilon=module.eps)

    def softmax(self, name: str, module: Any, x: str) -> str:
        if module.dim is None:
            raise UnsupportedError(f"module {name!r} ({_kind(module)}) does not say its dim")
        return self.graph.apply(_kind(module), x, axis=module.dim)

    def gelu(self, name: str, module: Any, x: str) -> str:
        return self.graph.apply("Gelu", x, approximate=module.approximate)

    def softplus(self, name: str, module: Any, x: str) -> str:
        """``log(1 + exp(beta x)) / beta``."""
        beta = float(module.beta)
        return self.graph.mul(self.graph.apply("Softplus", self.graph.mul(x, beta)), 1 / beta)

    def hardtanh(self, name: str, module: Any, x: str) -> str:
        """Hardtanh, and ReLU6, which is one."""
        return self.graph.apply("Clip", x, float(module.min_val), float(module.max_val))

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
    "GRUCell": _Builder.cell,
    "RNNCell": _Builder.cell,
    "Linear": lambda builder, name, module, x: layers.linear(builder.graph, x, builder.weights, name),
    "Embedding": _Builder.embedding,
    "Conv1d": _Builder.convolution,
    "Conv2d": _Builder.convolution,
    "MaxPool1d": _Builder.pooling,
    "MaxPool2d": _Builder.pooling,
    "AvgPool1d": _Builder.pooling,
    "AvgPool2d": _Builder.pooling,
    "AdaptiveAvgPool1d": _Builder.mean,
    "LayerNorm": _Builder.layer_norm,
    "BatchNorm1d": _Builder.batch_norm,
    "BatchNorm2d": _Builder.batch_norm,
    "ReLU": _plain("Relu"),
    "Sigmoid": _plain("Sigmoid"),
    "Tanh": _plain("Tanh"),
    "ELU": _plain("Elu", alpha="alpha"),
    "CELU": _plain("Celu", alpha="alpha"),
    "SELU": _plain("Selu"),
    "Softsign": _plain("Softsign"),
    "Mish": _plain("Mish"),
    "Hardswish": _plain("HardSwish"),
    "Hardtanh": _Builder.hardtanh,
    "ReLU6": _Builder.hardtanh,
    "LogSigmoid": lambda builder, name, module, x: builder.graph.apply(
        "Neg", builder.graph.apply("Softplus", builder.graph.apply("Neg", x))
    ),
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
    **dict.fromkeys(("Dropout", "Dropout1d", "Dropout2d", "AlphaDropout"), _nothing),
    "Identity": _nothing,
}
"""How each class of modules is added."""
