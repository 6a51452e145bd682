"""The configuration of one Keras layer: every field is read, known to change nothing, or refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinyseq.errors import ModelError, UnsupportedError
from tinyseq.ir.graph import Graph
from tinyseq.kernels.activations import BY_KERAS_NAME

HARMLESS = re.compile(
    r".*_(initializer|regularizer|constraint)|name|trainable|batch_(input_)?shape|seed|autocast|sparse|ragged"
    r"|unit_forget_bias|unroll|implementation|dropout|recurrent_dropout|input_dim"
    r"|input_length|noise_shape|optional"
)
"""Fields that training reads, that choose among ways to the same result, or that repeat a shape."""

REQUIRED = object()


class Settings:
    """The fields of a layer's configuration and a record of those that were read."""

    def __init__(self, kind: str, config: dict[str, Any], version: int) -> None:
        self.kind = kind
        self.config = config
        self.version = version
        self.name = str(config.get("name", kind))
        self._left = {field for field in config if not HARMLESS.fullmatch(field)}
        self._check_dtype()

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.kind})"

    def get(self, field: str, default: Any = REQUIRED) -> Any:
        """A field's value."""
        self._left.discard(field)
        value = self.config.get(field, default)
        if value is REQUIRED:
            raise ModelError(f"{self} lacks its {field}; the file is damaged")
        return value

    def expect(self, field: str, *allowed: Any) -> None:
        """Refuses a field with another value than these; it may be absent."""
        value = self.get(field, allowed[0])
        if value not in allowed:
            raise self.refusal(f"{field}={value!r} is not supported; tinyseq takes {allowed[0]!r}")

    def refusal(self, why: str) -> UnsupportedError:
        """The error that says why this layer cannot be read."""
        return UnsupportedError(f"{self}: {why}; change the layer, or export the model to ONNX")

    def finish(self) -> None:
        """Refuses fields that nothing read, unless they are not set."""
        for field in sorted(self._left):
            if self.config[field] is not None:
                raise self.refusal(f"the field {field}={self.config[field]!r} is not known")

    def _check_dtype(self) -> None:
        dtype = self.get("dtype", "float32")
        name = dtype.get("config", {}).get("name") if isinstance(dtype, dict) else dtype
        if name not in ("float32", "bool", None) and self.kind != "InputLayer":
            raise self.refusal(f"it computes in {name}, tinyseq in float32")

    def function(self, field: str, default: str = "linear") -> str:
        """The name of an activation function."""
        value = self.get(field, default)
        if isinstance(value, dict) and isinstance(value.get("config"), str):
            value = value["config"]
        if value is None:
            return "linear"
        if not isinstance(value, str):
            raise self.refusal(f"{field}={value!r} is no function of Keras")
        return value

    def sizes(self, field: str, count: int, default: Any = REQUIRED) -> tuple[int, ...]:
        """One number for each of ``count`` axes; a lone number is for all."""
        value = self.get(field, default)
        sizes = (value,) * count if isinstance(value, int) else tuple(value)
        if len(sizes) != count or not all(type(size) is int and size > 0 for size in sizes):
            raise ModelError(
                f"{self}: {field}={value!r} is not {count} positive numbers; the file is damaged"
            )
        return sizes


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a graph under construction; sizes that the inputs decide are None.

    ``whole`` says that it is an input of whole numbers. ``mask`` is the tensor of booleans [rows, frames]
    that Keras hands on beside it: frames where it is False are padding.
    """

    name: str
    shape: tuple[int | None, ...]
    whole: bool = False
    mask: str | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)


def one_input(settings: Settings, inputs: Sequence[Tensor], *ranks: int) -> Tensor:
    """The only input, of one of these ranks if any are given."""
    if len(inputs) != 1 or (ranks and inputs[0].rank not in ranks):
        shapes = ", ".join(str(list(tensor.shape)) for tensor in inputs)
        raise settings.refusal(f"its inputs {shapes} are not those of such a layer")
    return inputs[0]


def activate(graph: Graph, x: str, function: str, settings: Settings) -> str:
    """An activation function of ``keras.activations``.

    Raises:
        UnsupportedError: it is not known.
    """
    if function == "linear":
        return x
    if function in ("swish", "silu"):
        return graph.mul(x, graph.sigmoid(x))
    if function in ("hard_swish", "hard_silu"):
        return graph.mul(x, activate(graph, x, "hard_sigmoid", settings))
    if function == "relu6":
        return graph.apply("Clip", x, 0.0, 6.0)
    if function in OTHERS:
        op, attributes = OTHERS[function]
        return graph.apply(op, x, **attributes)
    row = BY_KERAS_NAME.get(function)
    if row is None:
        raise settings.refusal(f"the activation {function!r} is not known")
    return graph.apply(row.name, x, **row.parameters_in_keras(settings.version))


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("Softmax", {"axis": -1}),
    "log_softmax": ("LogSoftmax", {"axis": -1}),
    "selu": ("Selu", {}),
    "exponential": ("Exp", {}),
    "gelu": ("Gelu", {"approximate": "none"}),
    "mish": ("Mish", {}),
}
"""Activation functions that are one op and none of recurrent layers."""
