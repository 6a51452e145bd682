"""The CUDA backend: plans run by a device, on which weights and state stay."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tinyseq.backends.adopting import adopted, on_device, uploaded
from tinyseq.backends.cuda_executor import CudaExecutor
from tinyseq.backends.device_array import DeviceArray
from tinyseq.backends.planned import PlannedBackend
from tinyseq.ir.model import Model, Value
from tinyseq.kernels.cuda import driver
from tinyseq.kernels.cuda.launch import EXACT
from tinyseq.plan.draft import Plan


class CudaBackend(PlannedBackend):
    """Plans run by the device of a number, on which weights and state stay."""

    transforms = False

    def __init__(
        self,
        model: Model,
        streaming: Callable[[], Model],
        finite: bool,
        number: int = 0,
        precision: str = EXACT,
    ) -> None:
        super().__init__(model, streaming, finite)
        self._precision = precision
        self._device = driver.open_device(number)
        self._uploaded: dict[int, tuple[weakref.ref, object]] = {}

    def executor(self, plan: Plan, state: object, known: Mapping[str, np.ndarray]) -> CudaExecutor:
        weights = [self._upload(array) for array in plan.weights]
        return CudaExecutor(plan, state, known, self._device, weights, self._precision)

    def _upload(self, array: np.ndarray) -> object:
        """The array on the device; of one array there is one copy."""
        found = self._uploaded.get(id(array))
        if found is not None and found[0]() is array:
            return found[1]
        memory = uploaded(self._device, array)
        self._uploaded[id(array)] = weakref.ref(array, self._forgotten(id(array))), memory
        return memory

    def _forgotten(self, number: int):
        backend = weakref.ref(self)

        def forget(_) -> None:
            alive = backend()
            if alive is not None:
                alive._uploaded.pop(number, None)

        return forget

    def block(self, size: int, *rows: int) -> DeviceArray:
        return DeviceArray.new(self._device, (*rows, size), np.uint8)

    def checked(self, inputs: Sequence[Value], feeds: Mapping[str, object]) -> dict[str, np.ndarray]:
        if not isinstance(feeds, Mapping):
            return super().checked(inputs, feeds)
        there = {name: self._adopted(name, array) for name, array in feeds.items() if on_device(array)}
        # What is on the device is checked by a stand-in that takes no memory.
        stand_ins = {name: np.broadcast_to(np.empty((), a.dtype), a.shape) for name, a in there.items()}
        return super().checked(inputs, {**feeds, **stand_ins}) | there

    def _adopted(self, name: str, array: object) -> DeviceArray:
        with self._device.current:
            return adopted(f"input {name!r}", array, self._device, self._device.queue())
