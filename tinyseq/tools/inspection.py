"""What a model is made of: its ops, state, parameters, arithmetic and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from time import perf_counter
from typing import Any

import numpy as np

from tinyseq.errors import TinyseqError
from tinyseq.ir.model import Dimension, Model, ModelGraph, Value, constants_of
from tinyseq.runtime.session import Session
from tinyseq.tools.cost import memory, operations

MOST_TRIED, SECONDS_TRIED = 1024, 1.0
"""The largest size with which a step is tried that nobody told the size of, and how long others are tried."""

MOST_ELEMENTS = 2**20
"""Elements of an input up to which others are tried."""


def inspect(session: Session, file: Model, steps: Iterable[Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """A description of plain numbers, strings, lists and dicts: of a session, and of the ``file`` that it was
    loaded from.

    ``steps`` are inputs of a step, to be tried in this order: of the first that the model can be run on,
    ``tinyseq.tools.cost`` counts operations and memory. Where there is none, ``step_error`` says why the
    model cannot be run on the first.
    """
    streaming = {value.name: value for value in session.stream_inputs}
    arrays = {id(array): array for array in constants_of(file.graph)}
    floats = [array for array in arrays.values() if array.dtype.kind == "f"]
    return {
        "origin": file.origin,
        "inputs": [_value(value) for value in session.inputs],
        "outputs": [_value(value) for value in session.outputs],
        "state": [
            {
                **_value(streaming[pair.input]),
                "output": pair.output,
                "hidden": _hidden(session, pair.input),
                "bytes": _row_bytes(streaming[pair.input]),
            }
            for pair in session.state
        ],
        "latency": session.latency,
        "ops": dict(sorted(Counter(_ops(file.graph)).items())),
        "parameters": sum(array.size for array in floats),
        "parameter_bytes": sum(array.nbytes for array in floats),
        **_first_step(session, steps),
    }


def open_sizes(session: Session) -> list[str]:
    """The sizes that a step's inputs decide: the number of frames, or, of a model that does not show frames,
    all but the number of rows."""
    if session.state and session.streaming.inputs:
        shapes = {value.name: value.shape or () for value in session.inputs}
        sizes = dict.fromkeys(shapes[name][axis] for name, axis in session.streaming.inputs.items())
        return [size for size in sizes if isinstance(size, str)]
    rows = {size for pair in session.state for size in _shape(session, pair.input)}
    sizes = dict.fromkeys(size for value in session.inputs for size in value.shape or ())
    return [size for size in sizes if isinstance(size, str) and size not in rows]


def step_sizes(session: Session) -> Iterator[dict[str, int]]:
    """Sizes of a step to try in order: 1, and as long as that is too small for the model twice as many."""
    yield {}
    names, size, begin = open_sizes(session), 2, perf_counter()
    while names and size <= MOST_TRIED and perf_counter() - begin < SECONDS_TRIED:
        shapes = [[size if one in names else one for one in value.shape or ()] for value in session.inputs]
        if any(prod(one for one in shape if isinstance(one, int)) > MOST_ELEMENTS for shape in shapes):
            return
        yield dict.fromkeys(names, size)
        size *= 2


def _first_step(session: Session, steps: Iterable[Mapping[str, np.ndarray]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for feeds in steps:
        shapes = {name: list(np.shape(array)) for name, array in feeds.items()}
        step = {"step_shapes": shapes, **_step(session, feeds)}
        if step["step_error"] is None:
            return step
        found = found or step
    return found


def _shape(session: Session, name: str) -> tuple[Dimension, ...]:
    return next(value.shape or () for value in session.stream_inputs if value.name == name)


def _step(session: Session, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    found: dict[str, Any] = {"operations_per_step": None, "memory": None, "step_error": None}
    try:
        found["operations_per_step"] = operations(session.computed, feeds)
        found["memory"] = memory(session.computed, feeds)._asdict()
    except TinyseqError as error:
        found["step_error"] = str(error)
    return found


def _row_bytes(value: Value) -> int:
    """The bytes of one stream's state, whose open sizes are 1."""
    return prod(1 if isinstance(size, str) else size for size in value.shape or ()) * value.dtype.itemsize


def _hidden(session: Session, name: str) -> bool:
    return all(value.name != name for value in session.inputs)


def _value(value: Value) -> dict[str, Any]:
    shape = None if value.shape is None else list(value.shape)
    return {"name": value.name, "dtype": value.dtype.name, "shape": shape}


def _ops(graph: ModelGraph):
    for node in graph.nodes:
        yield node.op
        for _, sub_graph in node.graphs():
            yield from _ops(sub_graph)
