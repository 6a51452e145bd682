"""Requests and responses of the Open Inference Protocol as JSON, tensors as lists or as bytes behind it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from tinyseq.common.text import shown
from tinyseq.serve.errors import BadRequestError
from tinyseq.serve.http import Response
from tinyseq.serve.protocols import packing
from tinyseq.serve.protocols.inference import InferRequest, InferResponse
from tinyseq.serve.protocols.parameters import Asked, asked, refuse_others
from tinyseq.serve.protocols.tensors import Tensor, array_of, datatype, from_bytes, tensor_of, written

if TYPE_CHECKING:
    import numpy as np

HEADER_LENGTH = "inference-header-content-length"
"""The header that says how long the JSON is in front of the bytes of tensors."""


_ENCODER = json.JSONEncoder(separators=(",", ":"))


REMEMBERED, LONGEST = 256, 2048
"""What clients say of tensors is mostly what they said before: so many texts are remembered in what they
were found to say, if they have no more bytes than this."""


class Wanted(NamedTuple):
    """How the outputs of a request are written: those of ``binary``, else all others, as bytes."""

    binary: Mapping[str, bool]
    others: bool


class Said(NamedTuple):
    """What the JSON of a request says. ``size`` is how many bytes stand behind it."""

    id: str
    inputs: tuple[tuple[Tensor, slice | np.ndarray], ...]
    """What is said of each, and where its bytes stand; or the array, where that is in the JSON."""
    size: int
    outputs: tuple[str, ...]
    asked: Asked
    wanted: Wanted


def read_request(
    model: str, version: str, headers: Mapping[str, str], body: bytes
) -> tuple[InferRequest, Wanted]:
    """A request for inference, from headers (names in small letters) and a body that is not packed.

    Raises:
        BadRequestError: it is none; says where.
    """
    text, data = _parts(headers, body)
    said = _remembered(text) if len(text) <= LONGEST else _said(text)
    feeds: dict[str, np.ndarray] = {}
    for tensor, place in said.inputs:
        if not isinstance(place, slice):
            feeds[tensor.name] = place
            continue
        if place.stop > len(data):
            raise BadRequestError(
                f"input {shown(tensor.name)}: binary_data_size is {place.stop - place.start}, and "
                f"{max(0, len(data) - place.start)} bytes are left behind the JSON"
            )
        feeds[tensor.name] = from_bytes(tensor, data[place])
    if said.size != len(data):
        raise BadRequestError(f"{len(data) - said.size} bytes are left over that belong to no input")
    return InferRequest(model, version, said.id, feeds, said.outputs, said.asked), said.wanted


def _said(text: bytes) -> Said:
    given = read_object(text)
    parameters = _object(given.pop("parameters", {}), "parameters")
    others = _truth(parameters, "binary_data_output", False)
    name = _text(given.pop("id", ""), "id")
    inputs, size = _inputs(_list(given.pop("inputs", []), "inputs"))
    outputs = _outputs(_list(given.pop("outputs", []), "outputs"))
    if given:
        raise BadRequestError(
            f"the request has {shown(next(iter(given)))}, which is unknown; there are id, parameters, "
            "inputs and outputs"
        )
    wanted = Wanted({name: flag for name, flag in outputs.items() if flag is not None}, others)
    return Said(name, inputs, size, tuple(outputs), asked(parameters), wanted)


_remembered = lru_cache(REMEMBERED)(_said)


def read_object(text: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BadRequestError: it is none.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the request is no JSON: {error}") from error
    return _object(given, "the request")


def write_response(answer: InferResponse, wanted: Wanted, accept: str) -> Response:
    """The answer to a request, packed as the client accepts."""
    arrays = answer.outputs.items()
    binary = [wanted.binary.get(name, wanted.others) for name in answer.outputs]
    headers: dict[str, str] = {}
    kind = "application/json"
    if all(binary):
        told = tuple([(name, array.dtype, array.shape) for name, array in arrays])
        body = (_head if answer.id else _remembered_head)(answer.model, answer.version, answer.id, told)
    else:
        outputs = [
            _told(name, array.dtype, array.shape) if is_binary else written(name, array)
            for (name, array), is_binary in zip(arrays, binary)
        ]
        body = _encoded(answer.model, answer.version, answer.id, outputs)
    if any(binary):
        headers[HEADER_LENGTH] = str(len(body))
        kind = "application/octet-stream"
        body = b"".join([body, *[array.tobytes() for (_, array), own in zip(arrays, binary) if own]])
    if accept and len(body) >= packing.LEAST:
        encoding = packing.accepted(accept)
        if encoding:
            headers["content-encoding"] = encoding
            body = packing.packed(body, encoding)
    return Response(200, body, kind, headers)


def _head(
    model: str, version: str, name: str, told: Iterable[tuple[str, np.dtype, tuple[int, ...]]]
) -> bytes:
    """The JSON of an answer all of whose outputs stand behind it as bytes."""
    return _encoded(model, version, name, [_told(*each) for each in told])


_remembered_head = lru_cache(REMEMBERED)(_head)


def _told(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> dict[str, Any]:
    """What is said of an output whose bytes stand behind the JSON."""
    size = prod(shape) * dtype.itemsize
    return {
        "name": name,
        "datatype": datatype(dtype),
        "shape": list(shape),
        "parameters": {"binary_data_size": size},
    }


def _encoded(model: str, version: str, name: str, outputs: list[dict[str, Any]]) -> bytes:
    header: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": outputs}
    if name:
        header["id"] = name
    return _ENCODER.encode(header).encode()


def _parts(headers: Mapping[str, str], body: bytes) -> tuple[bytes, memoryview]:
    """The JSON of a body, and what is behind it."""
    given = headers.get(HEADER_LENGTH)
    if given is None:
        return body, memoryview(b"")
    if not (given.isascii() and given.isdigit()) or len(given) > 19:
        raise BadRequestError(f"Inference-Header-Content-Length is a number of bytes, not {shown(given)}")
    length = int(given)
    if length > len(body):
        raise BadRequestError(
            f"Inference-Header-Content-Length is {length}, and the body has {len(body)} bytes only"
        )
    return body[:length], memoryview(body)[length:]


def _inputs(given: list[Any]) -> tuple[tuple[tuple[Tensor, slice | np.ndarray], ...], int]:
    """What is said of inputs, and how many bytes stand behind the JSON."""
    found: dict[str, tuple[Tensor, slice | np.ndarray]] = {}
    begin = 0
    for each in given:
        own = _object(each, "an input")
        tensor = tensor_of(own.pop("name", None), own.pop("datatype", None), own.pop("shape", None))
        name = tensor.name
        parameters = _object(own.pop("parameters", {}), "parameters of an input")
        if name in found:
            raise BadRequestError(f"input {shown(name)} is there twice")
        if "binary_data_size" in parameters:
            size = parameters.pop("binary_data_size")
            if type(size) is not int or not 0 <= size < 2**63:
                raise BadRequestError(f"input {shown(name)}: binary_data_size is {shown(size)}, not a size")
            if "data" in own:
                raise BadRequestError(f"input {shown(name)} has data and binary_data_size; it needs one")
            found[name] = tensor, slice(begin, begin + size)
            begin += size
        else:
            array = array_of(tensor, own.pop("data", None))
            array.flags.writeable = False  # it may be remembered
            found[name] = tensor, array
        if parameters:
            refuse_others(parameters, f"input {shown(name)}", "binary_data_size")
        if own:
            raise BadRequestError(f"input {shown(name)} has {shown(next(iter(own)))}, which is unknown")
    return tuple(found.values()), begin


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
