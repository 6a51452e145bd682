"""The op table: what each op takes and gives. Importer, reference, planner and docs read it.

Ops have the meaning of the newest ONNX specification (domain ``ai.onnx``); converters bring older
forms to it. A new op is one row here, one function in ``reference.py``, one in ``plan/lower.py`` and
one shape rule in ``shapes.py``.

Inputs and outputs are written in order: ``name`` is required, ``name?`` may be absent, ``name*`` is
any number, and a ``!`` says that the value must be known when planning: a constant, a shape, or
computed from those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinyseq import shapes

REQUIRED = object()
"""The default of an attribute that has none."""

INT, INTS, FLOAT, FLOATS, TEXT, TEXTS, TENSOR, DTYPE, GRAPH = (
    "an integer", "integers", "a number", "numbers", "a word", "words", "a tensor", "a type", "a graph",
)  # fmt: skip
"""The kinds of attributes."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute, its kind, its default and, where only some values are supported, those values."""

    name: str
    kind: str
    default: Any
    allowed: tuple[Any, ...] | None = None


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of an op."""

    name: str
    optional: bool
    variadic: bool
    known: bool
    supported: bool

    @classmethod
    def parse(cls, text: str) -> Port:
        """Reads the notation of this module; ``-name`` is in the specification but refused."""
        return cls(
            text.strip("-?*!"), "?" in text or text[0] == "-", "*" in text, "!" in text, text[0] != "-"
        )


@dataclass(frozen=True, slots=True)
class Op:
    """One row of the table.

    ``shape(attributes, shapes, values)`` gives the shapes of the outputs from the inputs' shapes and,
    where known, their values (else None). ``state`` names the input and output ports that carry
    recurrent state.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    attributes: tuple[Attribute, ...]
    shape: Callable
    state: tuple[tuple[str, str], ...] = ()

    def port(self, index: int) -> Port:
        """The input port of position ``index``; a variadic one repeats."""
        return self.inputs[min(index, len(self.inputs) - 1)]


def _op(name: str, inputs: str, outputs: str, shape: Callable, *attributes: Attribute, state=()) -> Op:
    return Op(
        name,
        tuple(map(Port.parse, inputs.split())),
        tuple(map(Port.parse, outputs.split())),
        attributes,
        shape,
        state,
    )


A = Attribute

_RECURRENT = (
    A("hidden_size", INT, REQUIRED),
    A("direction", TEXT, "forward", ("forward", "reverse", "bidirectional")),
    A("layout", INT, 0, (0,)),
    A("clip", FLOAT, None, (None,)),
    A("activation_alpha", FLOATS, None, (None,)),
    A("activation_beta", FLOATS, None, (None,)),
)


def _activations(*names: str) -> Attribute:
    return A("activations", TEXTS, None, (None, names, names * 2))


_REDUCE = (A("keepdims", INT, 1), A("noop_with_empty_axes", INT, 0))

_CONV = (
    A("auto_pad", TEXT, "NOTSET", ("NOTSET", "VALID")),
    A("dilations", INTS, None),
    A("group", INT, 1, (1,)),
    A("kernel_shape", INTS, None),
    A("pads", INTS, None),
    A("strides", INTS, None),
)

OPS = {
    row.name: row
    for row in (
        _op("Identity", "x", "y", shapes.same),
        _op(
            "Cast", "x", "y", shapes.same,
            A("to", DTYPE, REQUIRED), A("saturate", INT, 1), A("round_mode", TEXT, "up"),
        ),
        _op("Shape", "x", "y", shapes.shape_of, A("start", INT, 0), A("end", INT, None)),
        _op("Size", "x", "y", shapes.size_of),
        _op("ConstantOfShape", "shape!", "y", shapes.constant_of_shape, A("value", TENSOR, None)),
        _op("Gather", "x indices!", "y", shapes.gather, A("axis", INT, 0)),
        _op("Concat", "x*", "y", shapes.concat, A("axis", INT, REQUIRED)),
        _op("Split", "x split?!", "y*", shapes.split, A("axis", INT, 0), A("num_outputs", INT, None)),
        _op("Slice", "x starts! ends! axes?! steps?!", "y", shapes.slice_),
        _op("Squeeze", "x axes?!", "y", shapes.squeeze),
        _op("Unsqueeze", "x axes!", "y", shapes.unsqueeze),
        _op("Reshape", "x shape!", "y", shapes.reshape, A("allowzero", INT, 0)),
        _op("Flatten", "x", "y", shapes.flatten, A("axis", INT, 1)),
        _op("Transpose", "x", "y", shapes.transpose, A("perm", INTS, None)),
        _op("Expand", "x shape!", "y", shapes.expand),
        _op(
            "Pad",
            "x pads! value?! axes?!",
            "y",
            shapes.pad,
            A("mode", TEXT, "constant", ("constant", "reflect", "edge")),
        ),
        _op("Relu", "x", "y", shapes.same),
        _op("Sigmoid", "x", "y", shapes.same),
        _op("Tanh", "x", "y", shapes.same),
        _op("Exp", "x", "y", shapes.same),
        _op("Sqrt", "x", "y", shapes.same),
        _op("Neg", "x", "y", shapes.same),
        _op("Abs", "x", "y", shapes.same),
        _op("Reciprocal", "x", "y", shapes.same),
        _op("Not", "x!", "y", shapes.same),
        _op("Add", "a b", "y", shapes.broadcast),
        _op("Sub", "a b", "y", shapes.broadcast),
        _op("Mul", "a b", "y", shapes.broadcast),
        _op("Div", "a b", "y", shapes.broadcast),
        _op("Pow", "a b!", "y", shapes.broadcast),
        _op("Equal", "a! b!", "y", shapes.broadcast),
        _op("ReduceMean", "x axes?!", "y", shapes.reduce, *_REDUCE),
        _op("ReduceSum", "x axes?!", "y", shapes.reduce, *_REDUCE),
        _op("MatMul", "a b!", "y", shapes.matmul),
        _op(
            "Gemm", "a b! c?!", "y", shapes.gemm,
            A("alpha", FLOAT, 1.0), A("beta", FLOAT, 1.0), A("transA", INT, 0), A("transB", INT, 0),
        ),
        _op("Conv", "x w! b?!", "y", shapes.conv, *_CONV),
        _op(
            "If", "condition!", "y*", shapes.by_branch,
            A("then_branch", GRAPH, REQUIRED), A("else_branch", GRAPH, REQUIRED),
        ),
        _op(
            "RNN", "x w! r! b?! lengths? initial_h?", "y? y_h?", shapes.rnn, *_RECURRENT,
            _activations("Tanh"), state=(("initial_h", "y_h"),),
        ),
        _op(
            "GRU", "x w! r! b?! lengths? initial_h?", "y? y_h?", shapes.gru, *_RECURRENT,
            _activations("Sigmoid", "Tanh"), A("linear_before_reset", INT, 0), state=(("initial_h", "y_h"),),
        ),
        _op(
            "LSTM", "x w! r! b?! lengths? initial_h? initial_c? -p", "y? y_h? y_c?", shapes.lstm, *_RECURRENT,
            _activations("Sigmoid", "Tanh", "Tanh"), A("input_forget", INT, 0, (0,)),
            state=(("initial_h", "y_h"), ("initial_c", "y_c")),
        ),
    )
}  # fmt: skip
"""The rows by name."""
