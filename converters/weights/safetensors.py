"""Safetensors files: weights by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tinyseq.converters.weights import as_float32, from_bfloat16

from tinyseq.common import files
from tinyseq.common.given import as_path
from tinyseq.errors import MissingPackageError, ModelError, UnsupportedError
from tinyseq.ir.format import TYPES


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a ``.safetensors`` file, by name.

    Floating numbers become float32, with a ConversionWarning if they were not.

    Raises:
        UnsupportedError: a tensor is of a type that NumPy lacks.
        ModelError: the file is missing, damaged or no safetensors file.
    """
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as error:
        raise MissingPackageError(
            "reading safetensors files needs the safetensors package: pip install safetensors"
        ) from error
    path = as_path(path, "a file of weights")
    try:
        entries = deserialize(files.read(path))
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}; check the path") from error
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged or no safetensors file: {error}") from error
    return {name: _array(entry, name, str(path)) for name, entry in entries}


def _array(entry: dict, name: str, where: str) -> np.ndarray:
    if entry["dtype"] == "BF16":
        return from_bfloat16(np.frombuffer(entry["data"], "<u2"), where).reshape(entry["shape"])
    if entry["dtype"] not in TYPES:
        raise UnsupportedError(f"{where}: tensor {name!r} is of type {entry['dtype']}; save it in float32")
    return as_float32(np.frombuffer(entry["data"], TYPES[entry["dtype"]]).reshape(entry["shape"]), where)
