"""The own file format: a safetensors file whose metadata holds the graph.

The tensors are the model's constants, by name; the metadata's ``tinyseq`` entry is JSON with the
format's version, the graph, the state pairs, and what the file that the model came from says of itself.
No code is in a file.

Of version 2 is a file whose weights have been rounded, which its entry ``precision`` says to what: a constant
that is one is a list of the tensor that stands for it and of that of its scales, see ``ir/narrow.py``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyseq.common import files
from tinyseq.common.given import as_path_text, is_folder
from tinyseq.errors import MissingPackageError, ModelError
from tinyseq.ir.model import Model, ModelGraph, Node, StatePair, Value
from tinyseq.ir.narrow import EXACT, PRECISIONS, Narrow
from tinyseq.ir.ops import OPS
from tinyseq.ir.types import checked_model
from tinyseq.ir.weights import Constant, widened
from tinyseq.shapes import MOST_DIMENSIONS

if TYPE_CHECKING:
    from pathlib import Path

PLAIN, VERSION = 1, 2
ENTRY = "tinyseq"
SUFFIX = ".tinyseq"

TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
"""What safetensors files call NumPy's types."""

MOST_HEADER = 10**8
"""Bytes of a header: as many as the safetensors package takes."""

NAMES = {np.dtype(code).name: np.dtype(code) for code in TYPES.values()}
"""The types by NumPy's names, which documents have."""

DAMAGE = (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError)
"""What comes of taking any JSON for what it should be."""


def save(model: Model, path: str | Path) -> None:
    """Writes a model to a file that ends in ``.tinyseq``; see ``files.writing``.

    Raises:
        ModelError: the file cannot be written.
    """
    data = written(model)
    with files.writing(path, ModelError, SUFFIX) as file:
        file.write(data)


def written(model: Model) -> bytes:
    """What ``save`` writes.

    Raises:
        MissingPackageError: the safetensors package is not installed.
    """
    tensors, precision = _Tensors(), model.precision
    document = {
        "version": PLAIN if precision == EXACT else VERSION,
        "graph": _graph_document(model.graph, tensors),
        "state": [[p.input, p.output, tensors.name(p.initial)] for p in model.state],
        "origin": model.origin,
        "metadata": dict(model.metadata),
        "header": dict(model.header),
    }
    if precision != EXACT:
        document["precision"] = precision
    return serialised(tensors.stored, {ENTRY: json.dumps(document, separators=(",", ":"))})


