"""ONNX files to Models. The only place that imports the onnx package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tinyseq.errors import MissingPackageError, ModelError, UnsupportedError
from tinyseq.model import Graph, Model, Node, Value, check
from tinyseq.ops import OPS, REQUIRED, Attribute, Op

OLDEST_OPSET = 7
DOMAINS = ("", "ai.onnx")


def load(source: str | Path | bytes) -> Model:
    """The Model of an ONNX file, or of its bytes.

    Raises:
        MissingPackageError: the onnx package is not installed.
        ModelError: the file is missing, damaged or not ONNX.
        UnsupportedError: it uses something outside the op table; names the node.
    """
    onnx = _package()
    try:
        proto = onnx.load_from_string(source) if isinstance(source, bytes) else onnx.load(source)
    except OSError as error:
        raise ModelError(f"cannot read {source}: {error.strerror or error}; check the path") from error
    except Exception as error:
        raise ModelError(f"{_where(source)} is not an ONNX file, or is damaged: {error}") from error
    if not all(isinstance(text, str) for text in _texts(proto)):
        raise ModelError(f"{_where(source)} is damaged: it holds names that are not UTF-8")
    if not proto.graph.output:
        raise ModelError(
            f"{_where(source)} is not an ONNX file, or is damaged: it holds a graph without outputs"
        )
    return _Importer(onnx, proto, _where(source)).model()


def _package():
    try:
        import onnx
    except ImportError as error:
        raise MissingPackageError(
            "reading ONNX files needs the onnx package: pip install 'tinyseq[onnx]'; "
            "a model saved with model.save loads without it"
        ) from error
    return onnx


def _texts(message) -> Iterator[str | bytes]:
    """Every string in a protobuf message; bytes where one is not UTF-8."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            yield from [value] if isinstance(value, (str, bytes)) else value
        elif field.type == field.TYPE_MESSAGE:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _texts(inner)


def _where(source: str | Path | bytes) -> str:
    return "the given bytes" if isinstance(source, bytes) else str(source)


class _Importer:
    """One file's graph, node by node, brought to the forms of the op table."""

    def __init__(self, onnx, proto, where: str) -> None:
        self.onnx = onnx
        self.proto = proto
        self.where = where
        self.opset = self._opset()
        self.fresh = 0

    def _opset(self) -> int:
        versions = [entry.version for entry in self.proto.opset_import if entry.domain in DOMAINS]
        if not versions:
            raise ModelError(f"{self.where} names no opset of the ONNX operators; the file is damaged")
        version = max(versions)
        if version < OLDEST_OPSET:
            raise UnsupportedError(
                f"{self.where} is of opset {version}; tinyseq reads opset {OLDEST_OPSET} and newer: "
                "convert it with onnx.version_converter"
            )
        return version

    def model(self) -> Model:
        graph = self.graph(self.proto.graph)
        check(graph)
        metadata = {entry.key: entry.value for entry in self.proto.metadata_props}
        origin = f"ONNX opset {self.opset}"
        if self.proto.producer_name:
            origin += f", {self.proto.producer_name} {self.proto.producer_version}".rstrip()
        return Model(graph, (), origin, metadata)

    def graph(self, proto) -> Graph:
        if proto.sparse_initializer:
            raise UnsupportedError(f"graph {proto.name!r} has sparse weights; store them dense")
        constants = {tensor.name: self.tensor(tensor) for tensor in proto.initializer}
        inputs = tuple(self.value(info) for info in proto.input if info.name not in constants)
        nodes: list[Node] = []
        for position, node in enumerate(proto.node):
            self.add(node, position, nodes, constants)
        outputs = tuple(self.value(info) for info in proto.output)
        return Graph(inputs, outputs, tuple(nodes), constants)

    def tensor(self, proto) -> np.ndarray:
        try:
            return np.array(self.onnx.numpy_helper.to_array(proto), order="C")
        except Exception as error:
            raise ModelError(f"constant {proto.name!r} of {self.where} is damaged: {error}") from error

    def dtype(self, code: int, what: str) -> np.dtype:
        try:
            return np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(code))
        except Exception as error:
            raise UnsupportedError(
                f"{what} has element type {code}, which is no tensor type of NumPy"
            ) from error

    def value(self, info) -> Value:
        kind = info.type.WhichOneof("value")
        if kind not in ("tensor_type", None):
            raise UnsupportedError(f"{info.name!r} is a {kind}; tinyseq takes and gives tensors only")
        tensor = info.type.tensor_type
        dtype = self.dtype(tensor.elem_type or 1, f"tensor {info.name!r}")
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

    def add(self, proto, position: int, nodes: list[Node], constants: dict[str, np.ndarray]) -> None:
        name = proto.name or f"{proto.op_type}_{position}"
        label = f"node {name!r} ({proto.op_type})"
        attributes = {a.name: self.attribute(a, label) for a in proto.attribute}
        if proto.op_type == "Constant" and proto.domain in DOMAINS:
            constants[proto.output[0]] = self.constant(attributes, label)
            return
        if proto.domain not in DOMAINS or proto.op_type not in OPS:
            raise UnsupportedError(
                f"{label}: the op {':'.join(filter(None, (proto.domain, proto.op_type)))} is not in "
                f"tinyseq's op table; supported are {', '.join(sorted(OPS))}"
            )
        inputs = list(proto.input)
        if upgrade := UPGRADES.get(proto.op_type):
            upgrade(self, inputs, proto.output, attributes, constants)
        row = OPS[proto.op_type]
        node = Node(
            row.name,
            _without_tail(inputs),
            _without_tail(proto.output),
            _attributes(row, attributes, label),
            name,
        )
        nodes.append(node)

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

    def attribute(self, proto, label: str) -> Any:
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
        if proto.type in (kinds.INT, kinds.FLOAT):
            return proto.i if proto.type == kinds.INT else proto.f
        raise UnsupportedError(f"{label}: attribute {proto.name!r} is of a kind that tinyseq does not read")

    def as_input(self, value, constants: dict[str, np.ndarray]) -> str:
        """The name of a new constant: an attribute that newer opsets take as an input."""
        self.fresh += 1
        name = f"tinyseq.attribute.{self.fresh}"
        constants[name] = np.array(value)
        return name


