"""What a step of a model costs: operations and memory, counted and not timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from tinyseq import passes, reference
from tinyseq.errors import TinyseqError
from tinyseq.feeds import checked_feeds
from tinyseq.gates import ORDERS
from tinyseq.model import Model, Node
from tinyseq.plan.packing import Weights
from tinyseq.plan.planner import Planner
from tinyseq.plan.plans import Plans
from tinyseq.plan.stream import StateInPlace, StateLayout

Shape = tuple[int, ...]


class Memory(NamedTuple):
    """Bytes: weights in the kernels' layouts, shared by all streams; the state of one stream; the working
    memory of one call, inputs and outputs included."""

    weights: int
    state: int
    arena: int


def operations(model: Model, feeds: Mapping[str, np.ndarray]) -> int:
    """The floating-point operations of one run: of matrix products, convolutions and recurrent layers, two
    for each multiplication and the addition that goes with it. Biases, activations and everything else
    that costs a few operations an element are not counted.

    A recurrent layer of D directions over T frames of N rows, I features in, G gates of H units (4 in an
    LSTM, 3 in a GRU, 1 in an RNN) takes ``2 * D * T * N * (I + H) * G * H``.

    Raises:
        TinyseqError: the model cannot be run on these inputs.
    """
    total = 0

    def count(node: Node, inputs: Sequence[np.ndarray | None], outputs: Sequence[np.ndarray]) -> None:
        nonlocal total
        if node.op in MULTIPLICATIONS:
            total += 2 * MULTIPLICATIONS[node.op](node, [np.shape(x) for x in inputs], np.shape(outputs[0]))

    arrays = checked_feeds(model.graph.inputs, feeds)
    with np.errstate(all="ignore"):
        reference.run(passes.simplify(model), arrays, count)
    return total


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


MULTIPLICATIONS: dict[str, Callable[[Node, list[Shape], Shape], int]] = {
    **dict.fromkeys(("MatMul", "MatMulInteger"), _product),
    **dict.fromkeys(("Conv", "ConvInteger"), _convolution),
    **dict.fromkeys(("RNN", "GRU", "LSTM", "DynamicQuantizeLSTM"), _recurrent),
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
}
"""The multiplications of an op, by the shapes of its inputs and of its first output."""


def memory(model: Model, feeds: Mapping[str, np.ndarray]) -> Memory:
    """What one stream of the model, or one run where it has no streaming form, takes on the CPU.

    Raises:
        TinyseqError: the CPU cannot run it on these inputs.
    """
    simple = passes.simplify(model)
    try:
        streaming = passes.expose_state(simple)
    except TinyseqError:
        streaming = None
    in_place = None if streaming is None else StateInPlace(StateLayout(streaming), True)
    plans = Plans(Planner(streaming or simple, Weights(()), in_place))
    _, plan = plans.plan({value.name: np.asarray(feeds[value.name]) for value in plans.inputs})
    state = 0 if streaming is None else StateLayout(streaming).bytes
    return Memory(sum(weight.nbytes for weight in plan.weights), state, plan.arena_bytes)
