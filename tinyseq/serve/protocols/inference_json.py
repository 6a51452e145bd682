"""Requests and responses of the Open Inference Protocol as JSON, tensors as lists or as bytes behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tinyseq.common.text import shown
from tinyseq.serve.errors import BadRequestError
from tinyseq.serve.http import Response
from tinyseq.serve.protocols import packing
from tinyseq.serve.protocols.inference import InferRequest, InferResponse
from tinyseq.serve.protocols.parameters import asked, refuse_others
from tinyseq.serve.protocols.tensors import array_of, from_bytes, tensor_of, written

if TYPE_CHECKING:
    import numpy as np

HEADER_LENGTH = "inference-header-content-length"
"""The header that says how long the JSON is in front of the bytes of tensors."""


_ENCODER = json.JSONEncoder(separators=(",", ":"))


class Wanted(NamedTuple):
    """How the outputs of a request are written: those of ``binary``, else all others, as bytes."""

    binary: Mapping[str, bool]
    others: bool


def read_request(
    model: str, version: str, headers: Mapping[str, str], body: bytes
) -> tuple[InferRequest, Wanted]:
    """A request for inference, from headers (names in small letters) and a body that is not packed.

    Raises:
        BadRequestError: it is none; says where.
    """
    text, data = _parts(headers, body)
    given = read_object(text)
    parameters = _object(given.pop("parameters", {}), "parameters")
    others = _truth(parameters, "binary_data_output", False)
    name = _text(given.pop("id", ""), "id")
    feeds = _inputs(_list(given.pop("inputs", []), "inputs"), data)
    outputs = _outputs(_list(given.pop("outputs", []), "outputs"))
    if given:
        raise BadRequestError(
            f"the request has {shown(next(iter(given)))}, which is unknown; there are id, parameters, "
            "inputs and outputs"
        )
    request = InferRequest(model, version, name, feeds, tuple(outputs), asked(parameters))
    return request, Wanted({name: flag for name, flag in outputs.items() if flag is not None}, others)


def read_object(text: bytes | memoryview) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BadRequestError: it is none.
    """
    try:
        given = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the request is no JSON: {error}") from error
    return _object(given, "the request")


def write_response(answer: InferResponse, wanted: Wanted, accept: str) -> Response:
    """The answer to a request, packed as the client accepts."""
    outputs, data = [], []
    for name, array in answer.outputs.items():
        binary = wanted.binary.get(name, wanted.others)
        output = written(name, array, not binary)
        if binary:
            data.append(array.tobytes())
            output["parameters"] = {"binary_data_size": len(data[-1])}
        outputs.append(output)
    header: dict[str, Any] = {"model_name": answer.model, "model_version": answer.version, "outputs": outputs}
    if answer.id:
        header["id"] = answer.id
    body = _ENCODER.encode(header).encode()
    headers: dict[str, str] = {}
    kind = "application/json"
    if data:
        headers[HEADER_LENGTH] = str(len(body))
        kind = "application/octet-stream"
        body = b"".join([body, *data])
    if accept and len(body) >= packing.LEAST:
        encoding = packing.accepted(accept)
        if encoding:
            headers["content-encoding"] = encoding
            body = packing.packed(body, encoding)
    return Response(200, body, kind, headers)


def _parts(headers: Mapping[str, str], body: bytes) -> tuple[memoryview, memoryview]:
    """The JSON of a body, and what is behind it."""
    view = memoryview(body)
    given = headers.get(HEADER_LENGTH)
    if given is None:
        return view, view[:0]
    if not (given.isascii() and given.isdigit()) or len(given) > 19:
        raise BadRequestError(f"Inference-Header-Content-Length is a number of bytes, not {shown(given)}")
    length = int(given)
    if length > len(body):
        raise BadRequestError(
            f"Inference-Header-Content-Length is {length}, and the body has {len(body)} bytes only"
        )
    return view[:length], view[length:]


def _inputs(given: list[Any], data: memoryview) -> dict[str, np.ndarray]:
    feeds: dict[str, np.ndarray] = {}
    begin = 0
    for each in given:
        own = _object(each, "an input")
        tensor = tensor_of(own.pop("name", None), own.pop("datatype", None), own.pop("shape", None))
        name = tensor.name
        parameters = _object(own.pop("parameters", {}), "parameters of an input")
        if name in feeds:
            raise BadRequestError(f"input {shown(name)} is there twice")
        if "binary_data_size" in parameters:
            size = parameters.pop("binary_data_size")
            if type(size) is not int or not 0 <= size <= len(data) - begin:
                raise BadRequestError(
                    f"input {shown(name)}: binary_data_size is {shown(size)}, and {len(data) - begin} bytes "
                    "are left behind the JSON"
                )
            feeds[name] = from_bytes(tensor, data[begin : begin + size])
            begin += size
        else:
            feeds[name] = array_of(tensor, own.pop("data", None))
        if parameters:
            refuse_others(parameters, f"input {shown(name)}", "binary_data_size")
        if own:
            raise BadRequestError(f"input {shown(name)} has {shown(next(iter(own)))}, which is unknown")
    if begin != len(data):
        raise BadRequestError(f"{len(data) - begin} bytes are left over that belong to no input")
    return feeds


def _outputs(given: list[Any]) -> dict[str, bool | None]:
    """By name: whether it is wanted as bytes, None where the request does not say."""
    outputs: dict[str, bool | None] = {}
    for each in given:
        tensor = _object(each, "an output")
        name = _text(tensor.pop("name", None), "the name of an output")
        parameters = _object(tensor.pop("parameters", {}), "parameters of an output")
        outputs[name] = _truth(parameters, "binary_data", None)
        if parameters:
            refuse_others(parameters, f"output {shown(name)}", "binary_data")
        if tensor:
            raise BadRequestError(f"output {shown(name)} has {shown(next(iter(tensor)))}, which is unknown")
    return outputs


def _object(given: object, what: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise BadRequestError(f"{what} must be a JSON object, not {shown(given)}")
    return given


def _list(given: object, what: str) -> list[Any]:
    if not isinstance(given, list):
        raise BadRequestError(f"{what} must be a list, not {shown(given)}")
    return given


def _text(given: object, what: str) -> str:
    if not isinstance(given, str):
        raise BadRequestError(f"{what} must be a text, not {shown(given)}")
    return given


def _truth(given: dict[str, Any], name: str, otherwise: bool | None) -> Any:
    value = given.pop(name, otherwise)
    if value is not otherwise and not isinstance(value, bool):
        raise BadRequestError(f"{name} is true or false, not {shown(value)}")
    return value
