"""Arrays on an emulated device, for tests that launch kernels themselves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tests.cuda.emulator import EmulatedDevice
from tinyseq.backends.adopting import uploaded
from tinyseq.kernels.cuda.launch import RUNNING, Failure, Launch


class On:
    """An emulated device and what a test keeps there."""

    def __init__(self, device: EmulatedDevice) -> None:
        self.device = device
        self._kept: list[object] = []
        self._status = self.put(np.array([RUNNING], np.int64))
        self.failure = Failure(self._status, 5)

    def put(self, array: np.ndarray) -> int:
        """The address of the array's bytes there."""
        memory = uploaded(self.device, np.ascontiguousarray(array))
        self._kept.append(memory)
        return memory.address

    def get(self, address: int, shape: tuple[int, ...], dtype) -> np.ndarray:
        """A copy of what lies at an address."""
        made = np.empty(shape, dtype)
        queue = self.device.queue()
        queue.read(address, made)
        queue.finish()
        return made

    def run(self, launches: Iterable[Launch]) -> bool:
        """Whether the launches, in order, came to their end."""
        queue = self.device.queue()
        queue.launch(queue.prepare(launches, self._status))
        queue.finish()
        return self.get(self._status, (1,), np.int64)[0] == RUNNING
