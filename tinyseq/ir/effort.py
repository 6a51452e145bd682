"""What computing a node takes, told from shapes before it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from tinyseq.errors import ModelError
from tinyseq.ir.gates import ORDERS
from tinyseq.ir.model import Node
from tinyseq.shapes import Shape, checked_rank


def _product(node: Node, shapes: list[Shape], y: Shape) -> int:
    return prod(y) * shapes[0][-1]


def _gemm(node: Node, shapes: list[Shape], y: Shape) -> int:
    return prod(y) * shapes[0][0 if node.attributes["transA"] else 1]


def _convolution(node: Node, shapes: list[Shape], y: Shape) -> int:
    """Each number of the result is a sum over a window of the group's channels."""
    return prod(y) * prod(shapes[1][1:])


def _transposed(node: Node, shapes: list[Shape], y: Shape) -> int:
    """Each number given is spread over a window of the group's filters."""
    return prod(shapes[0]) * prod(shapes[1][1:])


def _recurrent(node: Node, shapes: list[Shape], y: Shape) -> int:
    x, w, r = shapes[:3]
    op = node.op.removeprefix("DynamicQuantize")
    hidden = node.attributes["hidden_size"]
    state = min(r[1:]) if op != node.op else r[2]
    return prod(x[:2]) * w[0] * (x[2] + state) * len(ORDERS[op]["onnx"]) * hidden


def _padded(node: Node, shapes: list[Shape], results: int) -> int:
    """The elements of a convolution's or pool's input with its border, and what its windows look at."""
    attributes, x = node.attributes, shapes[0]
    kernel = attributes["kernel_shape"] or shapes[1][2:]
    count = len(x) - 2
    pads = attributes["pads"] or (0,) * 2 * count
    dilations, strides = (attributes[name] or (1,) * count for name in ("dilations", "strides"))
    spans = zip(x[2:], kernel, dilations, strides, pads[:count], pads[count:])
    total = prod(x[:2])
    for size, taps, dilation, stride, before, after in spans:
        spread = size * stride if node.op == "ConvTranspose" else size
        total *= spread + dilation * taps + abs(before) + abs(after)
    return total + (0 if node.op in MULTIPLICATIONS else results * prod(kernel))


RECURRENT = ("RNN", "GRU", "LSTM", "DynamicQuantizeLSTM")

MULTIPLICATIONS: dict[str, Callable[[Node, list[Shape], Shape], int]] = {
    **dict.fromkeys(("MatMul", "MatMulInteger"), _product),
    **dict.fromkeys(("Conv", "ConvInteger"), _convolution),
    **dict.fromkeys(RECURRENT, _recurrent),
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
}
"""The multiplications of an op, by the shapes of its inputs and of its first output."""

STEP = 2**12
"""What a step of a loop in Python takes, in additions of NumPy's."""

STEPS: dict[str, Callable[[Node, list[Shape]], int]] = {
    **dict.fromkeys(RECURRENT, lambda node, shapes: 16 * prod(shapes[0][:2])),
    **dict.fromkeys(("GatherND", "ScatterND"), lambda node, shapes: prod(shapes[1][:-1])),
    "ScatterElements": lambda node, shapes: prod(shapes[1]),
    "ReverseSequence": lambda node, shapes: prod(shapes[1]),
}
"""The steps of the reference's loops in Python, by the shapes of a node's inputs; 0 for other ops."""


class Allowance:
    """What may still be computed before a model runs: in additions of NumPy's, and in bytes that are kept.

    ``each`` bounds the bytes of one node.
    """

    def __init__(self, effort: int, bytes_: int, each: int | None = None) -> None:
        self.effort = effort
        self.bytes = bytes_
        self.each = bytes_ if each is None else each

    def holds(self, bytes_: int) -> bool:
        """Whether the results of a node, so large, may be kept."""
        return bytes_ <= min(self.each, self.bytes)

    def takes(self, effort: int) -> bool:
        """Whether a node that takes so much may be computed."""
        return effort <= self.effort

    def spend(self, effort: int, bytes_: int) -> None:
        """Takes off what was computed."""
        self.effort -= effort
        self.bytes -= bytes_


def effort(node: Node, inputs: Sequence[np.ndarray | None], results: Sequence[Shape]) -> int:
    """About how many additions of NumPy's it takes to compute a node with the reference."""
    shapes = [() if array is None else array.shape for array in inputs]
    total = sum(map(prod, shapes)) + sum(map(prod, results))
    if node.op in MULTIPLICATIONS:
        total += MULTIPLICATIONS[node.op](node, shapes, results[0])
    if node.op in STEPS:
        total += STEP * STEPS[node.op](node, shapes)
    if "dilations" in node.attributes:
        total += _padded(node, shapes, prod(results[0]))
    return total


def bytes_of(inputs: Sequence[np.ndarray | None], results: Sequence[Shape]) -> int:
    """At most how many bytes results take, in the types that come of such inputs."""
    return max(4, *(array.itemsize for array in inputs if array is not None), 0) * sum(map(prod, results))


def predicted(node: Node, inputs: Sequence[np.ndarray | None]) -> list[Shape]:
    """The shapes of a node's results, by its op's rule; ``inputs`` are all known.

    Raises:
        ModelError: the inputs do not fit the op; names the node.
    """
    try:
        shapes = node.row.shape(node.attributes, [None if a is None else a.shape for a in inputs], inputs)
        return [checked_rank(shape) for shape in shapes]
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise ModelError(f"{node} cannot be computed: {error}") from error
