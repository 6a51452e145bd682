"""The CPU backend: plans, and executors that run them by one native call."""

from __future__ import annotations

import ctypes
import math
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.errors import FeedError
from tinyseq.feeds import checked_feeds
from tinyseq.kernels import library
from tinyseq.model import Graph, Model, Value
from tinyseq.plan.draft import Plan, Region
from tinyseq.plan.packing import Weights, aligned
from tinyseq.plan.planner import Planner
from tinyseq.plan.plans import MOST_PLANS, Key, Plans
from tinyseq.plan.stream import StateInPlace, StateLayout
from tinyseq.plan.view import storage

if TYPE_CHECKING:
    from tinyseq.plan.rows import RowLayout

MOST_BOUND = 8
"""Shapes whose executors one stream keeps."""

Idle = dict[Key, list["Executor"]]
"""Executors that nobody uses, by the plans they are for."""


class CpuBackend:
    """A model's weights and plans, shared by all its streams and calls. Safe to use from threads."""

    def __init__(self, model: Model, streaming: Model | None) -> None:
        self._run = library.load().tinyseq_run
        arrays = {id(array): array for array in _arrays(model.graph)}
        if streaming is not None:
            arrays |= {id(array): array for array in _arrays(streaming.graph)}
        self._weights = Weights(arrays.values())
        self._model, self._stream_model = model, streaming
        self._in_rows: OrderedDict[RowLayout, tuple[Plans, Idle]] = OrderedDict()
        self._idle: Idle = {}
        self._recent: list[tuple[Key, Executor]] = []

    @cached_property
    def _whole(self) -> Plans:
        return Plans(Planner(self._model, self._weights))

    @cached_property
    def _streaming(self) -> Plans:
        return Plans(Planner(self._stream_model, self._weights, StateInPlace(self._layout)))

    @cached_property
    def _layout(self) -> StateLayout:
        return StateLayout(self._stream_model)

    def run(self, feeds: Mapping[str, object]) -> dict[str, np.ndarray]:
        key, executor = self._ready(feeds)
        try:
            return executor.run()
        finally:
            self._recent.append((key, executor))

    def _ready(self, feeds: Mapping[str, object]) -> tuple[Key, Executor]:
        """An executor that no other thread holds and that has accepted the feeds."""
        # list.pop and list.append are atomic, so that no lock is needed.
        while self._recent:
            try:
                key, executor = self._recent.pop()
            except IndexError:
                break
            if type(feeds) is dict and executor.accept(feeds):
                return key, executor
            idle = self._idle.setdefault(key, [])
            if not idle:
                idle.append(executor)
        arrays = checked_feeds(self._whole.inputs, feeds)
        key, plan = _planned(self._whole, arrays)
        try:
            executor = self._idle[key].pop()
        except (KeyError, IndexError):
            executor = Executor(plan, self._run, aligned(0), self._whole.known(arrays))
        if len(self._idle) > MOST_PLANS:
            self._idle.clear()
        executor.accept(arrays)
        return key, executor

    def runner(self) -> CpuRunner:
        block = aligned(self._layout.bytes)
        return CpuRunner(self._streaming, self._run, block, self._layout.parts(block), {})

    def rows(self, layout: RowLayout, count: int) -> CpuRunner:
        # Imported here: only those who keep many streams in rows should wait for it.
        from tinyseq.plan.rows import StateRows

        shared = self._in_rows.get(layout)
        if shared is None:
            plans = Plans(Planner(self._stream_model, self._weights, StateRows(layout)))
            shared = self._in_rows.setdefault(layout, (plans, {}))
            while len(self._in_rows) > MOST_PLANS:
                self._in_rows.popitem(last=False)
        block = aligned(count * layout.bytes).reshape(count, layout.bytes)
        return CpuRunner(shared[0], self._run, block, layout.parts(block), shared[1])


def _planned(plans: Plans, arrays: dict[str, np.ndarray]) -> tuple[Key, Plan]:
    try:
        return plans.plan(arrays)
    except (MemoryError, OverflowError) as error:
        raise FeedError(
            f"these inputs ask for more than this machine can hold ({error}); feed shorter sequences or "
            "fewer rows"
        ) from error


def _arrays(graph: Graph):
    yield from graph.constants.values()
    for node in graph.nodes:
        for _, sub_graph in node.graphs():
            yield from _arrays(sub_graph)


