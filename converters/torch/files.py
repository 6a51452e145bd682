"""The files of ``torch.save``, read without PyTorch and without running anything that they hold.

Both formats hold a pickle of the object, in which tensors are views of storages, and the storages'
bytes: a zip archive (PyTorch 1.6 and newer) with one stored entry each, or five pickles with the bytes
behind them (older ones).
"""

from __future__ import annotations

import mmap
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tinyseq.converters.torch import pickles
from tinyseq.converters.torch.pickles import Global
from tinyseq.converters.weights import archives, as_float32, from_bfloat16

from tinyseq.common import files
from tinyseq.common.given import as_path
from tinyseq.errors import ModelError, UnsupportedError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MOST_NESTED = 32
"""How deep dicts and lists may lie in each other, and how many dimensions a tensor may have."""
MOST_ENTRIES = 1_000_000
"""Entries of all dicts and lists together, one that lies in several places counted in each."""

STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool double float half long int short"


@dataclass(slots=True)
class _Storage:
    """A run of numbers of one type, that tensors are views of."""

    kind: str
    key: str
    count: int
    data: np.ndarray | None = field(default=None, repr=False)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(STORAGES[self.kind])

    def fill(self, content: bytes, where: str) -> None:
        """Takes the numbers from the file's bytes: floating ones as float32."""
        if len(content) < self.count * self.dtype.itemsize:
            raise ModelError(
                f"{where} is damaged: storage {self.key!r} has {len(content)} bytes of the "
                f"{self.count * self.dtype.itemsize} that {self.count} numbers need"
            )
        numbers = np.frombuffer(content, self.dtype, self.count)
        if self.kind == "BFloat16Storage":
            self.data = from_bfloat16(numbers, where)
        else:
            self.data = as_float32(numbers, where)


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor as its pickle has it."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The tensor as a read-only view of its storage; tensors that share one share memory."""
        data = self.storage.data
        sizes = (self.offset, *self.shape, *self.strides)
        if not all(type(size) is int and size >= 0 for size in sizes) or len(self.shape) != len(self.strides):
            raise ValueError("a tensor's sizes are no sizes")
        count = 1
        for size in self.shape:
            count *= size
        if count == 0:
            return np.zeros(self.shape, data.dtype)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides))
        if last >= data.size or count > data.size:
            raise ValueError(
                f"a tensor of shape {list(self.shape)} reaches past the {data.size} numbers of its storage, "
                "or repeats them: save it with .contiguous()"
            )
        strides = [stride * data.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, strides, writeable=False)


def _rebuilt(storage, offset, shape, strides, *_) -> _Tensor:
    """PyTorch's ``_rebuild_tensor``, also ``_v2``, whose further arguments are of training."""
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise ValueError("a tensor is not made of a storage and sizes")
    return _Tensor(storage, offset, shape, strides)


def _parameter(data, *_) -> _Tensor:
    if not isinstance(data, _Tensor):
        raise ValueError("a parameter holds no tensor")
    return data


def _size(sizes=()) -> tuple[int, ...]:
    if not isinstance(sizes, tuple) or len(sizes) > MOST_NESTED:
        raise ValueError("a torch.Size is no shape")
    return tuple(sizes)


KNOWN = {
    entry.name: entry
    for entry in (
        Global("collections.OrderedDict", lambda: {}),
        Global("torch._utils._rebuild_tensor", _rebuilt),
        Global("torch._utils._rebuild_tensor_v2", _rebuilt),
        Global("torch._utils._rebuild_parameter", _parameter),
        Global("torch.Size", _size),
        *(Global(f"torch.{name}") for name in (*STORAGES, *DTYPES.split())),
    )
}
"""Everything that a pickle may name."""


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors and numbers of a ``.pt`` or ``.pth`` file, by name.

    Names of nested dicts and lists are joined with dots. Strings, types and None among them are no
    weights and left out; a lone number is an array without dimensions. Tensors of floating numbers become
    float32, with a ConversionWarning if they were not.
    Arrays are read-only; tensors that share a storage share memory.

    Raises:
        UnsupportedError: the pickle names something beside tensors and plain containers, or the file is
            a TorchScript program.
        ModelError: the file is missing, damaged or not PyTorch's.
    """
    path = as_path(path, "a file of weights")
    where = str(path)
    try:
        with files.opened(path) as file:
            content, fill = (_zipped if zipfile.is_zipfile(file) else _legacy)(file, where)
            return dict(_flat(content, fill))
    except OSError as error:
        raise ModelError(f"cannot read {where}: {error.strerror or error}; check the path") from error
    except (*archives.DAMAGE, TypeError) as error:
        raise ModelError(f"{where} is damaged: {error}") from error


Fill = Callable[[_Storage], None]
"""Puts the file's numbers into a storage."""


