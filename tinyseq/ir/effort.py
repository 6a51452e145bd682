"""What computing a node takes, told from shapes before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from tinyseq.errors import ModelError
from tinyseq.ir.model import Node
from tinyseq.shapes import Shape, checked_rank


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
    return total + (0 if node.row.multiplications else results * prod(kernel))


A_TURN = 2**12
"""What a turn of a loop in Python takes, in additions of NumPy's."""


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
    if node.row.multiplications:
        total += node.row.multiplications(node.attributes, shapes, results[0])
    if node.row.turns:
        total += A_TURN * node.row.turns(shapes)
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
