"""The batcher: what many clients send is stepped together, each client's in its order and one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from math import inf
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tinyseq.errors import TinyseqError

if TYPE_CHECKING:
    from tinyseq.serve.admission import Admission
    from tinyseq.serve.config import Limits
    from tinyseq.serve.load import Load
    from tinyseq.serve.metrics import ModelMetrics

log = logging.getLogger("tinyseq.serve")

Done = Callable[[Any], None]
"""Is called in the thread of the event loop with a result, or with the TinyseqError that stands for it."""


FAULT = "what was to be done with a result failed"


class Kind(Protocol):
    """What is stepped together has one kind, the same object; see ``tinyseq.serve.kinds.Kind``."""

    seconds: float
    """What a row of a step takes; infinite as long as that is not known."""

    def took(self, seconds: float) -> None:
        """Learns what a row of a step took."""


class Steps(Protocol):
    """What a batcher steps: rows of a pool, or anything else that takes many streams at once. Between two
    calls of it, and never within one, streams may be opened, closed and saved."""

    def step(self, kind: Any, streams: Sequence[Any], given: Sequence[Any]) -> Sequence[Any]:
        """A result for each stream, or the TinyseqError that stands for it. May run in another thread."""


class Line:
    """What one client has sent and is not answered yet, in order."""

    __slots__ = ("batcher", "closed", "items", "stepping", "stream", "waiting")

    def __init__(self, batcher: Batcher, stream: Any) -> None:
        self.batcher = batcher
        self.stream = stream
        self.items: deque[tuple[Any, Any, Done, float, int]] = deque()
        self.waiting = False
        """Whether it stands in the queue, or is being stepped."""
        self.stepping = False
        """Whether its first item is being stepped."""
        self.closed = False

    def step(self, kind: Kind, given: Any, done: Done, size: int = 0) -> int:
        """Adds something to step, of so many bytes; gives how much there is to do then. It is stepped with
        what is of its kind."""
        batcher, items = self.batcher, self.items
        batcher.admission.queued_bytes += size
        items.append((kind, given, done, monotonic(), size))
        if not self.waiting:
            batcher.queue(self)
        return len(items)

    def call(self, function: Callable[[], Any], done: Done | None = None, first: bool = False) -> None:
        """Calls a function when all before it has been stepped, or with ``first`` before what has not, and
        nothing is being stepped; its result goes to ``done``, a TinyseqError too."""
        item = None, function, done or _ignored, 0.0, 0
        if not first:
            self.items.append(item)
        elif self.stepping:
            self.items.insert(1, item)
        else:
            self.items.appendleft(item)
        if not self.waiting:
            self.batcher.queue(self)

    def close(self, free: Callable[[], Any]) -> None:
        """Forgets what is not stepped yet, and calls ``free`` when nothing of it is in a step any more."""
        if self.closed:
            return
        self.closed = True
        self.batcher.forget(self)
        self.call(free)


def _ignored(result: Any) -> None:
    pass


class Batcher:
    """Steps the heads of the lines of one model. Every line has one turn before any has a second one.

    Lines of one kind are one step. When the worker is busy, a step waits some milliseconds for more lines;
    steps that take long are done in a thread, meanwhile lines only grow.
    """

    def __init__(
        self,
        steps: Steps,
        limits: Limits,
        admission: Admission,
        metrics: ModelMetrics,
        load: Load,
        executor: Executor,
    ) -> None:
        self.steps = steps
        self.admission = admission
        self._limits = limits
        self._metrics = metrics
        self._load = load
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Line] = deque()
        self._timer: asyncio.Handle | None = None
        self._soon = False
        self._busy = False
        """Whether lines are being stepped, here or in a thread."""
        self.lines = 0

    def line(self, stream: Any) -> Line:
        """A line for a stream."""
        self.lines += 1
        return Line(self, stream)

    def queue(self, line: Line) -> None:
        """A line has something to do."""
        line.waiting = True
        queue = self._queue
        queue.append(line)
        if self._soon or self._busy or (self._timer is not None and len(queue) < self.lines):
            return
        self._plan()

    def forget(self, line: Line) -> None:
        """A line is closed: what waits in it is dropped."""
        self.lines -= 1
        first = line.items[0] if line.stepping else None
        self.admission.queued_bytes -= sum(item[4] for item in line.items)
        line.items.clear()
        if first is not None:
            line.items.append(first)
            self.admission.queued_bytes += first[4]

    def _plan(self) -> None:
        """Sees to it that the queue is looked at, now or soon."""
        count = len(self._queue)
        all_there = count >= self.lines or count >= self._limits.rows
        delay = 0.0 if all_there else self._load.window
        if delay < 0.001:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._soon = True
            self._loop.call_soon(self._turn)
        elif self._timer is None:
            self._timer = self._loop.call_later(delay, self._turn)

    def _turn(self) -> None:
        """One turn of every line that waits."""
        self._soon, self._timer, self._busy = False, None, True
        groups: dict[Any, list[Line]] = {}
        queue = self._queue
        for _ in range(min(len(queue), self._limits.rows)):
            line = queue.popleft()
            kind = self._head(line)
            if kind is not None:
                group = groups.get(kind)
                if group is None:
                    groups[kind] = [line]
                else:
                    group.append(line)
        long = self._limits.thread_ms / 1000
        if sum([kind.seconds * len(group) for kind, group in groups.items()]) >= long:
            work = self._loop.run_in_executor(self._executor, self._step_all, groups)
            work.add_done_callback(self._back)
            return
        for kind, group in groups.items():
            self._answer(group, *self._step(kind, group))
        self._go_on()

    def _go_on(self) -> None:
        """Steps are done."""
        self._busy = False
        if self._queue:
            self._plan()

    def _head(self, line: Line) -> Any:
        """Calls what is to be called; the kind of what is then to be stepped, None if there is nothing."""
        items = line.items
        while items:
            kind, function, done, _, _ = items[0]
            if kind is not None:
                line.stepping = True
                return kind
            items.popleft()
            try:
                done(_called(function))
            except Exception:
                log.exception(FAULT)
        line.waiting = False
        return None

    def _step(self, kind: Any, group: list[Line]) -> tuple[Sequence[Any], float, bool]:
        # A step of a new kind is planned, too, which says nothing of how busy the worker is.
        known = kind.seconds < inf
        begin = perf_counter()
        streams = [line.stream for line in group]
        given = [line.items[0][1] for line in group]
        try:
            results = self.steps.step(kind, streams, given)
        except TinyseqError as error:
            results = [error] * len(group)
        except Exception as error:
            log.exception("a step failed")
            results = [TinyseqError(f"the step failed: {error!r}")] * len(group)
        seconds = perf_counter() - begin
        kind.took(seconds / len(group))
        return results, seconds, known

    def _step_all(self, groups: dict[Any, list[Line]]) -> list[tuple[Any, ...]]:
        return [(group, *self._step(kind, group)) for kind, group in groups.items()]

    def _back(self, work: asyncio.Future[Any]) -> None:
        """A thread has done its steps."""
        for group, results, seconds, known in work.result():
            self._answer(group, results, seconds, known)
        self._go_on()

    def _answer(self, group: list[Line], results: Sequence[Any], seconds: float, known: bool) -> None:
        """Gives results to the lines of a step; those with more to do queue up again."""
        now = monotonic()
        queue, admission = self._queue, self.admission
        arrivals = []
        for line, result in zip(group, results):
            _, _, done, arrival, size = line.items.popleft()
            arrivals.append(arrival)
            line.stepping = False
            admission.queued_bytes -= size
            if not line.closed:
                try:
                    done(result)
                except Exception:
                    log.exception(FAULT)
            if line.items:
                queue.append(line)
            else:
                line.waiting = False
        metrics = self._metrics
        metrics.steps += 1
        metrics.chunks += len(group)
        metrics.step_seconds += seconds
        metrics.rows.add_one(len(group))
        counts = metrics.latency.add(now - np.array(arrivals))
        if known:
            admission.took(now, counts)


def _called(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except TinyseqError as error:
        return error
