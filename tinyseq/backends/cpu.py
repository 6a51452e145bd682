"""The CPU backend: executors that run a plan by one native call."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping

import numpy as np

from tinyseq.backends.executor import Executor
from tinyseq.backends.planned import PlannedBackend
from tinyseq.errors import FeedError
from tinyseq.kernels import library
from tinyseq.model import Model
from tinyseq.plan.draft import Plan, Region
from tinyseq.plan.packing import aligned
from tinyseq.plan.view import storage


class CpuBackend(PlannedBackend):
    """Plans run by the compiled machine."""

    def __init__(self, model: Model, streaming: Model | None, finite: bool) -> None:
        super().__init__(model, streaming, finite)
        self._native = library.load().tinyseq_run

    def executor(self, plan: Plan, state: np.ndarray, known: Mapping[str, np.ndarray]) -> CpuExecutor:
        return CpuExecutor(plan, state, known, self._native)

    def block(self, size: int, *rows: int) -> np.ndarray:
        return aligned(math.prod(rows) * size).reshape(*rows, size)


class CpuExecutor(Executor):
    """A plan with an arena of its own. One thread at a time may use it."""

    def __init__(self, plan: Plan, state: np.ndarray, known: Mapping[str, np.ndarray], native) -> None:
        self._native = native
        try:
            self._arena = aligned(plan.arena_bytes)
        except MemoryError as error:
            raise FeedError(
                f"these inputs need {plan.arena_bytes:,} bytes of working memory, which this machine does "
                "not give; feed shorter sequences or fewer rows"
            ) from error
        # The context holds addresses only: what they point to must live as long as it does.
        self._alive = [plan, state]
        addresses = [plan.program.ctypes.data, plan.program.size, self._arena.ctypes.data, state.ctypes.data]
        addresses += [weight.ctypes.data for weight in plan.weights]
        self.context = np.array(addresses, np.int64)
        self._address = ctypes.c_void_p(self.context.ctypes.data)
        super().__init__(plan, known)

    def bind(self, state: np.ndarray) -> None:
        self._alive[1] = state
        self.context[3] = state.ctypes.data

    def place(self, region: Region) -> np.ndarray:
        dtype = storage(region.dtype)
        size = math.prod(region.shape) * dtype.itemsize
        return self._arena[region.offset : region.offset + size].view(dtype).reshape(region.shape)

    def execute(self) -> None:
        failed = self._native(self._address)
        if failed >= 0:
            self.fail(failed)
