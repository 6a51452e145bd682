"""What a model is made of: its ops, state, parameters, arithmetic and memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tinyseq.model import Graph, Value
from tinyseq.session import Session


def inspect(session: Session) -> dict[str, Any]:
    """A description of plain numbers, strings, lists and dicts."""
    streaming = {value.name: value for value in session.stream_inputs}
    arrays = {id(array): array for array in _constants(session.model.graph)}
    floats = [array for array in arrays.values() if array.dtype.kind == "f"]
    return {
        "origin": session.model.origin,
        "inputs": [_value(value) for value in session.inputs],
        "outputs": [_value(value) for value in session.outputs],
        "state": [
            {**_value(streaming[pair.input]), "output": pair.output, "hidden": _hidden(session, pair.input)}
            for pair in session.state
        ],
        "ops": dict(sorted(Counter(_ops(session.model.graph)).items())),
        "parameters": sum(array.size for array in floats),
        "parameter_bytes": sum(array.nbytes for array in floats),
    }


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
