"""The own file format: a safetensors file whose metadata holds the graph.

The tensors are the model's constants, by name; the metadata's ``tinyseq`` entry is JSON with the
format's version, the graph, the state pairs, and what the file that the model came from says of itself.
No code is in a file.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tinyseq.errors import ModelError
from tinyseq.model import Graph, Model, Node, StatePair, Value, check
from tinyseq.ops import OPS

VERSION = 1
ENTRY = "tinyseq"

TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
"""What safetensors files call NumPy's types."""

DAMAGE = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)
"""What comes of taking any JSON for what it should be."""


def save(model: Model, path: str | Path) -> None:
    """Writes a model; an existing file is replaced only once the new one is whole.

    Raises:
        ModelError: the file cannot be written.
    """
    from safetensors.numpy import save as serialise

    tensors = _Tensors()
    document = {
        "version": VERSION,
        "graph": _graph_document(model.graph, tensors),
        "state": [[p.input, p.output, tensors.name(p.initial)] for p in model.state],
        "origin": model.origin,
        "metadata": dict(model.metadata),
        "header": dict(model.header),
    }
    data = serialise(tensors.stored, {ENTRY: json.dumps(document, separators=(",", ":"))})
    partial = None
    try:
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(data)
        partial.replace(path)
    except (OSError, ValueError, TypeError) as error:
        if partial is not None:
            with suppress(OSError, ValueError):
                partial.unlink()
        raise ModelError(
            f"cannot write {path}: {getattr(error, 'strerror', None) or error}; "
            "check the name, the folder and its permissions"
        ) from error


def load(path: str | Path) -> Model:
    """The model that ``save`` wrote.

    Raises:
        ModelError: the file is missing, damaged, of a newer version or not of this format.
    """
    if Path(path).is_dir():
        raise ModelError(f"cannot read {path}: it is a folder; give the file that model.save wrote")
    try:
        metadata, tensors = parts(Path(path).read_bytes())
    except (OSError, *DAMAGE) as error:
        raise ModelError(
            f"cannot read {path}: {error}; it is missing, damaged or not a tinyseq file"
        ) from error
    if ENTRY not in metadata:
        raise ModelError(f"{path} is a safetensors file without a tinyseq graph; save models with model.save")
    try:
        document = json.loads(metadata[ENTRY])
        if document["version"] > VERSION:
            raise ModelError(
                f"{path} is of format version {document['version']}; this tinyseq reads {VERSION}"
            )
        return _model(document, tensors)
    except DAMAGE as error:
        raise ModelError(f"the graph in {path} is damaged: {error!r}") from error


def fingerprint(model: Model) -> str:
    """What tells a model from others: it is the same for a model and what ``save`` made of it."""
    from hashlib import sha256

    tensors = _Tensors()
    document = [_graph_document(model.graph, tensors), [pair[:2] for pair in model.state]]
    digest = sha256(json.dumps(document).encode())
    for content in tensors.contents:
        digest.update(repr(content).encode())
    return digest.hexdigest()


def parts(data: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata and the tensors of a safetensors file; the arrays lie in ``data``.

    Eight bytes tell the length of a header in JSON, what is behind it are the tensors' elements. The package
    itself copies them, and importing it takes longer than reading the file.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    metadata = dict(header.pop("__metadata__", {}))
    elements = memoryview(data)[start:]
    tensors = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(elements[first:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return metadata, tensors


def _model(document: dict, tensors: dict[str, np.ndarray]) -> Model:
    graph = _graph(document["graph"], tensors)
    check(graph)
    state = tuple(StatePair(i, o, None if v is None else tensors[v]) for i, o, v in document["state"])
    _check_state(graph, state)
    metadata, header = dict(document["metadata"]), dict(document.get("header", {}))
    return Model(graph, state, str(document["origin"]), metadata, header)


def _check_state(graph: Graph, state: tuple[StatePair, ...]) -> None:
    inputs = {value.name: value for value in graph.inputs}
    outputs = {value.name for value in graph.outputs}
    if len({pair.input for pair in state}) < len(state):
        raise ValueError("two outputs carry state to one input")
    for pair in state:
        if pair.input not in inputs or pair.output not in outputs:
            raise ValueError(f"state from {pair.output!r} to {pair.input!r}")
        if not pair.begins(inputs[pair.input]):
            raise ValueError(f"an initial value of {pair.initial.shape} for {inputs[pair.input]}")


class _Tensors:
    """The tensors of a file: equal arrays are stored once."""

    def __init__(self) -> None:
        self.stored: dict[str, np.ndarray] = {}
        self._names: dict[tuple, str] = {}

    @property
    def contents(self) -> list[tuple]:
        """What tells the tensors apart, in their order."""
        return list(self._names)

    def name(self, array: np.ndarray | None) -> str | None:
        """The name under which an array is stored."""
        if array is None:
            return None
        # Imported here: it loads OpenSSL, which only saving needs.
        from hashlib import sha256

        content = (array.dtype.str, array.shape, sha256(np.ascontiguousarray(array)).digest())
        name = self._names.setdefault(content, str(len(self._names)))
        # ascontiguousarray makes a scalar a vector.
        self.stored.setdefault(name, np.ascontiguousarray(array).reshape(array.shape))
        return name


def _value_document(value: Value) -> list:
    return [value.name, value.dtype.name, None if value.shape is None else list(value.shape)]


def _graph_document(graph: Graph, tensors: _Tensors) -> dict:
    return {
        "inputs": [_value_document(value) for value in graph.inputs],
        "outputs": [_value_document(value) for value in graph.outputs],
        "nodes": [_node_document(node, tensors) for node in graph.nodes],
        "constants": {name: tensors.name(array) for name, array in graph.constants.items()},
    }


def _node_document(node: Node, tensors: _Tensors) -> list:
    defaults = {attribute.name: attribute.default for attribute in node.row.attributes}
    attributes = {
        name: _attribute_document(value, tensors)
        for name, value in node.attributes.items()
        if value is not defaults.get(name)
    }
    return [node.op, list(node.inputs), list(node.outputs), attributes, node.name]


def _attribute_document(value: Any, tensors: _Tensors) -> Any:
    if isinstance(value, np.ndarray):
        return {"tensor": tensors.name(value)}
    if isinstance(value, Graph):
        return {"graph": _graph_document(value, tensors)}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    return value


def _graph(document: dict, tensors: dict[str, np.ndarray]) -> Graph:
    return Graph(
        tuple(_value(value) for value in document["inputs"]),
        tuple(_value(value) for value in document["outputs"]),
        tuple(_node(node, tensors) for node in document["nodes"]),
        {name: tensors[stored] for name, stored in document["constants"].items()},
    )


def _value(document: list) -> Value:
    name, dtype, shape = document
    return Value(name, np.dtype(dtype), None if shape is None else tuple(shape))


def _node(document: list, tensors: dict[str, np.ndarray]) -> Node:
    op, inputs, outputs, attributes, name = document
    if op not in OPS:
        raise ModelError(f"node {name!r} ({op}): this tinyseq does not know the op; update tinyseq")
    given = {key: _attribute(value, tensors) for key, value in attributes.items()}
    filled = {a.name: given.get(a.name, a.default) for a in OPS[op].attributes}
    return Node(op, tuple(inputs), tuple(outputs), filled, name)


def _attribute(document: Any, tensors: dict[str, np.ndarray]) -> Any:
    if isinstance(document, list):
        return tuple(document)
    if not isinstance(document, dict):
        return document
    ((kind, value),) = document.items()
    if kind == "tensor":
        return tensors[value]
    return _graph(value, tensors) if kind == "graph" else np.dtype(value)
