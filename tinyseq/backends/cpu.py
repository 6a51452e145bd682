"""The CPU backend: plans, and executors that run them by one native call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np

from tinyseq.errors import FeedError
from tinyseq.feeds import checked_feeds
from tinyseq.kernels import library
from tinyseq.model import Graph, Model, Value
from tinyseq.plan.packing import Weights, aligned
from tinyseq.plan.planner import Plan, Planner, state_layout

MOST_PLANS = 64
"""Shapes whose plans a model keeps; the one not used for longest goes first."""

MOST_BOUND = 8
"""Shapes whose executors one stream keeps."""

Key = tuple


class CpuBackend:
    """A model's weights and plans, shared by all its streams and calls. Safe to use from threads."""

    def __init__(self, model: Model, streaming: Model | None) -> None:
        self._run = library.load().tinyseq_run
        arrays = {id(array): array for array in _arrays(model.graph)}
        if streaming is not None:
            arrays |= {id(array): array for array in _arrays(streaming.graph)}
        self._weights = Weights(arrays.values())
        self._whole = Planned(model, self._weights, stateful=False)
        self._streaming = None if streaming is None else Planned(streaming, self._weights, stateful=True)
        self._idle: dict[Key, list[Executor]] = {}

    def run(self, feeds: Mapping[str, object]) -> dict[str, np.ndarray]:
        arrays = checked_feeds(self._whole.inputs, feeds)
        key, plan_ = self._whole.plan(arrays)
        idle = self._idle.setdefault(key, [])
        try:
            executor = idle.pop()
        except IndexError:
            executor = Executor(plan_, self._run, aligned(0))
        try:
            return executor.execute(arrays, None)
        finally:
            if len(self._idle) > MOST_PLANS:
                self._idle.clear()
            if not idle:
                idle.append(executor)

    def runner(self) -> CpuRunner:
        return CpuRunner(self._streaming, self._run)


class Planned:
    """A model and the plans made of it so far, by the shapes they are for."""

    def __init__(self, model: Model, weights: Weights, stateful: bool) -> None:
        self.model = model
        self._planner = Planner(model, weights, stateful)
        self.inputs = self._planner.inputs
        lengths = _length_inputs(model.graph)
        self._known = {v.name for v in self.inputs if v.dtype.kind != "f" and v.name not in lengths}
        self._plans: OrderedDict[Key, Plan] = OrderedDict()

    def plan(self, arrays: dict[str, np.ndarray]) -> tuple[Key, Plan]:
        """The plan for these inputs and the key it is kept under."""
        key = tuple(
            (array.shape, array.tobytes()) if name in self._known else array.shape
            for name, array in arrays.items()
        )
        made = self._plans.get(key)
        if made is None:
            shapes = {name: array.shape for name, array in arrays.items()}
            known = {name: array.copy() for name, array in arrays.items() if name in self._known}
            made = self._planner.plan(shapes, known)
            self._plans[key] = made
            while len(self._plans) > MOST_PLANS:
                self._plans.popitem(last=False)
        return key, made


def _arrays(graph: Graph):
    yield from graph.constants.values()
    for node in graph.nodes:
        for _, sub_graph in node.graphs():
            yield from _arrays(sub_graph)


def _length_inputs(graph: Graph) -> set[str]:
    """The inputs that only tell recurrent layers the lengths of rows; no plan depends on them."""
    lengths, others = set(), {value.name for value in graph.outputs}
    for node in graph.nodes:
        for index, name in enumerate(node.inputs):
            (lengths if node.row.port(index).name == "lengths" else others).add(name)
    return lengths - others


