"""What a model is made of: its ops, state, parameters, arithmetic and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from tinyseq.cost import memory, operations
from tinyseq.errors import TinyseqError
from tinyseq.model import Graph, Value
from tinyseq.session import Session


def inspect(session: Session, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A description of plain numbers, strings, lists and dicts.

    ``feeds`` are the inputs of one step, for which ``tinyseq.cost`` counts operations and memory; where the
    model cannot be run on them, ``step_error`` says why.
    """
    streaming = {value.name: value for value in session.stream_inputs}
    arrays = {id(array): array for array in _constants(session.model.graph)}
    floats = [array for array in arrays.values() if array.dtype.kind == "f"]
    return {
        "origin": session.model.origin,
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
        "ops": dict(sorted(Counter(_ops(session.model.graph)).items())),
        "parameters": sum(array.size for array in floats),
        "parameter_bytes": sum(array.nbytes for array in floats),
        "step_shapes": {name: list(np.shape(array)) for name, array in feeds.items()},
        **_step(session, feeds),
    }


def _step(session: Session, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    found: dict[str, Any] = {"operations_per_step": None, "memory": None, "step_error": None}
    try:
        found["operations_per_step"] = operations(session.model, feeds)
        found["memory"] = memory(session.model, feeds)._asdict()
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


def _ops(graph: Graph):
    for node in graph.nodes:
        yield node.op
        for _, sub_graph in node.graphs():
            yield from _ops(sub_graph)


def _constants(graph: Graph):
    yield from graph.constants.values()
    for node in graph.nodes:
        for _, sub_graph in node.graphs():
            yield from _constants(sub_graph)
