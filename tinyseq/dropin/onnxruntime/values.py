"""onnxruntime's values and bindings: arrays of the CPU, and buffers that sessions read and write."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyseq.common.given import as_array
from tinyseq.common.text import shown
from tinyseq.errors import FeedError, UnsupportedError

if TYPE_CHECKING:
    from tinyseq.dropin.onnxruntime.session import InferenceSession

TYPE_NAMES = {
    "float32": "float", "float64": "double", "float16": "float16", "bool": "bool",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
}  # fmt: skip
"""NumPy's types by onnxruntime's names."""

ELEMENT_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32",
    7: "int64", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
"""NumPy's types by the numbers of ONNX."""


def type_name(dtype: np.dtype) -> str:
    """What onnxruntime calls tensors of a type."""
    return f"tensor({TYPE_NAMES.get(dtype.name, dtype.name)})"


def _dtype(given: object) -> np.dtype:
    name: Any = ELEMENT_TYPES.get(given, given) if isinstance(given, int) else given
    try:
        dtype = np.dtype(name)
    except TypeError as error:
        raise FeedError(f"an element type is NumPy's or a number of ONNX, not {shown(given)}") from error
    if dtype.name not in TYPE_NAMES:
        raise UnsupportedError(f"elements of {dtype}; tinyseq takes NumPy's numbers only")
    return dtype


def _on_cpu(device: object) -> None:
    if not isinstance(device, str) or device.lower() != "cpu":
        raise UnsupportedError(
            f"values on {shown(device)}; tinyseq binds buffers of the CPU: give device_type='cpu'"
        )


