"""A model run by plans: what the backends of all devices share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import ref

import numpy as np

from tinyseq.backends.executor import Executor
from tinyseq.common.idle import Idle
from tinyseq.errors import FeedError
from tinyseq.ir.feeds import checked_feeds
from tinyseq.ir.model import Model, Value, constants_of
from tinyseq.kernels.call import Step, never
from tinyseq.plan.draft import Plan
from tinyseq.plan.packing import PackedWeights
from tinyseq.plan.planner import Planner
from tinyseq.plan.plans import MOST_PLANS, Key, Plans
from tinyseq.plan.stream import StateInPlace, StateLayout

if TYPE_CHECKING:
    from tinyseq.plan.rows import RowLayout

MOST_BOUND = 8
"""Shapes whose executors one stream keeps."""


class PlannedBackend(ABC):
    """A model's weights and plans, shared by all its streams and calls. Safe to use from threads."""

    transforms = True
    """Whether it multiplies with matrices of Fourier transforms in their own way."""

    def __init__(self, model: Model, streaming: Callable[[], Model], finite: bool) -> None:
        self._weights = PackedWeights(constants_of(model.graph), transforms=self.transforms)
        self._model, self._make_streaming = model, streaming
        self._finite = finite
        self._in_rows: OrderedDict[RowLayout, Plans] = OrderedDict()
        self.idle: Idle[Executor] = Idle()
        """Executors that nobody uses, by what they are for: all calls without state, or a layout of it; and
        their plans."""
        self._recent: list[tuple[Key, Executor]] = []

    @abstractmethod
    def executor(self, plan: Plan, state: np.ndarray, known: Mapping[str, np.ndarray]) -> Executor:
        """A plan with memory of its own, at work on a block of state."""

    @abstractmethod
    def block(self, size: int, *rows: int) -> np.ndarray:
        """A block of state, bytes [size] or [rows, size], all zero: an array of the device's."""

    def checked(self, inputs: Sequence[Value], feeds: Mapping[str, object]) -> dict[str, np.ndarray]:
        """The feeds as arrays, one for every input.

        Raises:
            FeedError: a name is missing or unknown, or a dtype, rank or size differs; says which.
        """
        return checked_feeds(inputs, feeds)

    @cached_property
    def _stream_model(self) -> Model:
        model = self._make_streaming()
        self._weights.own(constants_of(model.graph))
        return model

    @cached_property
    def _whole(self) -> Plans:
        return Plans(Planner(self._model, self._weights))

    @cached_property
    def _streaming(self) -> Plans:
        return Plans(Planner(self._stream_model, self._weights, StateInPlace(self._layout, self._finite)))

    @cached_property
    def _layout(self) -> StateLayout:
        return StateLayout(self._stream_model)

    def run(self, feeds: Mapping[str, object]) -> dict[str, np.ndarray]:
        if self._recent:
            try:
                recent = self._recent.pop()
            except IndexError:  # another thread was quicker
                return self._run(feeds)
            try:
                results = recent[1].step(feeds, None, None)
            finally:
                self._recent.append(recent)
            if results is not None:
                return results
        return self._run(feeds)

    def _run(self, feeds: Mapping[str, object]) -> dict[str, np.ndarray]:
        key, executor, arrays = self._fitting(feeds)
        try:
            return executor.run(arrays)
        finally:
            self._recent.append((key, executor))

    def ready(self, feeds: Mapping[str, object]) -> tuple[Key, Executor]:
        """An executor that no other thread holds and that has taken the feeds."""
        key, executor, arrays = self._fitting(feeds)
        executor.take(arrays)
        return key, executor

    def _fitting(self, feeds: Mapping[str, object]) -> tuple[Key, Executor, Mapping[str, np.ndarray]]:
        """An executor that no other thread holds, and the feeds as arrays that fit it."""
        # list.pop and list.append are atomic, so that no lock is needed.
        while self._recent:
            try:
                key, executor = self._recent.pop()
            except IndexError:
                break
            if type(feeds) is dict and executor.fits(feeds):
                return key, executor, feeds
            self.idle.leave((None, key), executor)
        arrays = self.checked(self._whole.inputs, feeds)
        key, plan = _planned(self._whole, arrays)
        executor = self.idle.take((None, key))
        if executor is None:
            executor = self.executor(plan, self.block(0), self._whole.known(arrays))
        executor.fits(arrays)
        return key, executor, arrays

    def runner(self) -> PlannedRunner:
        return PlannedRunner(self, self._streaming, self._layout, self.block(self._layout.bytes))

    def rows(self, layout: RowLayout, count: int) -> PlannedRunner:
        # Imported here: only those who keep many streams in rows should wait for it.
        from tinyseq.plan.rows import StateRows

        plans = self._in_rows.get(layout)
        if plans is None:
            plans = Plans(Planner(self._stream_model, self._weights, StateRows(layout, self._finite)))
            plans = self._in_rows.setdefault(layout, plans)
            while len(self._in_rows) > MOST_PLANS:
                self._in_rows.popitem(last=False)
        return PlannedRunner(self, plans, layout, self.block(layout.bytes, count))


