"""The configuration of one Keras layer: every field is read, known to change nothing, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from tinyseq.common.text import shown
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


COMPUTED = ("float32", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32")
NOTED = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
"""Types that layers compute in: as they are, and those that become float32 with a note."""

FLOAT, WHOLE, BOOL, INT32 = (np.dtype(name) for name in ("float32", "int64", "bool", "int32"))

NONE: Mapping[str, Any] = MappingProxyType({})


class Inner(Protocol):
    """A layer or model within a layer."""

    kind: str

    def build_in(self, variables: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Adds it to the graph, with these weights."""
        ...

    def is_pointwise(self) -> bool:
        """Whether it treats every place before the last axis alike, however many axes there are."""
        ...


class Settings:
    """The fields of a layer's configuration and what it is called with by name, and a record of those that
    were read."""

    def __init__(
        self,
        kind: str,
        config: dict[str, Any],
        version: tuple[int, int],
        keywords: Mapping[str, Any] = NONE,
        inner: Mapping[str, Inner] = NONE,
    ) -> None:
        self.kind = kind
        self.config = config
        self.version = version
        self.name = str(config.get("name", kind))
        self.keywords = keywords
        self._inner = inner
        self._left = {field for field in config if not HARMLESS.fullmatch(field)}
        self._uncalled = {
            name for name, value in keywords.items() if value is not None and value is not False
        }
        self._check_dtype()

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.kind})"

    @property
    def keras2(self) -> bool:
        return self.version < (3, 0)

    def get(self, field: str, default: Any = REQUIRED) -> Any:
        """A field's value."""
        self._left.discard(field)
        value = self.config.get(field, default)
        if value is REQUIRED:
            raise ModelError(f"{self} lacks its {field}; the file is damaged")
        return value

    def called(self, name: str, default: Any = None) -> Any:
        """What the layer is called with by this name; tensors are Tensors."""
        self._uncalled.discard(name)
        return self.keywords.get(name, default)

    def inner(self, field: str) -> Inner:
        """The layer or model within this one."""
        self.get(field)
        return self._inner[field]

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
                raise self.refusal(f"the field {field}={shown(self.config[field])} is not known")
        for name in sorted(self._uncalled):
            value = self.keywords[name]
            given = "a tensor" if isinstance(value, Tensor) else shown(value)
            raise self.refusal(f"it is called with {name}={given}, which is not known")

    def _check_dtype(self) -> None:
        """Refuses quantised layers and types to compute in that are not known."""
        for field in ("lora_rank", "lora_alpha", "quantization_config"):
            self._left.discard(field)
        dtype = self.get("dtype", None)
        policy = dtype if isinstance(dtype, dict) else {}
        fields = policy.get("config", {})
        name = fields.get("name") if policy else dtype
        policies = ("DTypePolicy", "FloatDTypePolicy", "Policy", "DTypePolicyMap", None)
        quantised = policy.get("class_name") not in policies or "_from_" in str(name)
        if quantised or self.config.get("quantization_config") is not None:
            raise self.refusal(
                "it is quantised in Keras' own way, which tinyseq does not read; load the model as it was "
                "before model.quantize()"
            )
        if fields.get("policy_map"):
            raise self.refusal("its parts compute in types of their own")
        if policy.get("class_name") == "DTypePolicyMap":
            return
        if name not in (*COMPUTED, *NOTED, None) and self.kind != "InputLayer":
            raise self.refusal(f"it computes in {shown(name)}, tinyseq in float32")

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

    ``dtype`` is float32, int64 (whole numbers of all of Keras' types) or bool. ``mask`` is the tensor of
    booleans [rows, frames] that Keras hands on beside it: frames where it is False are padding.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype = FLOAT
    mask: str | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)


def cast(graph: Graph, x: Tensor, dtype: np.dtype) -> Tensor:
    """A tensor as another type; numbers become whole by losing their fractions."""
    if x.dtype == dtype:
        return x
    if dtype == BOOL:
        zero = np.array(0, x.dtype)
        return replace(x, name=graph.apply("Not", graph.apply("Equal", x.name, zero)), dtype=dtype)
    return replace(x, name=graph.apply("Cast", x.name, to=dtype), dtype=dtype)


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
    return graph.apply(row.name, x, **row.parameters_in_keras(settings.version[0]))


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("Softmax", {"axis": -1}),
    "log_softmax": ("LogSoftmax", {"axis": -1}),
    "selu": ("Selu", {}),
    "exponential": ("Exp", {}),
    "gelu": ("Gelu", {"approximate": "none"}),
    "mish": ("Mish", {}),
}
"""Activation functions that are one op and none of recurrent layers."""