class OrtValue:
    """A tensor in the CPU's memory."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    @staticmethod
    def ortvalue_from_numpy(numpy_obj: object, device_type: str = "cpu", device_id: int = 0) -> OrtValue:
        """A tensor that is a copy of an array.

        Raises:
            UnsupportedError: it is to be on another device.
        """
        _on_cpu(device_type)
        array = np.array(as_array(numpy_obj))
        _dtype(array.dtype)
        return OrtValue(array)

    @staticmethod
    def ortvalue_from_shape_and_type(
        shape: Sequence[int], element_type: object = np.float32, device_type: str = "cpu", device_id: int = 0
    ) -> OrtValue:
        """A tensor of zeros.

        Raises:
            UnsupportedError: it is to be on another device.
        """
        _on_cpu(device_type)
        return OrtValue(np.zeros(tuple(shape), _dtype(element_type)))

    def numpy(self) -> np.ndarray:
        """The tensor as an array that shares its memory."""
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self._array if dtype is None else self._array.astype(dtype, copy=False)
        return array.copy() if copy else array

    def __dlpack__(self, **options: Any) -> object:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()

    def update_inplace(self, np_arr: object) -> None:
        """Writes an array of the same shape and type into the tensor.

        Raises:
            FeedError: shape or type differ.
        """
        array = as_array(np_arr)
        if (array.shape, array.dtype) != (self._array.shape, self._array.dtype):
            raise FeedError(
                f"an array of {array.dtype}{list(array.shape)} does not fit into a tensor of "
                f"{self._array.dtype}{self.shape()}"
            )
        self._array[...] = array

    def shape(self) -> list[int]:
        """Its sizes."""
        return list(self._array.shape)

    def data_type(self) -> str:
        """Its type as onnxruntime writes it, ``tensor(float)``."""
        return type_name(self._array.dtype)

    def element_type(self) -> int:
        """Its type as ONNX numbers it."""
        return next(number for number, name in ELEMENT_TYPES.items() if name == self._array.dtype.name)

    def device_name(self) -> str:
        """``cpu``."""
        return "cpu"

    def data_ptr(self) -> int:
        """The address of its first element."""
        return self._array.ctypes.data

    def tensor_size_in_bytes(self) -> int:
        """The bytes of its elements."""
        return self._array.nbytes

    def has_value(self) -> bool:
        """True."""
        return True

    def is_tensor(self) -> bool:
        """True."""
        return True

    def is_sparse_tensor(self) -> bool:
        """False."""
        return False

    is_tensor_sequence = is_sparse_tensor


class IOBinding:
    """Buffers of the CPU that a session's runs read and write; ``session.io_binding()`` makes one."""

    def __init__(self, session: InferenceSession) -> None:
        self._outputs = {argument.name for argument in session.get_outputs()}
        self._fed: dict[str, np.ndarray] = {}
        self._wanted: dict[str, np.ndarray | None] = {}
        self._results: dict[str, np.ndarray] = {}

    def bind_cpu_input(self, name: str, arr_on_cpu: object) -> None:
        """Feeds an array."""
        self._fed[name] = as_array(arr_on_cpu)

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        """Feeds a tensor; runs read what it then holds."""
        self._fed[name] = ortvalue.numpy()

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: object,
        shape: Sequence[int],
        buffer_ptr: int,
    ) -> None:
        """Feeds what lies at an address, which must stay valid until it is bound no more.

        Raises:
            UnsupportedError: it is on another device.
        """
        _on_cpu(device_type)
        self._fed[name] = _at(buffer_ptr, element_type, shape)

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: object = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Wants an output: in a new array, or at an address, which must stay valid until it is bound no more.

        Raises:
            FeedError: the model has no such output.
            UnsupportedError: it is to be on another device.
        """
        _on_cpu(device_type)
        self._want(name, None if buffer_ptr is None else _at(buffer_ptr, element_type, shape))

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """Wants an output in a tensor.

        Raises:
            FeedError: the model has no such output.
        """
        self._want(name, ortvalue.numpy())

    def _want(self, name: str, target: np.ndarray | None) -> None:
        if name not in self._outputs:
            raise FeedError(f"no output {shown(name)}; the model gives {', '.join(sorted(self._outputs))}")
        self._wanted[name] = target

    def run(self, session: InferenceSession, run_options: object) -> None:
        """Runs the session on what is bound.

        Raises:
            FeedError: the inputs do not fit the model, or an output its buffer.
        """
        results = dict(zip(self._wanted, session.run(list(self._wanted), self._fed, run_options)))
        for name, target in self._wanted.items():
            if target is not None:
                _write(name, results[name], target)
                results[name] = target
        self._results = results

    def get_outputs(self) -> list[OrtValue]:
        """The outputs of the last run, in the order in which they were bound."""
        return [OrtValue(array) for array in self._results.values()]

    get_outputs_as_ortvaluevector = get_outputs

    def copy_outputs_to_cpu(self) -> list[np.ndarray]:
        """The same as arrays of their own."""
        return [array.copy() for array in self._results.values()]

    def clear_binding_inputs(self) -> None:
        """Unbinds all inputs."""
        self._fed.clear()

    def clear_binding_outputs(self) -> None:
        """Unbinds all outputs."""
        self._wanted.clear()
        self._results = {}

    def synchronize_inputs(self) -> None:
        """Nothing: a run ends when all is done."""

    synchronize_outputs = synchronize_inputs


def _write(name: str, result: np.ndarray, target: np.ndarray) -> None:
    if (result.shape, result.dtype) != (target.shape, target.dtype):
        raise FeedError(
            f"output {name!r} is {result.dtype}{list(result.shape)}; the buffer bound to it is "
            f"{target.dtype}{list(target.shape)}"
        )
    target[...] = result


def _at(address: object, element_type: object, shape: Sequence[int] | None) -> np.ndarray:
    """The array at an address."""
    if not isinstance(address, int) or address <= 0 or shape is None:
        raise FeedError("a buffer has a shape and an address, array.ctypes.data")
    dtype = _dtype(element_type)
    size = math.prod(shape) * dtype.itemsize
    buffer = (ctypes.c_byte * size).from_address(address)
    return np.frombuffer(memoryview(buffer).cast("B"), dtype).reshape(tuple(shape))


def arrays_of(values: Mapping[str, OrtValue]) -> dict[str, np.ndarray]:
    """The arrays of tensors by name."""
    return {name: value.numpy() for name, value in values.items()}
