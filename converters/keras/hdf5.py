"""HDF5 files, read by another process: on damaged ones the HDF5 library may crash or never return.

The process runs ``hdf5_reader.py``, with little memory and time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from tinyseq.converters.keras import hdf5_reader

from tinyseq.errors import MissingPackageError, ModelError

SECONDS, BYTES_A_SECOND = 30, 2**24
"""How long reading may take: so long, and longer by the size of the file."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds: attributes by group, of words and lists of words; numbers by path.

    ``strange`` are the datasets that are not in the file number by number.
    """

    attributes: dict[str, dict[str, Any]]
    datasets: dict[str, np.ndarray]
    strange: frozenset[str]


def read(content: bytes, where: str) -> Contents:
    """The contents of an HDF5 file of these bytes.

    Raises:
        MissingPackageError: the h5py package is not installed.
        ModelError: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    seconds = SECONDS + len(content) / BYTES_A_SECOND
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", hdf5_reader.__file__]
    try:
        answer = subprocess.run(command, input=content, env=environment, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{where} is damaged: reading it did not end within {seconds:.0f} s") from None
    except OSError as error:
        raise ModelError(
            f"cannot read {where}: HDF5 files are read by a process of {sys.executable!r}, which does not "
            f"start: {error.strerror or error}"
        ) from error
    if answer.returncode == hdf5_reader.NO_PACKAGE:
        raise MissingPackageError(
            "reading Keras files needs the h5py package: pip install 'tinyseq[keras]'; "
            "a model saved with model.save loads without it"
        )
    if answer.returncode:
        reason = answer.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ModelError(
            f"cannot read {where}: {reason or 'reading it ended the process'}; it is damaged or not a Keras "
            "model"
        )
    size = int.from_bytes(answer.stdout[:8], "little")
    described = json.loads(answer.stdout[8 : 8 + size])
    try:
        datasets = load(answer.stdout[8 + size :])
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"cannot read {where}: {error}; it is damaged") from error
    return Contents(described["attributes"], datasets, frozenset(described["strange"]))
