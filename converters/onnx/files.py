"""ONNX files: from a path, bytes or a model of the onnx package to a whole one, functions written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tinyseq.converters.onnx.upgrades import UPGRADES

from tinyseq.common import files
from tinyseq.common.given import as_path
from tinyseq.errors import MissingPackageError, ModelError, UnsupportedError
from tinyseq.ir.ops import OPS

DOMAINS = ("", "ai.onnx")
"""What a file may call the domain of ONNX's own ops."""


def package() -> Any:
    """The onnx package.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingPackageError(
            "reading ONNX files needs the onnx package: pip install 'tinyseq[onnx]'; "
            "a model saved with model.save loads without it"
        ) from error
    return onnx


def read(source: object, onnx: Any) -> tuple[Any, str]:
    """A ``ModelProto`` that holds all its tensors and calls no function of its own; what messages call it.

    Raises:
        ModelError: the file is missing, damaged or not ONNX; or bytes or a model refer to other files.
        UnsupportedError: the functions cannot be written out.
    """
    proto, where = _proto(source, onnx)
    if isinstance(source, (str, Path)):
        _add_external(onnx, proto, Path(source))
    if not all(isinstance(text, str) for text in _texts(proto)):
        raise ModelError(f"{where} is damaged: it holds names that are not UTF-8")
    if not proto.graph.output:
        raise ModelError(f"{where} is not an ONNX file, or is damaged: it holds a graph without outputs")
    if proto.functions:
        proto = _inlined(proto, where)
    # What functions are of may be functions again.
    while functions := _functions_of_onnx(proto, onnx):
        proto = _written_out(proto, functions, onnx, where)
    return proto, where


def _proto(source: object, onnx: Any) -> tuple[Any, str]:
    if isinstance(source, onnx.ModelProto):
        return source, "the given model"
    if isinstance(source, bytes):
        data, where = source, "the given bytes"
    else:
        path = as_path(source, "a model")
        where = str(path)
        try:
            data = files.read(path)
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    try:
        return onnx.load_from_string(data), where
    except Exception as error:
        raise ModelError(f"{where} is not an ONNX file, or is damaged: {error}") from error


def _add_external(onnx: Any, proto: Any, source: Path) -> None:
    """Reads the tensors that lie in files beside the model's."""
    tensors = [tensor for tensor in _tensors(proto) if onnx.external_data_helper.uses_external_data(tensor)]
    for tensor in tensors:
        location = external_location(tensor)
        where = f"constant {tensor.name!r} of {source} lies in the file {location!r} beside it"
        try:
            files.check(source.parent / location)
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(source.parent))
        except FileNotFoundError as error:
            raise ModelError(
                f"{where}, which is missing; put {location!r} into the folder {str(source.parent)!r}"
            ) from error
        except OSError as error:
            raise ModelError(f"{where}, which cannot be read: {error.strerror or error}") from error
        except Exception as error:
            raise ModelError(f"{where}, but is damaged: {error}") from error
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def external_location(tensor: Any) -> str:
    """The name of the file in which a tensor lies."""
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _inlined(proto: Any, where: str) -> Any:
    """The model with its own functions written out where they are called."""
    from onnx import inliner

    whole = type(proto)()
    whole.CopyFrom(proto)
    named = {entry.domain for entry in proto.opset_import}
    for function in proto.functions:
        # What functions alone use, the model need not name.
        for entry in function.opset_import:
            if entry.domain not in named:
                named.add(entry.domain)
                whole.opset_import.add(domain=entry.domain, version=entry.version)
    try:
        return inliner.inline_local_functions(whole, convert_version=True)
    except Exception as error:
        raise UnsupportedError(
            f"{where} has functions that the onnx package cannot write out ({error}); export the model "
            "without functions"
        ) from error


def _functions_of_onnx(proto: Any, onnx: Any) -> dict[str, Any]:
    """The ops of a model that the table does not have and that ONNX defines by others, with their schemas."""
    version = max((entry.version for entry in proto.opset_import if entry.domain in DOMAINS), default=0)
    names = {node.op_type for node in _nodes(proto.graph) if node.domain in DOMAINS}
    found = {}
    for name in sorted(names):
        if name in OPS or ("", name) in UPGRADES or not onnx.defs.has(name, version):
            continue
        schema = onnx.defs.get_schema(name, version)
        if schema.has_function or schema.has_context_dependent_function:
            found[name] = schema
    return found


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of those within it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _nodes(inner)


def _written_out(proto: Any, functions: Mapping[str, Any], onnx: Any, where: str) -> Any:
    """The model with calls of ONNX's functions written out."""
    from onnx import inliner

    whole = type(proto)()
    whole.CopyFrom(proto)
    for node in _nodes(whole.graph):
        # What a call leaves to defaults, the inliner leaves out.
        if node.domain in DOMAINS and node.op_type in functions:
            given = {attribute.name for attribute in node.attribute}
            for name, attribute in functions[node.op_type].attributes.items():
                if name not in given and attribute.default_value.name:
                    node.attribute.append(attribute.default_value)
    names = [("", name) for name in functions]
    try:
        made = inliner.inline_selected_functions(whole, names, inline_schema_functions=True)
    except Exception as error:
        raise UnsupportedError(
            f"{where} has ops that neither tinyseq nor the onnx package can write out "
            f"({', '.join(functions)}: {error}); export the model without them"
        ) from error
    left = {node.op_type for node in _nodes(made.graph) if node.domain in DOMAINS}.intersection(functions)
    if left:
        raise UnsupportedError(
            f"{where} has ops that tinyseq lacks ({', '.join(sorted(left))}); export the model without them"
        )
    return made


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor in a protobuf message."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(inner)


def _texts(message: Any) -> Iterator[str | bytes]:
    """Every string in a protobuf message; bytes where one is not UTF-8."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            yield from [value] if isinstance(value, (str, bytes)) else value
        elif field.type == field.TYPE_MESSAGE:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _texts(inner)
