"""The predictor of a transducer, stateless ones made recurrent."""

from __future__ import annotations

import numpy as np

from tinyseq.ir.model import Model, ModelGraph, Node, StatePair, Value, filled_attributes
from tinyseq.ir.ops import OPS
from tinyseq.runtime.session import Session

TOKEN, CONTEXT = "transducer.token", "transducer.context"


def recurrent(predictor: Session, tokens: Value, start: tuple[int, ...]) -> Session:
    """A predictor that sees its last tokens ``[rows, len(start)]``, as one that takes a token at a time.

    The tokens before it are its state; at the start of a stream those of ``start`` but the last.
    """
    model = predictor.computed
    bounds = {"one": 1, "end": len(start), "axis": 1}
    constants = {f"{CONTEXT}.{name}": np.array([value], np.int64) for name, value in bounds.items()}
    one, end, axis = constants
    rest, column = f"{CONTEXT}.rest", f"{TOKEN}.column"
    nodes = (
        _node("Slice", (CONTEXT, one, end, axis), rest),
        _node("Unsqueeze", (TOKEN, axis), column),
        _node("Concat", (rest, column), tokens.name, axis=1),
    )
    rows, whole = tokens.shape[0], (tokens.shape[0], len(start))
    inputs = [value for value in model.graph.inputs if value.name != tokens.name]
    graph = ModelGraph(
        (Value(TOKEN, tokens.dtype, (rows,)), Value(CONTEXT, tokens.dtype, whole), *inputs),
        (*model.graph.outputs, Value(tokens.name, tokens.dtype, whole)),
        (*nodes, *model.graph.nodes),
        model.graph.constants | constants,
    )
    before = np.array([[0, *start[:-1]]], tokens.dtype)
    found = Model(graph, (StatePair(CONTEXT, tokens.name, before),), model.origin)
    return Session(
        found, predictor.device, precision=predictor.precision, keep=predictor.keep, threads=predictor.threads
    )


def _node(op: str, inputs: tuple[str, ...], output: str, **attributes) -> Node:
    name = f"{output} ({op})"
    return Node(op, inputs, (output,), filled_attributes(OPS[op], attributes, name), name)
