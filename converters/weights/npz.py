"""NumPy's ``.npz`` files: weights by name. Pickles in them are refused."""

from __future__ import annotations

import math
import zipfile
from io import BytesIO
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.lib import format as npy
from tinyseq.converters.weights import archives, as_float32

from tinyseq.common import files, memory
from tinyseq.common.given import as_path
from tinyseq.errors import ModelError, UnsupportedError

MOST_INFLATED, SLACK = 100, 2**20
"""Weights hardly compress: an archive that claims to hold more than this many times its size, and more
than so many bytes, is refused."""


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file, by name.

    Floating numbers become float32, with a ConversionWarning if they were not.

    Raises:
        UnsupportedError: an array is of Python objects, which only a pickle can hold.
        ModelError: the file is missing, damaged or no ``.npz`` file.
    """
    path = as_path(path, "a file of weights")
    where = str(path)
    try:
        with files.opened(path) as file:
            archive = archives.opened(file, where)
            size = file.seek(0, 2)
            inflated = sum(entry.file_size for entry in archive.infolist())
            if inflated > max(MOST_INFLATED * size, SLACK):
                raise ModelError(f"{where}: the archive inflates beyond measure; save it with numpy.savez")
            memory.check(inflated)
            return {name.removesuffix(".npy"): _array(archive, name, where) for name in archive.namelist()}
    except MemoryError as error:
        raise ModelError(
            f"cannot read {where}: its arrays are too large for this machine: {error}"
        ) from error
    except OSError as error:
        raise ModelError(f"cannot read {where}: {error.strerror or error}; check the path") from error


def _array(archive: zipfile.ZipFile, name: str, where: str) -> np.ndarray:
    try:
        stream = BytesIO(archive.read(name))
        reader = npy.read_array_header_1_0 if npy.read_magic(stream) == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
        if dtype.kind not in "fiub":
            raise UnsupportedError(
                f"{where}: array {name!r} holds {dtype}, not numbers; pickled objects are never loaded"
            )
        content = stream.read()
        if len(content) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{len(content)} bytes are no {dtype}{list(shape)}")
        array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
        return as_float32(array.astype(dtype.newbyteorder("=")), where)
    except (*archives.DAMAGE, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        raise ModelError(f"{where} is damaged: array {name!r} cannot be read: {error}") from error
