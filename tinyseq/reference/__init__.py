"""The reference: every op in NumPy float64, written from the ONNX specification.

It defines what each op means. It shares nothing with the planner and the kernels, is slow, and is a
backend of its own (``device="reference"``). Each function takes its op's inputs in order, None where
absent, and the attributes of the op's row as keywords; it gives one array or a tuple of them.

The same functions compute, in the arrays' own types, what is known before a model runs
(``passes``, ``plan``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module

import numpy as np

from tinyseq.common import memory
from tinyseq.errors import FeedError, ModelError, TinyseqError
from tinyseq.ir.effort import predicted
from tinyseq.ir.model import Model, ModelGraph, Node
from tinyseq.ir.ops import FAMILY
from tinyseq.ir.weights import Constant, widened
from tinyseq.kernels.instructions import TOO_MANY_TURNS
from tinyseq.reference.common import FUNCTIONS

MOST_UNASKED = 2**16
"""Nodes of larger inputs, in elements, may have results that are too large."""

MOST_TURNS = 2**17
"""How many turns all nodes of the op Loop together may make in one run: fewer than on the CPU, since a turn
takes much longer here."""


def meaning(op: str) -> Callable:
    """The function of an op."""
    if op not in FUNCTIONS:
        import_module(f"{__name__}.{FAMILY[op]}")
    return FUNCTIONS[op]


def apply(node: Node, inputs: list[Constant | None]) -> tuple[np.ndarray, ...]:
    """One node's outputs; not of a node that runs graphs.

    Raises:
        ModelError: the inputs do not fit the op; names the node.
    """
    return _applied(node, meaning(node.op), list(map(widened, inputs)))


Watch = Callable[[Node, Sequence[np.ndarray | None], Sequence[np.ndarray]], None]
"""Told of each node that was computed: the node, its inputs and its outputs."""


def run(model: Model, feeds: dict[str, np.ndarray], watch: Watch | None = None) -> dict[str, np.ndarray]:
    """All outputs of a model, floating-point ones in float64."""
    graph = model.graph
    given = {name: _in_float64(array) for name, array in feeds.items()}
    results = _run_graph(graph, given, watch, iter(range(MOST_TURNS)))
    return {value.name: array for value, array in zip(graph.outputs, results)}


def _applied(node: Node, function, inputs) -> tuple[np.ndarray, ...]:
    while inputs and inputs[-1] is None:
        inputs = inputs[:-1]
    try:
        result = function(*inputs, **node.attributes)
    except TinyseqError:
        raise
    except (
        *(ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError, MemoryError),
        # NumPy's broadcasting raises it where there are too many dimensions.
        RuntimeError,
    ) as error:
        raise ModelError(f"{node} cannot be computed: {error}") from error
    results = tuple(map(np.asarray, result)) if isinstance(result, (tuple, list)) else (np.asarray(result),)
    if len(results) < len(node.outputs):
        raise ModelError(f"{node} cannot be computed: {len(results)} results for {len(node.outputs)} outputs")
    return results


def _check_room(node: Node, inputs: Sequence[np.ndarray | None]) -> None:
    """Refuses a node whose results, told from its inputs, this machine cannot hold in float64."""
    try:
        shapes = predicted(node, inputs)
    except TinyseqError:
        # What the node's function takes decides; rules may ask for more.
        return
    try:
        memory.check(8 * sum(map(math.prod, shapes)))
    except MemoryError as error:
        raise FeedError(f"{node}: {error}; feed shorter sequences or fewer rows") from error


def _in_float64(array: Constant) -> np.ndarray:
    try:
        return np.array(array, np.float64) if array.dtype in (np.float32, np.float16) else array
    except MemoryError as error:
        raise FeedError(f"the reference cannot hold this in float64 ({error}); feed less at once") from error


def _run_graph(
    graph: ModelGraph, names: dict[str, np.ndarray], watch: Watch | None, turns: Iterator[int]
) -> list[np.ndarray]:
    """The outputs of a graph; ``names`` maps what it reads to arrays; ``turns`` are those that its loops may
    still make."""
    names = names | {name: _in_float64(array) for name, array in graph.constants.items()}

    def run_inner(inner: ModelGraph, *inputs) -> list[np.ndarray]:
        given = {value.name: array for value, array in zip(inner.inputs, inputs, strict=True)}
        if node.op == "Loop" and next(turns, None) is None:
            raise FeedError(f"{node} {TOO_MANY_TURNS.format(MOST_TURNS)}. No state was changed")
        return _run_graph(inner, names | given, watch, turns)

    for node in graph.nodes:
        inputs = [names[name] if name else None for name in node.inputs]
        if FAMILY[node.op] == "control":
            results = _applied(node, partial(meaning(node.op), run_inner), inputs)
        else:
            if node.row.grows or sum(np.size(array) for array in inputs) > MOST_UNASKED:
                _check_room(node, inputs)
            results = apply(node, inputs)
        if watch is not None:
            watch(node, inputs, results)
        names.update((name, _in_float64(array)) for name, array in zip(node.outputs, results) if name)
    return [names[value.name] for value in graph.outputs]
