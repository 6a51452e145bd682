"""Arrays that stay on a device: fields of state, and what other packages hold there."""

from __future__ import annotations

import math

import numpy as np

from tinyseq.plan.view import dense_strides

CUDA_MEMORY = 2
"""DLPack's number of the memory of a CUDA device."""


class DeviceArray:
    """An array in the memory of ``device``. ``owner`` keeps the memory.

    ``array[...]`` gives views by whole numbers and slices along the first dimension, ``array[...] = x``
    copies from the host, ``numpy.asarray(array)`` to it. Other packages read it where it lies, by DLPack or
    ``__cuda_array_interface__``.

    All but the first dimension are dense.
    """

    def __init__(
        self, device, owner: object, address: int, shape: tuple[int, ...], dtype: np.dtype, pitch: int = 0
    ) -> None:
        self.device, self._owner = device, owner
        self.address, self.shape, self.dtype = address, tuple(shape), np.dtype(dtype)
        inner = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._pitch = pitch or inner
        self._width = inner

    @classmethod
    def new(cls, device, shape: tuple[int, ...], dtype: np.dtype) -> DeviceArray:
        """An array of zeros in memory of its own."""
        memory = device.memory(math.prod(shape) * np.dtype(dtype).itemsize)
        return cls(device, memory, memory.address, shape, dtype)

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return self.size * self.dtype.itemsize

    @property
    def end(self) -> int:
        """The address behind its last element; its own where it has none."""
        rows = len(self) - 1
        return self.address + (rows * self._pitch + self._width if self.nbytes else 0)

    @property
    def dense(self) -> bool:
        """Whether its elements lie one after the other."""
        return self._pitch == self._width or len(self) <= 1

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 1

    def __getitem__(self, key: object) -> DeviceArray:
        if key is Ellipsis:
            return self
        if isinstance(key, (int, np.integer)) and self.shape:
            place = range(len(self))[key]
            return self._seen(self.address + place * self._pitch, self.shape[1:], self.dtype, 0)
        if isinstance(key, slice) and self.shape:
            places = range(len(self))[key]
            start, shape = places.start if places else 0, (len(places), *self.shape[1:])
            pitch = places.step * self._pitch
            return self._seen(self.address + start * self._pitch, shape, self.dtype, pitch)
        if isinstance(key, tuple) and len(key) == len(self.shape) == 2 and key[0] == slice(None):
            places = range(self.shape[1])[key[1]]
            address = self.address + places.start * self.dtype.itemsize
            if places.step == 1:
                return self._seen(address, (len(self), len(places)), self.dtype, self._pitch)
        raise TypeError(f"a device array is cut along its first dimension, not by {key!r}")

    def _seen(self, address: int, shape: tuple[int, ...], dtype: np.dtype, pitch: int) -> DeviceArray:
        return DeviceArray(self.device, self._owner, address, shape, dtype, pitch)

    def view(self, dtype: np.dtype) -> DeviceArray:
        """The same bytes as elements of another type, which the last dimension holds a whole number of."""
        *shape, last = self.shape
        last = last * self.dtype.itemsize // np.dtype(dtype).itemsize
        return self._seen(self.address, (*shape, last), dtype, self._pitch if shape else 0)

    def reshape(self, *shape) -> DeviceArray:
        """The same elements in another shape; the first dimension stays unless they are dense."""
        shape = shape[0] if shape and isinstance(shape[0], tuple) else shape
        kept = bool(shape) and bool(self.shape) and shape[0] == self.shape[0]
        if not (kept or self.dense) or math.prod(shape) != math.prod(self.shape):
            raise ValueError(f"a device array of {self.shape} cannot be seen as {shape}")
        return self._seen(self.address, shape, self.dtype, self._pitch if kept else 0)

    def __setitem__(self, key: object, value: object) -> None:
        target = self[key]
        array = np.ascontiguousarray(np.broadcast_to(np.asarray(value, self.dtype), target.shape))
        self.device.write(target.address, target._pitch, target._rows(array))

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        array = np.empty(self.shape, self.dtype)
        self.device.read(self.address, self._pitch, self._rows(array))
        return array if dtype is None else array.astype(dtype, copy=False)

    def _rows(self, array: np.ndarray) -> np.ndarray:
        """A dense array's bytes, a row for each element of the first dimension."""
        return array.reshape(-1).view(np.uint8).reshape(len(self), self._width)

    def tobytes(self) -> bytes:
        """The elements' bytes."""
        return np.asarray(self).tobytes()

    def copy(self) -> np.ndarray:
        """A copy on the host."""
        return np.asarray(self)

    @property
    def __cuda_array_interface__(self) -> dict:
        strides = [step * self.dtype.itemsize for step in dense_strides(self.shape)]
        if strides:
            strides[0] = self._pitch
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": tuple(strides),
            "stream": None,
        }

    def __dlpack__(self, **options: object) -> object:
        return self.device.exported(self).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA_MEMORY, self.device.number

    def __repr__(self) -> str:
        return f"DeviceArray({self.dtype}{list(self.shape)} on {self.device.name})"
