"""What a step of a model costs: operations and memory, counted and not timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tinyseq import passes, reference
from tinyseq.errors import TinyseqError
from tinyseq.ir.feeds import checked_feeds
from tinyseq.ir.model import POSITION, Model, Node
from tinyseq.passes.rows import fixed_rows
from tinyseq.passes.streaming import streaming
from tinyseq.plan.packing import PackedWeights
from tinyseq.plan.planner import Planner
from tinyseq.plan.plans import Plans
from tinyseq.plan.stream import StateInPlace, StateLayout


class MemoryUse(NamedTuple):
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
        if node.row.multiplications:
            shapes = [np.shape(array) for array in inputs]
            total += 2 * node.row.multiplications(node.attributes, shapes, np.shape(outputs[0]))

    arrays = checked_feeds(model.graph.inputs, feeds)
    with np.errstate(all="ignore"):
        reference.run(passes.simplify(model), arrays, count)
    return total


def _with_all_rows(model: Model) -> Model:
    """A streaming model whose states have as many rows as it was exported for."""
    fixed = fixed_rows(model)
    if fixed is None:
        return model
    carried = {pair.input for pair in model.state}
    inputs = tuple(
        value._replace(
            shape=tuple(fixed.count if isinstance(size, str) else size for size in value.shape or ())
        )
        if value.name in carried
        else value
        for value in model.graph.inputs
    )
    return model._replace(graph=model.graph._replace(inputs=inputs))


def memory(model: Model, feeds: Mapping[str, np.ndarray]) -> MemoryUse:
    """What one stream of the model, or one run where it has no streaming form, takes on the CPU. Of a model
    that was exported for several rows, its rows are one stream: a pool steps all of them together.

    Raises:
        TinyseqError: the CPU cannot run it on these inputs.
    """
    simple = passes.simplify(model)
    try:
        streams = _with_all_rows(streaming(simple).model)
    except TinyseqError:
        streams = None
    in_place = None if streams is None else StateInPlace(StateLayout(streams), True)
    plans = Plans(Planner(streams or simple, PackedWeights(()), in_place))
    feeds = {**feeds, POSITION: np.zeros(2, np.int64)}
    _, plan = plans.plan({value.name: np.asarray(feeds[value.name]) for value in plans.inputs})
    state = 0 if streams is None else StateLayout(streams).bytes
    return MemoryUse(sum(weight.nbytes for weight in plan.weights), state, plan.arena_bytes)
