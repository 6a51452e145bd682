"""Arrays as the Open Inference Protocol names and writes them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import FeedError
from tinyseq.ir.model import Value
from tinyseq.serve.errors import BadRequestError

DATATYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""The datatypes of the protocol that tinyseq computes with."""

NAMES = {dtype: name for name, dtype in DATATYPES.items()}

MOST_DIMENSIONS = 32


class Tensor(NamedTuple):
    """What is said of an array, and how many bytes it takes."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    size: int


def datatype(dtype: np.dtype) -> str:
    """The protocol's name of a type."""
    return NAMES[dtype]


def read_tensor(given: object) -> Tensor:
    """What a JSON object with ``name``, ``datatype`` and ``shape`` says.

    Raises:
        BadRequestError: it is none.
    """
    if not isinstance(given, dict):
        raise BadRequestError(f"a tensor is an object with name, datatype and shape, not {shown(given)}")
    name, kind, shape = given.get("name"), given.get("datatype"), given.get("shape")
    if not isinstance(name, str):
        raise BadRequestError(f"a tensor has a text for its name, not {shown(name)}")
    dtype = DATATYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
        raise BadRequestError(
            f"tensor {shown(name)} has datatype {shown(kind)}; there are {', '.join(DATATYPES)}"
        )
    whole = isinstance(shape, list) and all(type(size) is int and 0 <= size < 2**40 for size in shape)
    if not isinstance(shape, list) or not whole or len(shape) > MOST_DIMENSIONS:
        raise BadRequestError(f"tensor {shown(name)} has shape {shown(shape)}; a list of sizes is needed")
    return Tensor(name, dtype, tuple(shape), prod(shape) * dtype.itemsize)


def array_of(tensor: Tensor, data: object) -> np.ndarray:
    """The array of numbers that stand in JSON, flat or in lists of lists.

    Raises:
        FeedError: they are no numbers of the type, or not as many as the shape has.
    """
    if not isinstance(data, list) and not isinstance(data, (int, float, bool)):
        raise FeedError(f"tensor {tensor.name!r} has no list of numbers as its data")
    try:
        given = np.array(data)
    except (ValueError, OverflowError, RecursionError) as error:
        raise FeedError(f"the data of tensor {tensor.name!r} is no array: {error}") from error
    if given.size != prod(tensor.shape):
        raise FeedError(
            f"tensor {tensor.name!r} has {given.size} numbers, and shape {list(tensor.shape)} has "
            f"{prod(tensor.shape)}"
        )
    wanted = {"b": "b", "u": "ui", "i": "ui", "f": "fui"}[tensor.dtype.kind]
    if given.size and given.dtype.kind not in wanted:
        raise FeedError(f"the data of tensor {tensor.name!r} is {given.dtype}, not {datatype(tensor.dtype)}")
    if tensor.dtype.kind in "ui" and given.size:
        bounds = np.iinfo(tensor.dtype)
        if not (bounds.min <= given.min() and given.max() <= bounds.max):
            raise FeedError(f"the data of tensor {tensor.name!r} is beyond {bounds.min} to {bounds.max}")
    with np.errstate(over="ignore"):
        return given.astype(tensor.dtype).reshape(tensor.shape)


def written(name: str, array: np.ndarray, with_data: bool = True) -> dict[str, Any]:
    """An array as a JSON object; without its data, what is said of it."""
    told: dict[str, Any] = {"name": name, "datatype": datatype(array.dtype), "shape": list(array.shape)}
    if with_data:
        told["data"] = array.ravel().tolist()
    return told


def declared(values: Sequence[Value]) -> list[dict[str, Any]]:
    """Inputs or outputs of a model; open sizes are -1."""
    return [
        {
            "name": value.name,
            "datatype": datatype(value.dtype),
            "shape": [size if isinstance(size, int) else -1 for size in value.shape or ()],
        }
        for value in values
    ]
