"""Graph: a model written in Python, for weights that come without a graph.

Tensors are names: every method adds nodes and gives the names of their results. Where a tensor is
taken, an array or a number may stand for a constant. ``tinyseq.load`` makes a graph run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinyseq.common.given import as_numbers
from tinyseq.common.text import printable, shown
from tinyseq.errors import ModelError, UnsupportedError
from tinyseq.ir import gates, model
from tinyseq.ir.graph_arguments import Names, as_dtype, check_word, listed, number, sizes, whole_numbers
from tinyseq.ir.model import Dimension, Model, Node, StatePair, Value
from tinyseq.ir.ops import OPS
from tinyseq.ir.types import checked_model

Tensor = str | ArrayLike
"""What methods take: the name of a tensor, or a constant: an array or a number. A number, and an array of
floating numbers, becomes float32."""


MOST_OUTPUTS = 4096
"""Outputs that a node of an op with any number of them may have."""


class Graph:
    """A graph under construction.

    Every method that adds nodes takes ``name``, by which errors and states call them; and raises
    ModelError where names or weights do not fit, UnsupportedError where the op table lacks something.
    """

    def __init__(self) -> None:
        self._inputs: list[Value] = []
        self._outputs: dict[str, tuple[str, str | None, np.dtype | None]] = {}
        self._nodes: list[Node] = []
        self._constants: dict[str, np.ndarray] = {}
        self._names = Names()
        self._node_names = Names()

    def __repr__(self) -> str:
        inputs = ", ".join(map(str, self._inputs)) or "none"
        outputs = printable(", ".join(self._outputs)) or "none"
        return f"Graph({len(self._nodes)} nodes, inputs {inputs}, outputs {outputs})"

    def input(self, name: str, shape: Sequence[Dimension], dtype: DTypeLike = np.float32) -> str:
        """An input of the model; sizes that the feeds decide are given as words."""
        self._inputs.append(Value(self._names.claimed(name), as_dtype(dtype, name), sizes(shape, name)))
        return name

    def output(
        self, name: str, tensor: str, *, carries: str | None = None, dtype: DTypeLike | None = None
    ) -> None:
        """Makes a tensor an output of the model.

        Args:
            carries: the input to which this output is the next value: state of a stream.
            dtype: what the tensor holds; what it has if left out.
        """
        check_word(name)
        if not isinstance(tensor, str) or tensor not in self._names:
            raise ModelError(
                f"output {name!r}: there is no tensor {shown(tensor)}; give what a method returned"
            )
        named = isinstance(carries, str) and carries in (value.name for value in self._inputs)
        if carries is not None and not named:
            raise ModelError(f"output {name!r} carries state to {shown(carries)}, which is no input")
        if carries is not None and any(carries == other for _, other, _ in self._outputs.values()):
            raise ModelError(f"output {name!r}: another output carries state to {shown(carries)} already")
        if name in self._outputs or (name in self._names and name != tensor):
            raise ModelError(f"output {name!r}: the name is taken; names of tensors must be unique")
        self._outputs[name] = (tensor, carries, None if dtype is None else as_dtype(dtype, name))

    def model(self, origin: str = "") -> Model:
        """The finished model, checked.

        Raises:
            ModelError: there is no output.
        """
        if not self._outputs:
            raise ModelError("the graph has no output; name one with graph.output(name, tensor)")
        inputs = {value.name: value for value in self._inputs}
        outputs, state = [], []
        for name, (_, carries, dtype) in self._outputs.items():
            shape = None if carries is None else inputs[carries].shape
            outputs.append(Value(name, dtype, shape))  # type: ignore[arg-type]  # checking tells it
            if carries is not None:
                state.append(StatePair(carries, name))
        graph = model.ModelGraph(
            tuple(self._inputs), tuple(outputs), self._with_output_names(), dict(self._constants)
        )
        return checked_model(Model(graph, tuple(state), origin))

    def constant(self, value: ArrayLike, name: str = "constant") -> str:
        """A constant as a tensor, a copy of a value; a number, and an array of floating numbers, becomes
        float32."""
        check_word(name)
        array = as_numbers(value, f"constant {name!r}")
        whole = array.dtype.kind != "f" and type(value) is not int
        array = array.astype(array.dtype.newbyteorder("=") if whole else np.float32)
        name = self._names.fresh(name)
        self._constants[name] = array
        return name

    @overload  # a number that is not known before is taken for several
    def apply(  # type: ignore[overload-overlap]
        self, op: str, *inputs: Tensor | None, outputs: Literal[1] = 1, name: str = "", **attributes: object
    ) -> str: ...

    @overload
    def apply(
        self, op: str, *inputs: Tensor | None, outputs: int, name: str = "", **attributes: object
    ) -> tuple[str, ...]: ...

    def apply(
        self, op: str, *inputs: Tensor | None, outputs: int = 1, name: str = "", **attributes: object
    ) -> str | tuple[str, ...]:
        """Any op of the table, with the attributes that it has there.

        Args:
            inputs: in the op's order, None for an absent one.
            outputs: how many of the op's outputs are wanted.

        Returns:
            The output's name, or a tuple of names if several are wanted.
        """
        if not isinstance(op, str) or op not in OPS:
            raise UnsupportedError(model.unknown_op(op))
        row = OPS[op]
        most = MOST_OUTPUTS if row.outputs[-1].variadic else len(row.outputs)
        if type(outputs) is not int or not 1 <= outputs <= most:
            raise ModelError(f"{op} has 1 to {most} outputs, not {shown(outputs)}")
        stem = op.lower() if isinstance(name, str) and not name else name
        name = self._node_names.fresh(stem)
        sources = [
            "" if given is None else self._tensor(given, f"{name}.{row.port(position).name}")
            for position, given in enumerate(inputs)
        ]
        while sources and not sources[-1]:
            sources.pop()
        results = tuple(self._names.fresh(f"{name}.{index}") for index in range(outputs))
        filled = model.filled_attributes(row, attributes, f"node {name!r} ({op})")
        self._nodes.append(Node(op, tuple(sources), results, filled, name))
        return results if outputs > 1 else results[0]

    # Recurrent layers.

    def lstm(
        self,
        x: Tensor,
        weights: Sequence[ArrayLike],
        *,
        layout: str,
        backward: Sequence[ArrayLike] | None = None,
        h: Tensor | None = None,
        c: Tensor | None = None,
        lengths: Tensor | None = None,
        name: str = "",
        **attributes: object,
    ) -> tuple[str, str, str]:
        """An LSTM over whole sequences.

        Args:
            x: [frames, rows, features].
            weights: of the forward direction, as ``layout`` has them.
            layout: ``"torch"``, ``"keras"``, ``"cudnn"`` or ``"onnx"``; ``tinyseq.ir.gates.cells`` says what
                each holds. With PyTorch's ``weight_hr``, h and the outputs are projected to P numbers.
            backward: weights of a second direction, over the sequence from its end.
            h: initial state [directions, rows, hidden], likewise ``c``; zeros if left out.
            lengths: int32 [rows], how many frames of each row count; all, if left out.
            attributes: further ones of the op, as ``direction="reverse"``.

        Returns:
            The outputs of all frames [frames, rows, directions * hidden], and the last ``h`` and ``c``,
            each [directions, rows, hidden]; where h is projected, P takes the place of hidden but for c.
        """
        return self._recurrent("LSTM", x, weights, layout, backward, lengths, (h, c), name, attributes)

    def gru(
        self,
        x: Tensor,
        weights: Sequence[ArrayLike],
        *,
        layout: str,
        reset_after: bool = True,
        backward: Sequence[ArrayLike] | None = None,
        h: Tensor | None = None,
        lengths: Tensor | None = None,
        name: str = "",
        **attributes: object,
    ) -> tuple[str, str]:
        """A GRU over whole sequences: ``lstm``'s arguments and results, less the cell state.

        Args:
            reset_after: whether the reset gate acts on the recurrent product, bias included (PyTorch
                always, Keras' default, ONNX' ``linear_before_reset=1``), or on the state before it.
        """
        if not isinstance(reset_after, (bool, np.bool_)):
            raise ModelError(f"reset_after is True or False, not {shown(reset_after)}")
        attributes |= {"linear_before_reset": int(reset_after)}
        return self._recurrent("GRU", x, weights, layout, backward, lengths, (h,), name, attributes)

    def rnn(
        self,
        x: Tensor,
        weights: Sequence[ArrayLike],
        *,
        layout: str,
        backward: Sequence[ArrayLike] | None = None,
        h: Tensor | None = None,
        lengths: Tensor | None = None,
        name: str = "",
        **attributes: object,
    ) -> tuple[str, str]:
        """A plain recurrent layer with tanh: ``lstm``'s arguments and results, less the cell state."""
        return self._recurrent("RNN", x, weights, layout, backward, lengths, (h,), name, attributes)

    def _recurrent(
        self,
        op: str,
        x: Tensor,
        weights: Sequence[ArrayLike],
        layout: str,
        backward: Sequence[ArrayLike] | None,
        lengths: Tensor | None,
        initials: tuple[Tensor | None, ...],
        name: str,
        attributes: dict[str, object],
    ) -> Any:
        cells = gates.cells(op, weights, layout)
        if backward is not None:
            cells = gates.stacked(cells, gates.cells(op, backward, layout))
        if cells.directions == 2:
            attributes = {"direction": "bidirectional"} | attributes
        own = () if cells.projection is None else (None, cells.projection)
        y, *finals = self.apply(
            op, x, cells.w, cells.r, cells.b, lengths, *initials, *own,
            outputs=1 + len(initials), name=name, hidden_size=cells.hidden, **attributes,
        )  # fmt: skip
        if cells.directions == 1:
            return self.squeeze(y, [1]), *finals
        return self.reshape(self.transpose(y, [0, 2, 1, 3]), [0, 0, -1]), *finals

    # Other layers.

    def dense(self, x: Tensor, w: Tensor, b: Tensor | None = None, *, name: str = "dense") -> str:
        """``x [..., features] @ w [features, units] + b [units]``."""
        product = self.apply("MatMul", x, w, name=name)
        return product if b is None else self.apply("Add", product, b, name=name)

    def conv1d(
        self,
        x: Tensor,
        w: Tensor,
        b: Tensor | None = None,
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int = 1,
        groups: int = 1,
        name: str = "conv",
    ) -> str:
        """A convolution of x [rows, channels, length] with w [filters, channels / groups, kernel].

        Args:
            b: [filters].
            padding: zeros at either side, or (before, after).
        """
        pads = (padding, padding) if isinstance(padding, int) else whole_numbers(padding, "padding")
        return self.apply(
            "Conv", x, w, b, name=name,
            strides=(stride,), pads=pads, dilations=(dilation,), group=groups,
        )  # fmt: skip

    def embedding(self, indices: Tensor, table: Tensor, *, name: str = "embedding") -> str:
        """The rows of table [words, features] at whole-numbered indices [...]: [..., features]."""
        return self.apply("Gather", table, indices, axis=0, name=name)

    def layer_norm(
        self, x: Tensor, scale: Tensor, b: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5
    ) -> str:
        """Mean 0 and variance 1 over the dimensions from ``axis`` on, then ``* scale + b``."""
        return self.apply("LayerNormalization", x, scale, b, axis=axis, epsilon=number(epsilon, "epsilon"))

    def batch_norm(
        self, x: Tensor, scale: Tensor, b: Tensor, mean: Tensor, variance: Tensor, *, epsilon: float = 1e-5
    ) -> str:
        """x [rows, channels, ...] normed per channel by the mean and variance that training found."""
        return self.apply(
            "BatchNormalization", x, scale, b, mean, variance, epsilon=number(epsilon, "epsilon")
        )

    # Elementwise ops and shapes.

    def relu(self, x: Tensor) -> str:
        """``max(x, 0)``."""
        return self.apply("Relu", x)

    def sigmoid(self, x: Tensor) -> str:
        """``1 / (1 + exp(-x))``."""
        return self.apply("Sigmoid", x)

    def tanh(self, x: Tensor) -> str:
        """The hyperbolic tangent."""
        return self.apply("Tanh", x)

    def softmax(self, x: Tensor, axis: int = -1) -> str:
        """Shares along an axis that sum to 1."""
        return self.apply("Softmax", x, axis=axis)

    def add(self, a: Tensor, b: Tensor) -> str:
        """``a + b``, broadcast."""
        return self.apply("Add", a, b)

    def mul(self, a: Tensor, b: Tensor) -> str:
        """``a * b``, broadcast."""
        return self.apply("Mul", a, b)

    def concat(self, tensors: Sequence[Tensor], axis: int) -> str:
        """Tensors end to end along an axis."""
        return self.apply("Concat", *listed(tensors, "tensors"), axis=axis)

    def transpose(self, x: Tensor, order: Sequence[int]) -> str:
        """The dimensions in another order."""
        return self.apply("Transpose", x, perm=whole_numbers(order, "order"))

    def reshape(self, x: Tensor, shape: Sequence[int]) -> str:
        """Other sizes: 0 keeps a dimension, one -1 takes what is left."""
        return self.apply("Reshape", x, np.array(whole_numbers(shape, "shape"), np.int64))

    def squeeze(self, x: Tensor, axes: Sequence[int]) -> str:
        """Without dimensions of size 1."""
        return self.apply("Squeeze", x, np.array(whole_numbers(axes, "axes"), np.int64))

    def unsqueeze(self, x: Tensor, axes: Sequence[int]) -> str:
        """With new dimensions of size 1, at these places of the result."""
        return self.apply("Unsqueeze", x, np.array(whole_numbers(axes, "axes"), np.int64))

    def slice(self, x: Tensor, axis: int, start: int, end: int) -> str:
        """The part of x from ``start`` to before ``end`` along an axis; negative counts from its end."""
        numbers = whole_numbers((start, end, axis), "start, end and axis")
        return self.apply("Slice", x, *(np.array([number], np.int64) for number in numbers))

    # Names.

    def _tensor(self, given: Tensor, name: str) -> str:
        if not isinstance(given, str):
            return self.constant(given, name)
        if given not in self._names:
            raise ModelError(
                f"{name}: there is no tensor {shown(given)}; give what a method returned, or numbers"
            )
        return given

    def _with_output_names(self) -> tuple[Node, ...]:
        """The nodes, what they compute for the outputs under the outputs' names."""
        computed = {name for node in self._nodes for name in node.outputs}
        renamed: dict[str, str] = {}
        copies = []
        for name, (tensor, *_) in self._outputs.items():
            if tensor in computed and tensor not in renamed:
                renamed[tensor] = name
            elif tensor != name:
                copies.append(Node("Identity", (renamed.get(tensor, tensor),), (name,), {}, name))
        return tuple(_renamed(node, renamed) for node in self._nodes) + tuple(copies)


def _renamed(node: Node, names: dict[str, str]) -> Node:
    inputs = tuple(names.get(name, name) for name in node.inputs)
    return node._replace(inputs=inputs, outputs=tuple(names.get(name, name) for name in node.outputs))
