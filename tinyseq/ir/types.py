"""The one type rule: of which types the tensors of a graph are, and whether ops can take them.

What each op takes and gives stands in its row of the op table, in the notation that ``tinyseq.ir.ops``
explains.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import MutableMapping, Sequence
from functools import cache

import numpy as np

from tinyseq.errors import ModelError
from tinyseq.ir import model
from tinyseq.ir.model import Model, ModelGraph, Node, Value
from tinyseq.ir.ops import FAMILY, OPS

BOOL, INTEGER, FLOAT = np.dtype(np.bool_), np.dtype(np.int64), np.dtype(np.float32)

NUMBERS = frozenset(np.dtype(code) for code in "?bhilqBHILQefd")
"""The types that tensors may have."""

CLASSES = {
    "f": ("a floating-point type", frozenset(t for t in NUMBERS if t.kind == "f")),
    "i": ("an integer type", frozenset(t for t in NUMBERS if t.kind in "iu")),
    "n": ("a type of numbers", frozenset(t for t in NUMBERS if t.kind != "b")),
    "q": ("int8 or uint8", frozenset(t for t in NUMBERS if t.itemsize == 1 and t.kind in "iu")),
    "b": ("bool", frozenset([BOOL])),
    "a": ("a floating-point type, an integer type or bool", NUMBERS),
}
"""By letter of the op table: how messages call the class, and its types."""

Types = MutableMapping[str, np.dtype]


Want = tuple[frozenset[np.dtype], str, str]
"""What a port takes: types of a class; the group of ports that take the same one of them, empty for none; and
words that name the class."""


def alike(one: np.dtype, other: np.dtype) -> bool:
    """Whether two types count as one: floating-point types do."""
    return one is other or one == other or one.kind == other.kind == "f"


def checked(graph: ModelGraph) -> ModelGraph:
    """The graph, found fit to run, its inputs and outputs of sub-graphs with the types that they have.

    Raises:
        ModelError: names are undefined or doubled, or a node's inputs, outputs or attributes are not those
            of its op or of types that it does not take; names the node and the tensors.
    """
    model.check(graph)
    model.refuse_doubled("outputs", [value.name for value in graph.outputs])
    for value in (*graph.inputs, *graph.outputs):
        if value.dtype is not None and value.dtype not in NUMBERS:
            raise ModelError(f"{value.name!r} is of type {value.dtype}; tinyseq takes NumPy's numbers only")
    names = {value.name: value.dtype for value in graph.inputs}
    return _typed(graph, names, "the graph")


def of_tensors(graph: ModelGraph) -> dict[str, np.dtype]:
    """The types of all tensors of a checked graph, by name; not of those in its nodes' graphs."""
    names = {value.name: value.dtype for value in graph.inputs}
    _typed(graph, names, "the graph")
    return names


def checked_model(given: Model) -> Model:
    """The model, its graph checked and what carries state of the types that its inputs have.

    Raises:
        ModelError: something does not fit; names it.
    """
    graph = checked(given.graph)
    types = {value.name: value.dtype for value in (*graph.inputs, *graph.outputs)}
    for pair in given.state:
        carried = [("the output", pair.output, types.get(pair.output))]
        if pair.initial is not None:
            carried.append(("the initial value of", pair.input, pair.initial.dtype))
        for what, name, dtype in carried:
            if dtype is not None and pair.input in types and not alike(dtype, types[pair.input]):
                raise ModelError(
                    f"state {pair.input!r} is {types[pair.input]} and {what} {name!r} is {dtype}; they must "
                    "be of one type: export the model with a Cast"
                )
    return given._replace(graph=graph)


def results(node: Node, inputs: Sequence[np.dtype | None]) -> tuple[np.dtype, ...]:
    """The types of a node's outputs, from its inputs' (None where absent); not of one that runs graphs.

    Raises:
        ModelError: the op does not take such inputs; names the node, the inputs and their types.
    """
    key = (node.op, len(node.outputs), *inputs)
    found = _known.get(key)
    if found is None:
        groups = _taken(node, inputs)
        _, gives, alone = _signature(node.op)
        last = len(gives) - 1
        places = [place if place < last else last for place in range(len(node.outputs))]
        found = tuple([_given(node, gives[place], groups) for place in places])
        if alone and len(key) < MOST_LONG and len(_known) < MOST_KNOWN:
            _known[key] = found
    return found