def serialised(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """A safetensors file.

    Raises:
        MissingPackageError: the safetensors package is not installed.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise MissingPackageError(
            "saving needs the safetensors package, which is missing here: pip install safetensors"
        ) from error
    return save(tensors, metadata)


def load(path: str | Path) -> Model:
    """The model that ``save`` wrote.

    Raises:
        ModelError: the file is missing, damaged, of a newer version or not of this format.
    """
    path = as_path_text(path, "a model")
    if is_folder(path):
        raise ModelError(f"cannot read {path}: it is a folder; give the file that model.save wrote")
    try:
        metadata, tensors = _parts_of_file(path)
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
        raise ModelError(
            f"the graph in {path} is damaged ({error}); write the file again with model.save"
        ) from error


def fingerprint(model: Model) -> str:
    """What tells a model from others: it is the same for a model and what ``save`` made of it. Weights that
    are floating numbers tell all of what they compute; of whole numbers it matters that they are."""
    from hashlib import sha256

    tensors = _Contents()
    document = [_graph_document(model.graph, tensors), [pair[:2] for pair in model.state]]
    digest = sha256(json.dumps(document).encode())
    for content in tensors.names:
        digest.update(repr(content).encode())
    return digest.hexdigest()


Parts = tuple[dict[str, str], dict[str, np.ndarray]]
"""The metadata and the tensors of a safetensors file."""


def parts(data: bytes) -> Parts:
    """Those of a file's bytes, in which the arrays lie."""
    view = memoryview(data)
    return _parts(len(data), lambda start, end: np.frombuffer(view[start:end], np.uint8))


def _parts_of_file(path: str | Path) -> Parts:
    """Those of a file. Each array has memory of its own, which is free when nobody needs that one."""
    with files.opened(path) as file:

        def take(start: int, end: int) -> np.ndarray:
            own = np.empty(end - start, np.uint8)
            if file.tell() != start:
                file.seek(start)
            if file.readinto(own) < own.size:
                raise ValueError("it has become shorter while it was read")
            return own

        return _parts(os.fstat(file.fileno()).st_size, take)


def _parts(size: int, take: Callable[[int, int], np.ndarray]) -> Parts:
    """Those of a file of some size, the bytes of which ``take(start, end)`` gives.

    Eight bytes tell the length of a header in JSON, what is behind it are the tensors' elements. The package
    itself copies them, and importing it takes longer than reading the file.
    """
    start = 8 + int.from_bytes(take(0, min(size, 8)).tobytes(), "little")
    if start > min(size, MOST_HEADER):
        raise ValueError(f"of its {size:,} bytes the header would take {start - 8:,}")
    header = json.loads(take(8, start).tobytes())
    metadata = dict(header.pop("__metadata__", {}))
    tensors, left = {}, size - start
    for name, entry in header.items():
        first, end = _place(entry, size - start)
        left -= end - first
        if left < 0:
            raise ValueError("tensors that lie in each other")
        tensors[name] = _tensor(take(start + first, start + end), entry)
    return metadata, tensors


def _place(entry: dict, size: int) -> tuple[int, int]:
    """Where a tensor begins and ends of so many bytes; there are as many as its shape and type say."""
    first, end = entry["data_offsets"]
    dtype, shape = TYPES[entry["dtype"]], entry["shape"]
    if not all(type(number) is int and number >= 0 for number in (first, end, *shape)):
        raise ValueError(f"a tensor of {shape} at {first} to {end}")
    if not first <= end <= size:
        raise ValueError(f"a tensor at {first} to {end} of {size} bytes")
    if prod(shape) * np.dtype(dtype).itemsize != end - first or len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"a tensor {dtype}{shape} in {end - first} bytes")
    return first, end


def _tensor(elements: np.ndarray, entry: dict) -> np.ndarray:
    # Other bytes than 0 and 1 are no booleans.
    dtype = TYPES[entry["dtype"]]
    return (elements != 0 if dtype == "?" else elements.view(dtype)).reshape(entry["shape"])


def _model(document: dict, tensors: dict[str, np.ndarray]) -> Model:
    narrowed = _Narrowed(tensors, document.get("precision", EXACT))
    graph = _graph(document["graph"], narrowed)
    state = tuple(StatePair(i, o, None if v is None else tensors[v]) for i, o, v in document["state"])
    _check_state(graph, state)
    metadata, header = dict(document["metadata"]), dict(document.get("header", {}))
    return checked_model(Model(graph, state, str(document["origin"]), metadata, header))


class _Narrowed(dict):
    """The tensors of a file by name, and its weights of a precision, each made once."""

    def __init__(self, tensors: dict[str, np.ndarray], precision: str) -> None:
        super().__init__(tensors)
        if precision != EXACT and precision not in PRECISIONS:
            raise ValueError(f"the precision {precision!r}")
        self._precision = precision
        self._made: dict[tuple[str, str | None], Narrow] = {}

    def constant(self, stored: str | list) -> Constant:
        """What a graph calls by one name, or by those of a rounded weight and of its scales."""
        if isinstance(stored, str):
            return self[stored]
        name, scales = stored
        if (name, scales) not in self._made:
            own = None if scales is None else self[scales]
            self._made[name, scales] = PRECISIONS[self._precision].read(self[name], own)
        return self._made[name, scales]


def _check_state(graph: ModelGraph, state: tuple[StatePair, ...]) -> None:
    inputs = {value.name: value for value in graph.inputs}
    outputs = {value.name for value in graph.outputs}
    if len({pair.input for pair in state}) < len(state):
        raise ValueError("two outputs carry state to one input")
    for pair in state:
        if pair.input not in inputs or pair.output not in outputs:
            raise ValueError(f"state from {pair.output!r} to {pair.input!r}")
        if not pair.begins(inputs[pair.input]):
            raise ValueError(f"an initial value of {pair.initial.shape} for {inputs[pair.input]}")


