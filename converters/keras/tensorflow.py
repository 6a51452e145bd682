"""Functions of TensorFlow within functional models of Keras 2, said as functions of ``keras.ops``.

Keras 2 writes ``y[:, -1, :]`` down as a layer SlicingOpLambda and ``tf.reduce_mean(y, axis=1)`` as a
TFOpLambda, each with the function's name and what it is called with.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tinyseq.common.text import nearest, shown
from tinyseq.errors import UnsupportedError


class Function(NamedTuple):
    """What a function of TensorFlow is in ``keras.ops``: the class, the names of tensors after the first, and
    the class' fields by the names that TensorFlow has for them."""

    kind: str
    tensors: tuple[str, ...] = ()
    fields: Mapping[str, str] = MappingProxyType({})


_AXES = {"axis": "axis", "keepdims": "keepdims"}
_AXIS = {"axis": "axis"}

FUNCTIONS = {
    "__operators__.getitem": Function("GetItem", ("slice_spec",)),
    "cast": Function("Cast", (), {"dtype": "dtype"}),
    "clip_by_value": Function("Clip", (), {"clip_value_min": "x_min", "clip_value_max": "x_max"}),
    "compat.v1.squeeze": Function("Squeeze", (), _AXIS),
    "compat.v1.transpose": Function("Transpose", (), {"perm": "axes"}),
    "concat": Function("Concatenate", (), _AXIS),
    "expand_dims": Function("ExpandDims", (), _AXIS),
    "identity": Function("Identity"),
    "linalg.matmul": Function("Matmul", ("b",), {"transpose_a": "transpose_a", "transpose_b": "transpose_b"}),
    "math.argmax": Function("Argmax", (), _AXIS),
    "math.argmin": Function("Argmin", (), _AXIS),
    "math.l2_normalize": Function("L2Normalize", (), {"axis": "axis", "epsilon": "epsilon"}),
    "nn.elu": Function("Elu"),
    "nn.leaky_relu": Function("LeakyRelu", (), {"alpha": "negative_slope"}),
    "nn.log_softmax": Function("LogSoftmax", (), _AXIS),
    "nn.relu": Function("Relu"),
    "nn.relu6": Function("Relu6"),
    "nn.selu": Function("Selu"),
    "nn.silu": Function("Silu"),
    "nn.softmax": Function("Softmax", (), _AXIS),
    "nn.softsign": Function("Softsign"),
    "ones_like": Function("OnesLike", (), {"dtype": "dtype"}),
    "repeat": Function("Repeat", (), {"repeats": "repeats", "axis": "axis"}),
    "reshape": Function("Reshape", (), {"shape": "newshape"}),
    "reverse": Function("Flip", (), _AXIS),
    "squeeze": Function("Squeeze", (), _AXIS),
    "stack": Function("Stack", (), _AXIS),
    "tile": Function("Tile", (), {"multiples": "repeats"}),
    "transpose": Function("Transpose", (), {"perm": "axes"}),
    "unstack": Function("Unstack", (), {"num": "num", "axis": "axis"}),
    "where": Function("Where", ("x", "y")),
    "zeros_like": Function("ZerosLike", (), {"dtype": "dtype"}),
    **{
        f"math.reduce_{name}": Function(kind, (), _AXES)
        for name, kind in (
            ("all", "All"), ("any", "Any"), ("logsumexp", "Logsumexp"), ("max", "Max"), ("mean", "Mean"),
            ("min", "Min"), ("prod", "Prod"), ("std", "Std"), ("sum", "Sum"), ("variance", "Var"),
        )
    },
    **{
        f"{where}.{name}": Function(kind, ("y",))
        for where in ("math", "__operators__")
        for name, kind in (
            ("add", "Add"), ("equal", "Equal"), ("greater", "Greater"), ("greater_equal", "GreaterEqual"),
            ("less", "Less"), ("less_equal", "LessEqual"), ("logical_and", "LogicalAnd"),
            ("logical_or", "LogicalOr"), ("logical_xor", "LogicalXor"), ("maximum", "Maximum"),
            ("minimum", "Minimum"), ("multiply", "Multiply"), ("not_equal", "NotEqual"), ("pow", "Power"),
            ("subtract", "Subtract"), ("truediv", "TrueDivide"), ("divide", "TrueDivide"),
        )
    },
    **{
        f"math.{name}": Function(kind)
        for name, kind in (
            ("abs", "Absolute"), ("ceil", "Ceil"), ("cos", "Cos"), ("erf", "Erf"), ("exp", "Exp"),
            ("expm1", "Expm1"), ("floor", "Floor"), ("log", "Log"), ("log1p", "Log1p"),
            ("log_sigmoid", "LogSigmoid"), ("logical_not", "LogicalNot"), ("negative", "Negative"),
            ("reciprocal", "Reciprocal"), ("round", "Round"), ("rsqrt", "Rsqrt"), ("sigmoid", "Sigmoid"),
            ("sign", "Sign"), ("sin", "Sin"), ("softplus", "Softplus"), ("sqrt", "Sqrt"),
            ("square", "Square"), ("tan", "Tan"), ("tanh", "Tanh"),
        )
    },
}  # fmt: skip
"""By TensorFlow's names."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "Argmax": {"axis": 0},
    "Argmin": {"axis": 0},
    "Elu": {"alpha": 1.0},
    "LeakyRelu": {"negative_slope": 0.2},
    "LogSoftmax": {"axis": -1},
    "Softmax": {"axis": -1},
    "Stack": {"axis": 0},
}
"""TensorFlow's defaults, where Keras' files would say the field."""

HARMLESS = ("name", "conjugate", "output_type", "validate_shape")


def translated(entry: dict[str, Any]) -> dict[str, Any]:
    """A layer's entry in a configuration; that of a function of TensorFlow as one of ``keras.ops``.

    Raises:
        UnsupportedError: the function, or something that it is called with, is not known.
    """
    if entry["class_name"] not in ("TFOpLambda", "SlicingOpLambda"):
        return entry
    name, config = entry["config"]["function"], entry["config"]
    if name not in FUNCTIONS:
        near = nearest(name, FUNCTIONS)
        raise UnsupportedError(
            f"layer {entry['name']!r}: tinyseq does not know TensorFlow's {shown(name)}"
            + (f"; near it are {', '.join(near)}" if near else "")
            + ". Export the model to ONNX"
        )
    function = FUNCTIONS[name]
    fields: dict[str, Any] | None = None
    nodes = []
    for node in entry["inbound_nodes"]:
        arguments, own = _called(entry["name"], function, node)
        if fields not in (None, own):
            raise UnsupportedError(f"layer {entry['name']!r} is called in several ways")
        fields = own
        nodes.append({"args": arguments, "kwargs": {}})
    return {
        "class_name": function.kind,
        "config": {"name": config["name"]} | DEFAULTS.get(function.kind, {}) | (fields or {}),
        "name": entry["name"],
        "inbound_nodes": nodes,
    }


def _called(name: str, function: Function, node: Any) -> tuple[list[Any], dict[str, Any]]:
    """What a function is called with by place, and its fields."""
    entries = [node] if isinstance(node[0], str) else node
    given = entries[0][3] if len(entries[0]) > 3 else {}
    tensors = [entry[:3] for entry in entries]
    listed = function.kind in ("Concatenate", "Stack")
    arguments = [tensors if listed else tensors[0], *(given.get(tensor) for tensor in function.tensors)]
    own = {}
    for keyword, value in given.items():
        if keyword in function.fields:
            if value is not None:
                own[function.fields[keyword]] = value
        elif keyword not in (*function.tensors, *HARMLESS) and value is not None:
            raise UnsupportedError(
                f"layer {name!r} is called with {keyword}={shown(value)}, which is not known"
            )
    return arguments, own