_known: dict[tuple, tuple[np.dtype, ...]] = {}
"""What ``results`` has given, by op, count of outputs and types of inputs: models have few such, often."""

MOST_KNOWN, MOST_LONG = 2**12, 2**4
"""How many of them are kept, and how long they may be."""


_ADVICE = "export the model with a Cast before it, or of types that fit"


def _taken(node: Node, inputs: Sequence[np.dtype | None]) -> dict[str, np.dtype]:
    """The types that the groups of an op's ports have, its inputs being of types that it takes."""
    wants = _signature(node.op)[0]
    groups: dict[str, np.dtype] = {}
    last = len(wants) - 1
    for place, dtype in enumerate(inputs):
        if dtype is None:
            continue
        types, group, words = wants[place if place < last else last]
        if dtype not in types:
            raise ModelError(f"{node}: {_told(node, place, dtype)} where the op takes {words}; {_ADVICE}")
        if group:
            former = groups.setdefault(group, dtype)
            if former is not dtype and not alike(former, dtype):
                other = next(
                    p for p, t in enumerate(inputs) if t is not None and wants[min(p, last)][1] == group
                )
                raise ModelError(
                    f"{node}: {_told(node, other, former)} and {_told(node, place, dtype)} where the op "
                    f"takes two of one type; {_ADVICE}"
                )
    return groups


def _told(node: Node, place: int, dtype: np.dtype) -> str:
    return f"its input {node.row.port(place).name!r} (tensor {node.inputs[place]!r}) is {dtype}"


def _given(node: Node, alternatives: tuple[str | np.dtype, ...], groups: dict[str, np.dtype]) -> np.dtype:
    """The first of an output's types that is there."""
    for given in alternatives:
        if not isinstance(given, str):
            return given
        found = node.attributes[given[1:]] if given[0] == "@" else groups.get(given)
        if found is not None:
            return found.dtype if isinstance(found, np.ndarray) else found
    raise ModelError(f"{node}: nothing tells the type of its output; the file is damaged")


@cache
def _signature(op: str) -> tuple[tuple[Want, ...], tuple[tuple[str | np.dtype, ...], ...], bool]:
    """What the inputs of an op take; of each output, what tells its type; whether types alone do."""
    row = OPS[op]
    wants = []
    for port in row.inputs:
        text = port.type or "a"
        is_class = text[0].lower() in CLASSES and not text[1:].strip("12")
        words, types = CLASSES[text[0].lower()] if is_class else (text, frozenset([np.dtype(text)]))
        wants.append((types, text if text[0].isupper() else "", words))
    gives = [tuple(map(_alternative, port.type.split("/"))) for port in row.outputs if port.type]
    return tuple(wants), tuple(gives), not any("@" in port.type for port in row.outputs)


def _alternative(text: str) -> str | np.dtype:
    if text[0] == "@" or text[0].isupper():
        return text
    return BOOL if text == "b" else np.dtype(text)


def _typed(graph: ModelGraph, names: Types, where: str) -> ModelGraph:
    """The graph with the types of all that is at its edge; ``names`` are those of its inputs and of what it
    sees of the graphs around it."""
    for name, array in graph.constants.items():
        names[name] = array.dtype
    nodes, changed = [], False
    for node in graph.nodes:
        inputs = [names[name] if name else None for name in node.inputs]
        if FAMILY[node.op] == "control":
            made, given = _CONTROL[node.op](node, inputs, names)
            changed = changed or made is not node
            node = made
        else:
            given = results(node, inputs)
        for name, dtype in zip(node.outputs, given):
            names[name] = dtype
        nodes.append(node)
    outputs = tuple([_of_type(value, names[value.name], "output", where) for value in graph.outputs])
    if changed:
        graph = graph._replace(nodes=tuple(nodes))
    return graph if all(map(_is, outputs, graph.outputs)) else graph._replace(outputs=outputs)


def _is(one: object, other: object) -> bool:
    return one is other