def _planned(plans: Plans, arrays: dict[str, np.ndarray]) -> tuple[Key, Plan]:
    try:
        return plans.plan(arrays)
    except (MemoryError, OverflowError) as error:
        raise FeedError(
            f"these inputs ask for more than this machine can hold ({error}); feed shorter sequences or "
            "fewer rows"
        ) from error


class PlannedRunner:
    """State in a block, of one stream or of many in rows, and the executors for the shapes it has met."""

    def __init__(
        self,
        backend: PlannedBackend,
        plans: Plans,
        layout: StateLayout | RowLayout,
        block: np.ndarray,
    ) -> None:
        self._backend = backend
        self._plans = plans
        self._block = block
        self._layout = layout
        self.state = layout.parts(block)
        self._bound: OrderedDict[Key, Executor] = OrderedDict()
        # Programs may keep some that are no longer bound.
        self._alive: list[ref[Executor]] = []
        self._last: Executor | None = None

    def step(
        self, feeds: Mapping[str, object], out: Mapping[str, np.ndarray] | None
    ) -> Mapping[str, np.ndarray]:
        last = self._last
        if last is not None:
            results = last.step(feeds, out, None)
            if results is not None:
                return results
            # Rows of other numbers take turns in a pool: what was bound for them takes them.
            for executor in self._bound.values():
                if executor is not last and (results := executor.step(feeds, out, None)) is not None:
                    self._last = executor
                    return results
        executor, arrays = self._fitting(feeds)
        return executor.run(arrays, out, self.state)

    def quick(self, feeds: Mapping[str, object] | None) -> Step:
        if feeds is not None:
            self._fitting(feeds)
        return never if self._last is None else self._last.step

    def advance(self, feeds: Mapping[str, object]) -> Mapping[str, np.ndarray]:
        """``step`` that copies nothing out: its arrays hold until the next step, and may be written to."""
        executor = self.bound(feeds)
        executor.execute()
        return executor.views

    def bound(self, feeds: Mapping[str, object]) -> Executor:
        """The plan at work for such feeds, which it has taken."""
        executor, arrays = self._fitting(feeds)
        executor.take(arrays)
        return executor

    def _fitting(self, feeds: Mapping[str, object]) -> tuple[Executor, Mapping[str, np.ndarray]]:
        """The plan at work for such feeds, and these as arrays that fit it."""
        executor = self._last
        if executor is not None and type(feeds) is dict and executor.fits(feeds):
            return executor, feeds
        arrays = self._backend.checked(self._plans.inputs, feeds)
        executor = self._last = self._bind(arrays)
        executor.fits(arrays)
        return executor, arrays

    def _bind(self, arrays: dict[str, np.ndarray]) -> Executor:
        key, plan = _planned(self._plans, arrays)
        if key not in self._bound:
            self._bound[key] = executor = self._executor(key, plan, arrays)
            self._alive = [each for each in self._alive if each() is not None] + [ref(executor)]
            while len(self._bound) > MOST_BOUND:
                self._bound.popitem(last=False)
        return self._bound[key]

    def _executor(self, key: Key, plan: Plan, arrays: dict[str, np.ndarray]) -> Executor:
        """One that another runner has left, else a new one."""
        executor = self._backend.idle.take((self._layout, key))
        if executor is None:
            return self._backend.executor(plan, self._block, self._plans.known(arrays))
        executor.bind(self._block)
        return executor

    @property
    def nbytes(self) -> int:
        """The memory of the block and the executors."""
        return self._block.nbytes + sum([one.nbytes for each in self._alive if (one := each()) is not None])

    def release(self) -> None:
        """Leaves its executors to the runners that come after it."""
        for key, executor in self._bound.items():
            self._backend.idle.leave((self._layout, key), executor)
        self._bound.clear()
        self._alive.clear()
        self._last = None
