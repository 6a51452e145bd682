"""Requests and responses of the Open Inference Protocol as messages of protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tinyseq.common.packages import package
from tinyseq.common.text import shown
from tinyseq.serve.errors import BadRequestError
from tinyseq.serve.protocols.inference import InferRequest, InferResponse
from tinyseq.serve.protocols.messages import messages
from tinyseq.serve.protocols.parameters import asked, refuse_others
from tinyseq.serve.protocols.tensors import Tensor, array_of, datatype, from_bytes, tensor_of

if TYPE_CHECKING:
    import numpy as np

FINAL = "triton_final_response"
WANTS_FINAL = "triton_enable_empty_final_response"

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
"""Where a message has the numbers of a type, if they are not bytes."""


def parsed(name: str, data: bytes) -> Any:
    """A message of that name from its bytes.

    Raises:
        BadRequestError: they are none.
    """
    decode_error = package("google.protobuf.message", "gRPC", "grpc").DecodeError
    try:
        return getattr(messages(), name).FromString(data)
    except decode_error as error:
        raise BadRequestError(f"the message is no {name}: {error}") from error


def read_request(message: Any) -> InferRequest:
    """A request for inference from its message.

    Raises:
        BadRequestError: it is none; says where.
    """
    parameters = parameter_values(message.parameters)
    parameters.pop(WANTS_FINAL, None)
    outputs = []
    for output in message.outputs:
        if output.parameters:
            refuse_others(parameter_values(output.parameters), f"output {shown(output.name)}", "none")
        outputs.append(output.name)
    return InferRequest(
        message.model_name,
        message.model_version,
        message.id,
        _inputs(message),
        tuple(outputs),
        asked(parameters),
    )


def _inputs(message: Any) -> dict[str, np.ndarray]:
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise BadRequestError(
            f"raw_input_contents has {len(raw)} tensors, and there are {len(message.inputs)} inputs"
        )
    feeds: dict[str, np.ndarray] = {}
    for place, given in enumerate(message.inputs):
        tensor = tensor_of(given.name, given.datatype, list(given.shape))
        name = tensor.name
        if name in feeds:
            raise BadRequestError(f"input {shown(name)} is there twice")
        if given.parameters:
            refuse_others(parameter_values(given.parameters), f"input {shown(name)}", "none")
        if raw:
            if given.HasField("contents"):
                raise BadRequestError(f"input {shown(name)} has contents beside raw_input_contents")
            feeds[name] = from_bytes(tensor, raw[place])
        else:
            feeds[name] = _from_contents(tensor, given.contents)
    return feeds


def _from_contents(tensor: Tensor, contents: Any) -> np.ndarray:
    kind = datatype(tensor.dtype)
    field = _CONTENTS.get(kind)
    given = [found.name for found, _ in contents.ListFields()]
    if field is None or given not in ([], [field]):
        place = "raw_input_contents" if field is None else field
        raise BadRequestError(f"input {shown(tensor.name)}: {kind} is given in {place}, not in {given}")
    return array_of(tensor, list(getattr(contents, field)))


def parameter_values(parameters: Mapping[str, Any]) -> dict[str, object]:
    """Parameters as values of Python."""
    values: dict[str, object] = {}
    for name, parameter in parameters.items():
        field = parameter.WhichOneof("parameter_choice")
        values[name] = None if field is None else getattr(parameter, field)
    return values


def write_response(answer: InferResponse) -> Any:
    """The message that answers a request."""
    message = messages().ModelInferResponse(
        model_name=answer.model, model_version=answer.version, id=answer.id
    )
    for name, array in answer.outputs.items():
        message.outputs.add(name=name, datatype=datatype(array.dtype), shape=array.shape)
        message.raw_output_contents.append(array.tobytes())
    return message
