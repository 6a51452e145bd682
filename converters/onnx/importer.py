"""ONNX files to Models. The only place that imports the onnx package."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tinyseq.converters.onnx.drafts import NodeDraft
from tinyseq.converters.onnx.files import DOMAINS, external_location, package, read
from tinyseq.converters.onnx.sequences import without_sequences
from tinyseq.converters.onnx.upgrades import UPGRADES

from tinyseq.errors import ConversionWarning, ModelError, UnsupportedError
from tinyseq.ir.model import Model, ModelGraph, Node, Value, captured, unknown_op
from tinyseq.ir.op import DTYPE
from tinyseq.ir.ops import OPS
from tinyseq.ir.types import alike, checked_model

if TYPE_CHECKING:
    from onnx import ModelProto

OLDEST_OPSET = 7
OVERRIDABLE_FROM = 4
"""The version of ONNX's IR from which on an input's constant is a default; before it is the value."""

LAYOUTS = "com.microsoft.nchwc"
"""The domain of ops on tensors as some processors like them."""

FLOAT = np.dtype(np.float32)


def load(source: str | Path | bytes | ModelProto) -> Model:
    """The Model of an ONNX file; of its bytes, for which no file is read; or of a model of the onnx package.

    Raises:
        MissingPackageError: the onnx package is not installed.
        ModelError: the file is missing, damaged or not ONNX; or bytes refer to other files.
        UnsupportedError: it uses something outside the op table; names the node.
    """
    onnx = package()
    proto, where = read(source, onnx)
    return _Importer(onnx, proto, where).model()


class _Importer:
    """One file's graph, node by node, brought to the forms of the op table."""

    def __init__(self, onnx, proto, where: str) -> None:
        self.onnx = onnx
        self.proto = proto
        self.where = where
        self.stored: list[str] = []
        self.read: set[str] = set()
        self.opset = self._opset()
        self.names = (f"tinyseq.{number}" for number in count(1))
        self.defaults: tuple[Value, ...] = ()
        self.sequences: dict[str, Any] = {}

    def _opset(self) -> int:
        versions = [entry.version for entry in self.proto.opset_import if entry.domain in DOMAINS]
        if not versions and self.proto.opset_import:
            return self.onnx.defs.onnx_opset_version()
        if not versions:
            raise ModelError(
                f"{self.where} names no opset, that is, no version of the ops that it uses; it is damaged"
            )
        version = max(versions)
        if version < OLDEST_OPSET:
            raise UnsupportedError(
                f"{self.where} is of opset {version}; tinyseq reads opset {OLDEST_OPSET} and newer: "
                "convert it with onnx.version_converter"
            )
        return version

    def model(self) -> Model:
        graph = self.graph(self.proto.graph, outermost=True)
        metadata = {entry.key: entry.value for entry in self.proto.metadata_props}
        origin = f"ONNX opset {self.opset}"
        if self.proto.producer_name:
            origin += f", {self.proto.producer_name} {self.proto.producer_version}".rstrip()
        model = checked_model(Model(graph, (), origin, metadata, self.header(), self.defaults))
        self.note_unread(graph)
        return model

    def header(self) -> dict[str, str | int]:
        """What the file says of itself, by onnxruntime's names for it, as far as it says it."""
        proto = self.proto
        said = {
            "producer_name": proto.producer_name,
            "domain": proto.domain,
            "description": proto.doc_string,
            "version": proto.model_version,
            "graph_name": proto.graph.name,
            "graph_description": proto.graph.doc_string,
        }
        return {name: value for name, value in said.items() if value}

    def note_unread(self, graph: ModelGraph) -> None:
        """Warns of weights that no node of the file reads."""
        read = self.read.union(captured(graph))
        unread = [name for name in self.stored if name not in read]
        if unread:
            warnings.warn(
                f"{self.where}: no node reads the weight {unread[0]!r} ({len(unread)} such); if the model "
                "gives other results than where it was made, its export has lost what reads them",
                ConversionWarning,
                stacklevel=4,
            )

    def graph(self, proto, outermost: bool = False) -> ModelGraph:
        if proto.sparse_initializer:
            raise UnsupportedError(f"graph {proto.name!r} has sparse weights; store them dense")
        constants: dict[str, np.ndarray] = {}
        for tensor in proto.initializer:
            self.store(tensor.name, self.tensor(tensor), constants)
        self.stored += constants
        given = [self.value(info) for info in proto.input]
        for value in given:
            self.check_default(value, constants)
        inputs = tuple(value for value in given if value.name not in constants)
        if outermost:
            inputs = tuple(v._replace(dtype=FLOAT) if v.dtype is None else v for v in inputs)
            if self.proto.ir_version >= OVERRIDABLE_FROM:
                known = [v for v in given if v.name in constants]
                self.defaults = tuple([v._replace(dtype=constants[v.name].dtype) for v in known])
        nodes: list[Node] = []
        outer, self.sequences = self.sequences, dict(self.sequences)
        declared = (*proto.input, *proto.value_info)
        ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in declared if _has_shape(v)}
        for position, node in _in_order(proto.node):
            self.add(node, position, nodes, constants, ranks)
        self.sequences = outer
        outputs = tuple(self.value(info) for info in proto.output)
        return ModelGraph(inputs, outputs, tuple(nodes), constants)

    def store(self, name: str, array: np.ndarray, constants: dict[str, np.ndarray]) -> None:
        if name in constants:
            raise ModelError(f"{self.where} holds two constants of the name {name!r}; names must be unique")
        constants[name] = array

    def check_default(self, value: Value, constants: dict[str, np.ndarray]) -> None:
        """An input that has a constant of its name is that constant."""
        array = constants.get(value.name)
        if array is not None and value.dtype is not None and not alike(array.dtype, value.dtype):
            raise ModelError(
                f"the input {value.name!r} is declared {value.dtype} and its constant is {array.dtype}; "
                "export the model again"
            )

    def tensor(self, proto) -> np.ndarray:
        # Of a path they have been read; to_array would look for them in the working folder.
        if self.onnx.external_data_helper.uses_external_data(proto):
            location = external_location(proto)
            raise ModelError(
                f"constant {proto.name!r} of {self.where} lies in another file, {location!r}, which is read "
                "with a model that is given by its path only; give the path"
            )
        try:
            return np.asarray(self.onnx.numpy_helper.to_array(proto), order="C")
        except Exception as error:
            raise ModelError(f"constant {proto.name!r} of {self.where} is damaged: {error}") from error

    def dtype(self, code: int, what: str) -> np.dtype:
        try:
            dtype = np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(code))
        except Exception as error:
            raise UnsupportedError(
                f"{what} has element type {code}, which is no tensor type of NumPy"
            ) from error
        if dtype.isbuiltin != 1 or dtype.kind not in "biuf":
            raise UnsupportedError(f"{what} has element type {dtype}; tinyseq takes NumPy's numbers only")
        return dtype

    def value(self, info) -> Value:
        kind = info.type.WhichOneof("value")
        if kind not in ("tensor_type", None):
            raise UnsupportedError(f"{info.name!r} is a {kind}; tinyseq takes and gives tensors only")
        tensor = info.type.tensor_type
        dtype = self.dtype(tensor.elem_type, f"tensor {info.name!r}") if tensor.elem_type else None
        if not tensor.HasField("shape"):
            return Value(info.name, dtype, None)
        shape = tuple(
            d.dim_value if d.HasField("dim_value") else d.dim_param or f"{info.name}.{axis}"
            for axis, d in enumerate(tensor.shape.dim)
        )
        if any(isinstance(size, int) and size < 0 for size in shape):
            shape = tuple(
                f"{info.name}.{a}" if isinstance(s, int) and s < 0 else s for a, s in enumerate(shape)
            )
        return Value(info.name, dtype, shape)

    def add(
        self,
        proto,
        position: int,
        nodes: list[Node],
        constants: dict[str, np.ndarray],
        ranks: dict[str, int],
    ) -> None:
        self.read.update(proto.input)
        name = proto.name or f"{proto.op_type}_{position}"
        label = f"node {name!r} ({proto.op_type})"
        if proto.op_type == "Loop":
            proto, found = without_sequences(proto, self.sequences, self.names, label)
            self.sequences |= found
        row = OPS.get(proto.op_type)
        types = {a.name for a in row.attributes if a.kind is DTYPE} if row else ()
        attributes = {a.name: self.attribute(a, label, a.name in types) for a in proto.attribute}
        if proto.op_type == "Constant" and proto.domain in DOMAINS:
            if len(proto.output) != 1 or not proto.output[0]:
                raise ModelError(f"{label} needs exactly one output; the file is damaged")
            self.store(proto.output[0], self.constant(attributes, label), constants)
            return
        domain = "" if proto.domain in DOMAINS else proto.domain
        draft = NodeDraft(
            proto.op_type, list(proto.input), list(proto.output), attributes, name, label,
            self.opset, constants, nodes, self.names, domain, ranks, self.sequences,
        )  # fmt: skip
        if upgrade := UPGRADES.get((domain, proto.op_type)):
            upgrade(draft)
        if not draft.op:
            draft.finish()
            return
        row = OPS.get(draft.op)
        if domain == LAYOUTS:
            raise UnsupportedError(
                f"{label}: onnxruntime has optimised this file for one kind of processor ({LAYOUTS}); load "
                "the model that it was made of, or save it with ORT_ENABLE_EXTENDED"
            )
        if row is None or row.domain != draft.domain:
            raise UnsupportedError(f"{label}: {unknown_op(proto.op_type, proto.domain, UPGRADES)}")
        sequence = next((name for name in draft.inputs if name in self.sequences), None)
        if sequence is not None:
            raise UnsupportedError(
                f"{label} takes the sequence {sequence!r}; tinyseq's ops take tensors only"
            )
        for position, port in enumerate(row.inputs):
            if port.own and draft.has_input(position):
                raise ModelError(
                    f"{label} has an input {position}, which the ONNX specification does not know"
                )
        draft.finish()

    def constant(self, attributes: dict[str, Any], label: str) -> np.ndarray:
        if len(attributes) != 1:
            raise ModelError(f"{label} needs exactly one value, not {sorted(attributes)}")
        ((key, value),) = attributes.items()
        if key == "value" and isinstance(value, np.ndarray):
            return value
        types = {
            "value_int": np.int64,
            "value_ints": np.int64,
            "value_float": np.float32,
            "value_floats": np.float32,
        }
        if key not in types:
            raise UnsupportedError(f"{label} holds a {key}; tinyseq takes numbers only")
        return np.array(value, types[key])

    def attribute(self, proto, label: str, of_dtype: bool = False) -> Any:
        """An attribute in Python; element types, which ONNX numbers, as such where ``of_dtype``; None for 0,
        which is no type."""
        if proto.ref_attr_name:
            raise UnsupportedError(
                f"{label} takes {proto.name!r} from a function; inline the functions first"
            )
        kinds = self.onnx.AttributeProto
        if proto.type == kinds.TENSOR:
            return self.tensor(proto.t)
        if proto.type == kinds.GRAPH:
            return self.graph(proto.g)
        if proto.type == kinds.STRING:
            return proto.s.decode(errors="replace")
        if proto.type == kinds.STRINGS:
            return tuple(s.decode(errors="replace") for s in proto.strings)
        if proto.type in (kinds.INTS, kinds.FLOATS):
            return tuple(proto.ints if proto.type == kinds.INTS else proto.floats)
        if proto.type == kinds.INT:
            if not of_dtype:
                return proto.i
            return self.dtype(proto.i, f"{label}: {proto.name}") if proto.i else None
        if proto.type == kinds.FLOAT:
            return proto.f
        raise UnsupportedError(f"{label}: attribute {proto.name!r} is of a kind that tinyseq does not read")


def _has_shape(value: Any) -> bool:
    return value.type.WhichOneof("value") == "tensor_type" and value.type.tensor_type.HasField("shape")


def _in_order(nodes: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Nodes with their places, each behind those whose outputs it reads; as they stand where they are so, or
    read each other in a circle."""
    numbered = list(enumerate(nodes))
    makers = {name: place for place, node in numbered for name in node.output if name}
    reads = [{makers[name] for name in _read(node) if name in makers} - {place} for place, node in numbered]
    if all(max(before, default=-1) < place for place, before in enumerate(reads)):
        return iter(numbered)
    try:
        order = list(TopologicalSorter(dict(enumerate(reads))).static_order())
    except CycleError:
        return iter(numbered)
    return iter([numbered[place] for place in order])


def _read(node: Any) -> Iterator[str]:
    """The names that a node and the graphs in it read."""
    yield from node.input
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            own = {name for inner in graph.node for name in inner.output}
            own |= {value.name for value in (*graph.input, *graph.initializer)}
            names = [name for inner in graph.node for name in _read(inner)]
            yield from (name for name in (*names, *(v.name for v in graph.output)) if name not in own)
