"""ONNX files: from a path, bytes or a model of the onnx package to a whole one, functions written out."""

from __future__ import annotations

from collections.abc import Iterator
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
    functions = _functions_of_onnx(proto, onnx)
    return (_written_out(proto, functions, where) if functions else proto), where


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


def _functions_of_onnx(proto: Any, onnx: Any) -> list[tuple[str, str]]:
    """The ops of a model that the table does not have and that ONNX defines by others, as (domain, op)."""
    version = max((entry.version for entry in proto.opset_import if entry.domain in DOMAINS), default=0)
    unknown = {name for name in _ops(proto.graph) if name not in OPS and ("", name) not in UPGRADES}
    found = []
    for name in sorted(unknown):
        try:
            schema = onnx.defs.get_schema(name, version, "")
        except Exception:
            continue
        if schema.has_function or schema.has_context_dependent_function:
            found.append(("", name))
    return found


def _ops(graph: Any) -> set[str]:
    """The names of ONNX's own ops in a graph and those within it."""
    found = {node.op_type for node in graph.node if node.domain in DOMAINS}
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                found |= _ops(inner)
    return found


def _written_out(proto: Any, functions: list[tuple[str, str]], where: str) -> Any:
    """The model with calls of ONNX's functions written out."""
    from onnx import inliner

    try:
        return inliner.inline_selected_functions(proto, functions, inline_schema_functions=True)
    except Exception as error:
        names = ", ".join(name for _, name in functions)
        raise UnsupportedError(
            f"{where} has ops that neither tinyseq nor the onnx package can write out ({names}: {error}); "
            "export the model without them"
        ) from error


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