def _of_type(value: Value, dtype: np.dtype, what: str, where: str) -> Value:
    """A value at the edge of a graph with its type, which it may state only as it is."""
    if value.dtype is None:
        return value._replace(dtype=dtype)
    if not alike(value.dtype, dtype):
        raise ModelError(
            f"{where}: the {what} {value.name!r} is declared {value.dtype} and is {dtype}; export the model "
            "with the type that it has, or with a Cast"
        )
    return value


def _inner(
    node: Node, key: str, given: Sequence[np.dtype | None], names: Types
) -> tuple[ModelGraph, list[np.dtype]]:
    """One of a node's graphs with the types that its inputs are given, and the types of its outputs."""
    graph, where = node.attributes[key], f"{node}, {key}"
    if len(given) != len(graph.inputs):
        raise ModelError(
            f"{where}: it takes {len(graph.inputs)} inputs where it is given {len(given)}; the file is "
            "damaged"
        )
    inputs = tuple([_of_type(value, dtype, "input", where) for value, dtype in zip(graph.inputs, given)])
    scope = ChainMap({value.name: dtype for value, dtype in zip(inputs, given)}, names)
    typed = _typed(graph, scope, where)
    if not all(map(_is, inputs, graph.inputs)):
        typed = typed._replace(inputs=inputs)
    return typed, [scope[value.name] for value in typed.outputs]


def _with(node: Node, graphs: dict[str, ModelGraph]) -> Node:
    if all(node.attributes[key] is graph for key, graph in graphs.items()):
        return node
    return node._replace(attributes=node.attributes | graphs)


def _if(node: Node, inputs: list, names: Types) -> tuple[Node, list[np.dtype]]:
    _taken(node, inputs)
    graphs, given = {}, []
    for key in ("then_branch", "else_branch"):
        graphs[key], types = _inner(node, key, (), names)
        given.append(types)
    for name, one, other in zip(node.outputs, *given):
        if name and not alike(one, other):
            raise ModelError(
                f"{node}: its output {name!r} is {one} by one branch and {other} by the other; {_ADVICE}"
            )
    return _with(node, graphs), _enough(node, given[0])


def _loop(node: Node, inputs: list, names: Types) -> tuple[Node, list[np.dtype]]:
    _taken(node, inputs)
    carried = inputs[2:]
    body, given = _inner(node, "body", [INTEGER, BOOL, *carried], names)
    if given[:1] != [BOOL]:
        raise ModelError(f"{node}: the first output of its body is not the condition, a bool; {_ADVICE}")
    given = given[1:]
    _carry(node, node.inputs[2:], carried, given)
    return _with(node, {"body": body}), _enough(node, given)


def _scan(node: Node, inputs: list, names: Types) -> tuple[Node, list[np.dtype]]:
    _taken(node, inputs)
    kept = len(inputs) - node.attributes["num_scan_inputs"]
    if not 0 <= kept < max(len(inputs), 1):
        raise ModelError(
            f"{node}: num_scan_inputs is {node.attributes['num_scan_inputs']} of {len(inputs)} inputs; "
            "the file is damaged"
        )
    body, given = _inner(node, "body", inputs, names)
    _carry(node, node.inputs, inputs[:kept], given)
    return _with(node, {"body": body}), _enough(node, given)


_CONTROL = {"If": _if, "Loop": _loop, "Scan": _scan}
"""The type rules of the ops that run graphs: the node with its graphs typed, and the types of its outputs."""


def _carry(node: Node, names: Sequence[str], before: list, after: list) -> None:
    """Carried values keep their types."""
    if len(after) < len(before):
        raise ModelError(f"{node}: {len(before)} carried values and {len(after)} outputs of its body")
    for name, old, new in zip(names, before, after):
        if old is not None and not alike(old, new):
            raise ModelError(
                f"{node}: its carried value {name!r} is {old} before and {new} after a turn; it must keep "
                f"its type: {_ADVICE}"
            )


def _enough(node: Node, given: list[np.dtype]) -> list[np.dtype]:
    if len(given) < len(node.outputs):
        raise ModelError(f"{node}: {len(given)} results of its graph for {len(node.outputs)} outputs")
    return given