def _without_tail(names) -> tuple[str, ...]:
    """Input or output names less the absent ones at the end."""
    count = max((position for position, name in enumerate(names, start=1) if name), default=0)
    return tuple(names[:count])


def _attributes(row: Op, given: dict[str, Any], label: str) -> dict[str, Any]:
    """Attributes checked against the table's row, defaults filled in."""
    known = {attribute.name for attribute in row.attributes}
    for name in given:
        if name not in known:
            raise UnsupportedError(f"{label}: the attribute {name!r} is not in tinyseq's op table")
    return {attribute.name: _attribute(attribute, given, label) for attribute in row.attributes}


def _attribute(attribute: Attribute, given: dict[str, Any], label: str) -> Any:
    value = given.get(attribute.name, attribute.default)
    if value is REQUIRED:
        raise ModelError(f"{label} lacks its attribute {attribute.name!r}; the file is damaged")
    if attribute.allowed is not None and value not in attribute.allowed:
        choices = " or ".join("absent" if choice is None else repr(choice) for choice in attribute.allowed)
        raise UnsupportedError(
            f"{label}: {attribute.name}={value!r} is not supported; tinyseq takes {choices}: "
            "export the model with one of these"
        )
    return value


Upgrade = Callable[[_Importer, list[str], list[str], dict[str, Any], dict[str, np.ndarray]], None]


def _attributes_to_inputs(*names: str, first: int = 1) -> Upgrade:
    """Attributes that newer opsets take as inputs, from input position ``first``."""

    def upgrade(importer, inputs, outputs, attributes, constants):
        for position, name in enumerate(names, start=first):
            if name in attributes:
                inputs += [""] * (position + 1 - len(inputs))
                inputs[position] = importer.as_input(attributes.pop(name), constants)

    return upgrade


def _cast(importer, inputs, outputs, attributes, constants):
    if "to" in attributes:
        attributes["to"] = importer.dtype(attributes["to"], "the target of a Cast")


def _pad(importer, inputs, outputs, attributes, constants):
    if importer.opset < 11:
        value = np.float32(attributes.pop("value", 0.0))
        _attributes_to_inputs("pads")(importer, inputs, outputs, attributes, constants)
        inputs.append(importer.as_input(value, constants))


def _split(importer, inputs, outputs, attributes, constants):
    """Without sizes, older opsets split into as many equal parts as there are outputs."""
    _attributes_to_inputs("split")(importer, inputs, outputs, attributes, constants)
    if len(inputs) < 2 or not inputs[1]:
        if attributes.setdefault("num_outputs", len(outputs)) != len(outputs):
            raise ModelError(f"num_outputs={attributes['num_outputs']!r} for {len(outputs)} outputs")


def _hidden_size(importer, inputs, outputs, attributes, constants):
    """``hidden_size`` may be left out; the recurrent weights [D, G*H, H] tell it."""
    if "hidden_size" not in attributes and len(inputs) > 2 and inputs[2] in constants:
        attributes["hidden_size"] = constants[inputs[2]].shape[-1]


UPGRADES: dict[str, Upgrade] = {
    "Cast": _cast,
    "Pad": _pad,
    "Squeeze": _attributes_to_inputs("axes"),
    "Unsqueeze": _attributes_to_inputs("axes"),
    "ReduceMean": _attributes_to_inputs("axes"),
    "ReduceSum": _attributes_to_inputs("axes"),
    "Split": _split,
    "Slice": _attributes_to_inputs("starts", "ends", "axes"),
    "RNN": _hidden_size,
    "GRU": _hidden_size,
    "LSTM": _hidden_size,
}
"""How older forms of an op become the newest one, by op."""