class _Contents:
    """Tensors by what tells them apart, ``names`` in their order: equal ones have one name."""

    def __init__(self) -> None:
        self.names: dict[tuple, str] = {}

    def name(self, array: np.ndarray | None) -> str | None:
        """The name of an array."""
        if array is None:
            return None
        # Imported here: it loads OpenSSL, which only saving needs.
        from hashlib import sha256

        content = (array.dtype.str, array.shape, sha256(np.ascontiguousarray(array)).digest())
        return self.names.setdefault(content, str(len(self.names)))

    def constant(self, constant: Constant) -> str | list | None:
        """The name of a constant, or those of what stands for a rounded weight of whole numbers."""
        if isinstance(constant, Narrow) and not constant.precision.exact:
            return [self.name(constant.stored), self.name(constant.scales)]
        return self.name(widened(constant))


class _Tensors(_Contents):
    """The tensors of a file, ``stored`` by their names."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[str, np.ndarray] = {}

    def name(self, array: np.ndarray | None) -> str | None:
        name = super().name(array)
        if array is not None and name is not None and name not in self.stored:
            # ascontiguousarray makes a scalar a vector.
            self.stored[name] = np.ascontiguousarray(array).reshape(array.shape)
        return name

    def constant(self, constant: Constant) -> str | list | None:
        """The name of a constant, or those of what stands for a rounded weight."""
        if isinstance(constant, Narrow):
            return [self.name(constant.stored), self.name(constant.scales)]
        return self.name(widened(constant))


def _value_document(value: Value) -> list:
    return [value.name, value.dtype.name, None if value.shape is None else list(value.shape)]


def _graph_document(graph: ModelGraph, tensors: _Contents) -> dict:
    return {
        "inputs": [_value_document(value) for value in graph.inputs],
        "outputs": [_value_document(value) for value in graph.outputs],
        "nodes": [_node_document(node, tensors) for node in graph.nodes],
        "constants": {name: tensors.constant(constant) for name, constant in graph.constants.items()},
    }


def _node_document(node: Node, tensors: _Contents) -> list:
    defaults = {attribute.name: attribute.default for attribute in node.row.attributes}
    attributes = {
        name: _attribute_document(value, tensors)
        for name, value in node.attributes.items()
        if value is not defaults.get(name)
    }
    return [node.op, list(node.inputs), list(node.outputs), attributes, node.name]


def _attribute_document(value: Any, tensors: _Contents) -> Any:
    if isinstance(value, np.ndarray):
        return {"tensor": tensors.name(value)}
    if isinstance(value, ModelGraph):
        return {"graph": _graph_document(value, tensors)}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    return value


def _graph(document: dict, tensors: _Narrowed) -> ModelGraph:
    return ModelGraph(
        tuple(_value(value) for value in document["inputs"]),
        tuple(_value(value) for value in document["outputs"]),
        tuple(_node(node, tensors) for node in document["nodes"]),
        {name: tensors.constant(stored) for name, stored in document["constants"].items()},
    )


def _value(document: list) -> Value:
    name, dtype, shape = document
    return Value(name, _dtype(dtype), None if shape is None else tuple(shape))


def _dtype(name: object) -> np.dtype:
    """The type of a name in a document: one of those that ``TYPES`` has."""
    if name not in NAMES:
        raise ValueError(f"the type {name!r}")
    return NAMES[name]


def _node(document: list, tensors: _Narrowed) -> Node:
    op, inputs, outputs, attributes, name = document
    if op not in OPS:
        raise ModelError(f"node {name!r} ({op}): this tinyseq does not know the op; update tinyseq")
    given = {key: _attribute(value, tensors) for key, value in attributes.items()}
    filled = {a.name: given.get(a.name, a.default) for a in OPS[op].attributes}
    return Node(op, tuple(inputs), tuple(outputs), filled, name)


def _attribute(document: Any, tensors: _Narrowed) -> Any:
    if isinstance(document, list):
        return tuple(document)
    if not isinstance(document, dict):
        return document
    ((kind, value),) = document.items()
    if kind == "tensor":
        return tensors[value]
    return _graph(value, tensors) if kind == "graph" else _dtype(value)
