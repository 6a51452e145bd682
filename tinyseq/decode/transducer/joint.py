"""A predictor and a joiner in one file, as NeMo exports them, taken apart."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from tinyseq.common.given import is_one_of
from tinyseq.common.text import shown
from tinyseq.errors import ModelError
from tinyseq.ir.model import Dimension, Model, ModelGraph, Node, Value, captured
from tinyseq.ir.types import of_tensors
from tinyseq.runtime.session import Session


class Parts(NamedTuple):
    """The two models, and what of them is for which."""

    predictor: Session
    joiner: Session
    output: str
    frame: str


def taken_apart(both: Session, tokens: str | None, frame: str | None, fed: Collection[str]) -> Parts:
    """A model of frames and tokens as a predictor, all of it that no frame reaches, and a joiner, the rest.

    ``tokens`` and ``frame`` name these inputs where they are not the only ones that they can be; inputs that
    nothing of the predictor reads are left out, unless they are ``fed``.

    Raises:
        ModelError: it is no such model; says what there is.
    """
    model = both.computed
    carried = {pair.input for pair in model.state}
    frame = _frame(both, carried, frame)
    token = _tokens(both, carried | {frame}, tokens, fed)
    of_frames = _reached(model.graph, {frame})
    of_tokens = _reached(model.graph, {value.name for value in model.graph.inputs} - {frame})
    joins = [node for node in model.graph.nodes if _reads(node) & of_frames]
    border = sorted({name for node in joins for name in _reads(node)} & of_tokens - of_frames)
    if len(border) != 1 or not of_frames.isdisjoint(pair.output for pair in model.state):
        raise ModelError(
            f"the model takes frames and tokens, and its parts meet in {', '.join(border) or 'no tensor'}; a "
            "predictor and a joiner meet in one, and frames change no state: export them as two models"
        )
    predictor = _predictor(both, token, border[0], fed)
    return Parts(
        predictor, _joiner(both, predictor, frame, border[0], of_frames, of_tokens), border[0], frame
    )


def _frame(both: Session, carried: set[str], name: str | None) -> str:
    """The input for an encoder's frame."""
    names = [v.name for v in both.computed.graph.inputs if v.dtype.kind == "f" and v.name not in carried]
    marked = [each for each in names if "enc" in each.lower()]
    if name is not None:
        marked = [name] if is_one_of(name, names) else []
    elif len(names) == 1:
        marked = names
    if len(marked) != 1:
        raise ModelError(
            f"a predictor without a joiner must be both, as NeMo's decoder_joint: this one takes "
            f"{', '.join(map(str, both.inputs))}, and frame={shown(name)} names no frame of an encoder; give "
            f"the joiner too{both.doubts}"
        )
    return marked[0]


def _tokens(both: Session, others: set[str], name: str | None, fed: Collection[str]) -> Value:
    """The input for the last token: [rows, tokens]."""
    fitting = [
        value
        for value in both.computed.graph.inputs
        if value.dtype.kind in "iu" and value.name not in others and value.name not in fed
    ]
    if name is not None:
        fitting = [each for each in fitting if each.name == name]
    elif len(fitting) > 1:
        fitting = [each for each in fitting if len(each.shape or ()) > 1]
    if len(fitting) != 1 or not fitting[0].shape or not isinstance(fitting[0].shape[0], str):
        raise ModelError(
            f"the model takes {', '.join(map(str, both.inputs))}; which is for the last token, [rows, 1], "
            f"its rows left open? name it with tokens={both.doubts}"
        )
    return fitting[0]


def _reads(node: Node) -> set[str]:
    """The tensors that a node and its graphs read."""
    return set(node.inputs).union(*(captured(graph) for _, graph in node.graphs())) - {""}


def _reached(graph: ModelGraph, names: set[str]) -> set[str]:
    """The names and all tensors that come of them."""
    found = set(names)
    for node in graph.nodes:
        if not found.isdisjoint(_reads(node)):
            found.update(filter(None, node.outputs))
    return found


def _predictor(both: Session, token: Value, output: str, fed: Collection[str]) -> Session:
    graph, state = both.computed.graph, both.computed.state
    rows, results = token.shape[0], {pair.output: pair.input for pair in state}
    read, nodes = {output, *results}, list[Node]()
    for node in reversed(graph.nodes):
        if not read.isdisjoint(node.outputs):
            read |= _reads(node)
            nodes.append(node)
    inputs = {
        value.name: _in_rows(value, rows)
        for value in graph.inputs
        if value.name == token.name
        or any(value.name == pair.input for pair in state)
        or value.name in fed
        or value.name in read
    }
    outputs = (
        Value(output, of_tensors(graph)[output], None),
        *(v._replace(shape=inputs[results[v.name]].shape) for v in graph.outputs if v.name in results),
    )
    made = ModelGraph(tuple(inputs.values()), outputs, tuple(reversed(nodes)), graph.constants)
    return _loaded(both, Model(made, state, both.computed.origin))


def _joiner(
    both: Session, predictor: Session, frame: str, output: str, of_frames: set[str], of_tokens: set[str]
) -> Session:
    graph = both.computed.graph
    given = next(value for value in predictor.outputs if value.name == output)
    frames = next(value for value in graph.inputs if value.name == frame)
    if frames.shape and given.shape:
        given = _in_rows(given, frames.shape[0])
    nodes = tuple(node for node in graph.nodes if (of_tokens - of_frames).isdisjoint(node.outputs))
    outputs = tuple(value for value in graph.outputs if value.name in of_frames)
    made = ModelGraph((frames, given), outputs, nodes, graph.constants)
    return _loaded(both, Model(made, (), both.computed.origin))


def _in_rows(value: Value, rows: Dimension) -> Value:
    """An input whose rows, its one open size or its first, go by this name; exporters give each its own."""
    sizes = list(value.shape or ())
    places = [axis for axis, size in enumerate(sizes) if isinstance(size, str)]
    if places:
        sizes[places[0]] = rows
    return value._replace(shape=None if value.shape is None else tuple(sizes))


def _loaded(both: Session, model: Model) -> Session:
    return Session(model, both.device, None, both.finite, both.precision, both.keep, both.threads)