class Executor:
    """A plan with an arena of its own. One thread at a time may use it."""

    def __init__(self, plan: Plan, run, state: np.ndarray, known: Mapping[str, np.ndarray]) -> None:
        self._run = run
        try:
            self._arena = aligned(plan.arena_bytes)
        except MemoryError as error:
            raise FeedError(
                f"these inputs need {plan.arena_bytes:,} bytes of working memory, which this machine does "
                "not give; feed shorter sequences or fewer rows"
            ) from error
        # The context holds addresses only: what they point to must live as long as it does.
        self._alive = [plan, state]
        self._places = plan.places
        addresses = [plan.program.ctypes.data, plan.program.size, self._arena.ctypes.data, state.ctypes.data]
        addresses += [weight.ctypes.data for weight in plan.weights]
        self._context = np.array(addresses, np.int64)
        self._address = ctypes.c_void_p(self._context.ctypes.data)
        self._inputs = [(n, self._place(r), r.shape, r.dtype) for n, r in plan.inputs.items()]
        self._known = [(name, array.tobytes(), array.shape, array.dtype) for name, array in known.items()]
        self._count = len(self._inputs) + len(self._known)
        self._outputs = [
            (name, self._place(region) if region.value is None else region.value, region.shape, region.dtype)
            for name, region in plan.outputs.items()
        ]
        self.views = {name: array.view() for name, array, _, _ in self._outputs}
        for name, region in plan.outputs.items():
            self.views[name].flags.writeable = region.value is None

    def bind(self, state: np.ndarray) -> None:
        """Lets it work on another block of state."""
        self._alive[1] = state
        self._context[3] = state.ctypes.data

    def _place(self, region: Region) -> np.ndarray:
        dtype = storage(region.dtype)
        size = math.prod(region.shape) * dtype.itemsize
        return self._arena[region.offset : region.offset + size].view(dtype).reshape(region.shape)

    def accept(self, feeds: Mapping[str, object]) -> bool:
        """Copies the inputs in; False if they are not just what the plan was made for."""
        if len(feeds) != self._count:
            return False
        for name, buffer, shape, dtype in self._inputs:
            array = feeds.get(name)
            if type(array) is not np.ndarray or array.shape != shape or array.dtype != dtype:
                return False
            buffer[...] = array
        for name, value, shape, dtype in self._known:
            array = feeds.get(name)
            if type(array) is not np.ndarray or array.shape != shape or array.dtype != dtype:
                return False
            if array.tobytes() != value:
                return False
        return True

    def run(self, out: Mapping[str, np.ndarray] | None = None) -> Mapping[str, np.ndarray]:
        """Runs the plan on the inputs accepted last; the outputs are copied out."""
        if out is None:
            self.execute()
            return {name: array.astype(dtype) for name, array, _, dtype in self._outputs}
        self._check_out(out)
        self.execute()
        for name, array, _, _ in self._outputs:
            out[name][...] = array
        return out

    def execute(self) -> None:
        """Runs the plan on the inputs accepted last."""
        failed = self._run(self._address)
        if failed >= 0:
            raise FeedError(f"{self._places[failed]}. No state was changed")

    def _check_out(self, out: Mapping[str, np.ndarray]) -> None:
        if not isinstance(out, Mapping):
            raise FeedError(f"out is a dict from name to array, not {type(out).__name__}")
        if len(out) != len(self._outputs):
            names = ", ".join(name for name, *_ in self._outputs)
            raise FeedError(
                f"out names {', '.join(out) or 'nothing'}; it must hold an array for each of {names}"
            )
        for name, _, shape, dtype in self._outputs:
            given = out.get(name)
            if type(given) is not np.ndarray or given.shape != shape or given.dtype != dtype:
                raise FeedError(f"out[{name!r}] must be an array for {Value(name, dtype, shape)}")
            if not given.flags.writeable:
                raise FeedError(f"out[{name!r}] is read-only; give an array that can be written to")


class CpuRunner:
    """State in a block, of one stream or of many in rows, and the executors for the shapes it has met."""

    def __init__(
        self, plans: Plans, run, block: np.ndarray, state: dict[str, np.ndarray], idle: Idle
    ) -> None:
        self._plans = plans
        self._run = run
        self._block = block
        self._idle = idle
        self.state = state
        self._bound: OrderedDict[Key, Executor] = OrderedDict()
        self._last: Executor | None = None

    def step(
        self, feeds: Mapping[str, object], out: Mapping[str, np.ndarray] | None
    ) -> Mapping[str, np.ndarray]:
        return self._accepted(feeds).run(out)

    def advance(self, feeds: Mapping[str, object]) -> Mapping[str, np.ndarray]:
        """``step`` that copies nothing out: its arrays hold until the next step, and may be written to."""
        executor = self._accepted(feeds)
        executor.execute()
        return executor.views

    def _accepted(self, feeds: Mapping[str, object]) -> Executor:
        executor = self._last
        if executor is None or type(feeds) is not dict or not executor.accept(feeds):
            arrays = checked_feeds(self._plans.inputs, feeds)
            executor = self._last = self._bind(arrays)
            executor.accept(arrays)
        return executor

    def _bind(self, arrays: dict[str, np.ndarray]) -> Executor:
        key, plan = _planned(self._plans, arrays)
        if key not in self._bound:
            self._bound[key] = self._executor(key, plan, arrays)
            while len(self._bound) > MOST_BOUND:
                self._bound.popitem(last=False)
        return self._bound[key]

    def _executor(self, key: Key, plan: Plan, arrays: dict[str, np.ndarray]) -> Executor:
        """One that another runner has left, else a new one."""
        try:
            executor = self._idle[key].pop()
        except (KeyError, IndexError):
            return Executor(plan, self._run, self._block, self._plans.known(arrays))
        executor.bind(self._block)
        return executor

    def release(self) -> None:
        """Leaves its executors to the runners that come after it."""
        if len(self._idle) > MOST_PLANS:
            self._idle.clear()
        for key, executor in self._bound.items():
            self._idle.setdefault(key, []).append(executor)
        self._bound.clear()
        self._last = None
