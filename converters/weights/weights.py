"""Weights by name, handed out to the layers of a model; a model that leaves some unused is wrong."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinyseq.common.given import as_numbers, as_path, is_one_of
from tinyseq.common.text import printable, shown
from tinyseq.errors import ConversionWarning, ModelError
from tinyseq.ir.precision import narrowed

MOST_LISTED = 8
"""Names that an error lists before it says how many more there are."""


def as_float32(array: np.ndarray, where: str) -> np.ndarray:
    """Floating numbers as float32, with a warning if they were not; other arrays as they are.

    Raises:
        ModelError: a number is too large for float32.
    """
    if array.dtype.kind != "f" or array.dtype == np.float32:
        return array
    converted = narrowed(array, where)
    _note_conversion(array.dtype.name, where)
    return converted


def from_bfloat16(halves: np.ndarray, where: str) -> np.ndarray:
    """The float32 numbers of which these uint16 are the upper halves, with a warning."""
    _note_conversion("bfloat16", where)
    return (halves.astype("<u4") << np.uint32(16)).view("<f4")


def _note_conversion(dtype: str, where: str) -> None:
    warnings.warn(f"{where}: weights in {dtype} become float32", ConversionWarning, stacklevel=3)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file of weights by name: PyTorch's ``.pt`` and ``.pth``, Keras' ``.h5`` and ``.keras``,
    ``.safetensors``, ``.npz``.

    Raises:
        ModelError: the file is missing, damaged or of another kind.
    """
    # Imported here: each reader imports this module.
    from tinyseq.converters import keras
    from tinyseq.converters.torch import files
    from tinyseq.converters.weights import npz, safetensors

    path = as_path(path, "a file of weights")
    suffix = path.suffix.lower()
    readers = {".safetensors": safetensors.read, ".npz": npz.read}
    readers |= dict.fromkeys((".pt", ".pth"), files.read)
    readers |= dict.fromkeys((".h5", ".hdf5", ".keras"), keras.read)
    if suffix not in readers:
        raise ModelError(f"{path}: the suffix tells the format; weights are read from {', '.join(readers)}")
    return readers[suffix](path)


class Weights:
    """Arrays by name and a record of those that were taken.

    As a context manager it ends with ``finish``, unless an error ends it. An array of one whole number is a
    counter, as of batches or of a vocabulary, which no layer need take.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], origin: str = "the weights") -> None:
        if not isinstance(arrays, Mapping):
            raise ModelError(f"weights are a dict from name to array, not {type(arrays).__name__}")
        if not isinstance(origin, str):
            raise ModelError(f"origin says in words where the weights are from, not {shown(origin)}")
        self.origin = origin
        self._arrays = {name: _checked(name, array, origin) for name, array in arrays.items()}
        self._prefix = ""
        self._left = {name: None for name, array in self._arrays.items() if not _counts(array)}

    def __repr__(self) -> str:
        left = len(self._own_left())
        return printable(f"Weights({self.origin}: {len(self._arrays)} arrays, {left} not taken yet)")

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.finish()

    def take(self, name: str, *shape: int | None) -> np.ndarray:
        """The array of this name; a given shape must be its own, None standing for any size.

        Raises:
            ModelError: there is none, or it has another shape.
        """
        if not is_one_of(name, self._arrays):
            raise ModelError(f"{self.origin}: there is no {shown(name)}; there are {_listed(self._arrays)}")
        array = self._arrays[name]
        fits = len(shape) == array.ndim and all(w in (None, s) for w, s in zip(shape, array.shape))
        if shape and not fits:
            wanted = ", ".join("?" if size is None else str(size) for size in shape)
            raise ModelError(
                f"{self.origin}: {name!r} is {list(array.shape)} where [{wanted}] is needed; the file is of "
                "another model or damaged"
            )
        self._left.pop(self._prefix + name, None)
        return array

    def find(self, name: str, *shape: int | None) -> np.ndarray | None:
        """``take``, or None if there is no array of this name."""
        return self.take(name, *shape) if name in self else None

    def under(self, prefix: str) -> Weights:
        """The weights whose names begin with ``prefix.``, without it. What is taken of them is taken of these
        weights too; ``finish`` of the inner ones asks for theirs alone."""
        if not isinstance(prefix, str):
            raise ModelError(f"{self.origin}: names begin with a word, not with {shown(prefix)}")
        start = f"{prefix}."
        arrays = {name[len(start) :]: a for name, a in self._arrays.items() if name.startswith(start)}
        if not arrays:
            raise ModelError(
                f"{self.origin}: no name begins with {start!r}; there are {_listed(self._arrays)}"
            )
        inner = Weights({}, f"{self.origin}, {prefix}")
        inner._arrays, inner._prefix, inner._left = arrays, self._prefix + start, self._left
        return inner

    def leave(self, *names: str) -> None:
        """Says that these names, and those that begin with them and a dot, are no part of the model.

        Raises:
            ModelError: there is nothing of such a name.
        """
        for name in names:
            if not isinstance(name, str):
                raise ModelError(f"{self.origin}: names are words, which {shown(name)} is not")
            meant = [other for other in self._arrays if other == name or other.startswith(f"{name}.")]
            if not meant:
                raise ModelError(f"{self.origin}: there is no {name!r}; there are {_listed(self._arrays)}")
            for other in meant:
                self._left.pop(self._prefix + other, None)

    def finish(self) -> None:
        """Refuses weights that no layer took.

        Raises:
            ModelError: names them.
        """
        if left := self._own_left():
            raise ModelError(
                f"{self.origin}: no layer uses {_listed(left)}; build the layers that they belong to, "
                "or say with leave(...) that they are no part of the model"
            )

    def _own_left(self) -> dict[str, None]:
        """The names of what was not taken yet."""
        start = len(self._prefix)
        return {name[start:]: None for name in self._left if name.startswith(self._prefix)}


def _counts(array: np.ndarray) -> bool:
    """Whether an array is a counter."""
    return array.size == 1 and array.dtype.kind in "iu"


def _checked(name: object, given: object, origin: str) -> np.ndarray:
    if not isinstance(name, str):
        raise ModelError(f"{origin}: weights have words for names, not {shown(name)}")
    return as_numbers(given, f"{origin}: {name!r}")


def _listed(names: Mapping[str, object]) -> str:
    shown = ", ".join(map(repr, list(names)[:MOST_LISTED]))
    more = len(names) - MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown or "none"