class Executor:
    """A plan with an arena of its own. One thread at a time may use it."""

    def __init__(self, plan: Plan, run, state: np.ndarray) -> None:
        self.plan = plan
        self._run = run
        self._arena = aligned(plan.arena_bytes)
        self._state = state
        addresses = [plan.program.ctypes.data, plan.program.size, self._arena.ctypes.data, state.ctypes.data]
        addresses += [weight.ctypes.data for weight in plan.weights]
        self._context = np.array(addresses, np.int64)
        self._address = self._context.ctypes.data
        self._inputs = [(name, self._place(region)) for name, region in plan.inputs.items()]
        self._outputs = [
            (name, self._place(region) if region.value is None else region.value)
            for name, region in plan.outputs.items()
        ]

    def _place(self, region) -> np.ndarray:
        size = int(np.prod(region.shape)) * region.dtype.itemsize
        return self._arena[region.offset : region.offset + size].view(region.dtype).reshape(region.shape)

    def fits(self, feeds: Mapping[str, object], known: dict[str, np.ndarray]) -> bool:
        """Whether these feeds are just what the plan was made for; a quick and strict check."""
        if len(feeds) != len(self._inputs) + len(known):
            return False
        for name, buffer in self._inputs:
            array = feeds.get(name)
            if type(array) is not np.ndarray or array.shape != buffer.shape or array.dtype != buffer.dtype:
                return False
        for name, value in known.items():
            array = feeds.get(name)
            if type(array) is not np.ndarray or array.dtype != value.dtype or array.shape != value.shape:
                return False
            if array.tobytes() != value.tobytes():
                return False
        return True

    def execute(
        self, feeds: Mapping[str, np.ndarray], out: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """Runs the plan once: inputs are copied in, outputs copied out."""
        if out is not None:
            self._check_out(out)
        for name, buffer in self._inputs:
            buffer[...] = feeds[name]
        self._run(self._address)
        if out is None:
            return {name: array.copy() for name, array in self._outputs}
        for name, array in self._outputs:
            out[name][...] = array
        return out

    def _check_out(self, out: Mapping[str, np.ndarray]) -> None:
        if len(out) != len(self._outputs):
            names = ", ".join(name for name, _ in self._outputs)
            raise FeedError(
                f"out names {', '.join(out) or 'nothing'}; it must hold an array for each of {names}"
            )
        for name, array in self._outputs:
            given = out.get(name)
            if type(given) is not np.ndarray or given.dtype != array.dtype or given.shape != array.shape:
                needed = Value(name, array.dtype, array.shape)
                raise FeedError(f"out[{name!r}] must be an array for {needed}")
            if not given.flags.writeable:
                raise FeedError(f"out[{name!r}] is read-only; give an array that can be written to")


class CpuRunner:
    """One stream: its state block and the executors for the shapes it has met."""

    def __init__(self, planned: Planned, run) -> None:
        self._planned = planned
        self._run = run
        layout = state_layout(planned.model)
        self._block = aligned(layout.bytes)
        self.state = {}
        for field in layout.fields:
            size = int(np.prod(field.shape)) * field.dtype.itemsize
            run_of_bytes = self._block[field.offset : field.offset + size]
            self.state[field.name] = run_of_bytes.view(field.dtype).reshape(field.shape)
        self._bound: OrderedDict[Key, tuple[Executor, dict[str, np.ndarray]]] = OrderedDict()
        self._last: Executor | None = None
        self._known: dict[str, np.ndarray] = {}

    def step(
        self, feeds: Mapping[str, object], out: Mapping[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        executor = self._last
        if executor is None or not executor.fits(feeds, self._known):
            feeds = checked_feeds(self._planned.inputs, feeds)
            executor = self._bind(feeds)
        return executor.execute(feeds, out)

    def _bind(self, arrays: dict[str, np.ndarray]) -> Executor:
        key, plan_ = self._planned.plan(arrays)
        if key not in self._bound:
            known = {name: array.copy() for name, array in arrays.items() if name not in plan_.inputs}
            self._bound[key] = (Executor(plan_, self._run, self._block), known)
            while len(self._bound) > MOST_BOUND:
                self._bound.popitem(last=False)
        self._last, self._known = self._bound[key]
        return self._last