class _Storages:
    """The storages that a pickle names, each once."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], _Storage] = {}

    def __call__(self, key: Any) -> _Storage:
        """The storage of a persistent id: ("storage", type, key, device, count, ...)."""
        if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage":
            raise ValueError("a persistent id is no storage")
        _, kind, name, _, count, *view = key
        if view not in ([], [None]):
            raise UnsupportedError(
                "views of storages, of PyTorch before 0.4, are not read; save the file anew"
            )
        name_of_kind = kind.name.removeprefix("torch.") if isinstance(kind, Global) else ""
        if name_of_kind not in STORAGES or not isinstance(name, str) or type(count) is not int or count < 0:
            raise ValueError("a storage has no type, name or size")
        storage = self.known.setdefault((name, name_of_kind), _Storage(name_of_kind, name, count))
        if storage.count != count:
            raise ValueError(f"storage {name!r} has two sizes")
        return storage


def _zipped(file: BinaryIO, where: str) -> tuple[Any, Fill]:
    archive = archives.opened(file, where)
    names = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
    if len(names) != 1:
        raise ModelError(f"{where} is no PyTorch file: the archive holds no data.pkl")
    top = names[0].removesuffix("data.pkl")
    if f"{top}constants.pkl" in archive.namelist():
        raise UnsupportedError(
            f"{where} is a TorchScript program; save module.state_dict() with torch.save, or export to ONNX"
        )
    if (
        f"{top}byteorder" in archive.namelist()
        and archives.member(archive, f"{top}byteorder", where) != b"little"
    ):
        raise UnsupportedError(f"{where} is big-endian; save it on a little-endian machine")

    def fill(storage: _Storage) -> None:
        storage.fill(archives.member(archive, f"{top}data/{storage.key}", where), where)

    pickle = BytesIO(archives.member(archive, names[0], where))
    return pickles.load(pickle, KNOWN, _Storages(), where), fill


def _legacy(file: BinaryIO, where: str) -> tuple[Any, Fill]:
    if not file.seek(0, 2):
        raise ModelError(f"{where} is empty")
    stream = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    storages = _Storages()
    magic = pickles.load(stream, {}, storages, where) if stream[:1] == b"\x80" else None
    if magic != LEGACY_MAGIC:
        raise ModelError(f"{where} is not a file of torch.save, or is damaged at its beginning")
    pickles.load(stream, {}, storages, where)
    system = pickles.load(stream, {}, storages, where)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise UnsupportedError(f"{where} is not little-endian; save it on a little-endian machine")
    content = pickles.load(stream, KNOWN, storages, where)
    order = pickles.load(stream, {}, storages, where)
    by_key = {key: storage for (key, _), storage in storages.known.items()}
    if not isinstance(order, list) or len(by_key) != len(storages.known) or set(order) != set(by_key):
        raise ModelError(f"{where} is damaged: its list of storages is not that of its tensors")
    for key in order:
        count = int.from_bytes(stream.read(8), "little")
        if count != by_key[key].count:
            raise ModelError(f"{where} is damaged: storage {key!r} has {count} numbers, its tensors say "
                             f"{by_key[key].count}")  # fmt: skip
        by_key[key].fill(stream.read(count * by_key[key].dtype.itemsize), where)
    return content, lambda storage: None


def _flat(content: Any, fill: Fill) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays in nested containers, by the path to each."""
    names: set[str] = set()
    waiting = [("", content if isinstance(content, (dict, list, tuple)) else {"": content}, 0)]
    entries = 0
    while waiting:
        prefix, container, depth = waiting.pop()
        pairs = container.items() if isinstance(container, dict) else enumerate(container)
        inner = []
        for key, value in pairs:
            name = f"{prefix}{key}"
            entries += 1
            if entries > MOST_ENTRIES or depth > MOST_NESTED:
                raise ValueError(f"{prefix!r} holds too many or too deep lists")
            if isinstance(value, (dict, list, tuple)):
                inner.append((f"{name}.", value, depth + 1))
            elif isinstance(value, (_Tensor, int, float)):
                if name in names:
                    raise ValueError(f"two weights are called {name!r}")
                names.add(name)
                yield name, _array(value, fill)
        waiting += reversed(inner)


def _array(value: _Tensor | int | float, fill: Fill) -> np.ndarray:
    if not isinstance(value, _Tensor):
        return np.array(value, np.float64 if isinstance(value, float) else np.int64)
    if value.storage.data is None:
        fill(value.storage)
    return value.array()
