"""Sequences: live streams that requests name by an id, as the Open Inference Protocol has them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from tinyseq.common.text import shown
from tinyseq.errors import TinyseqError
from tinyseq.serve.errors import BadRequestError, FullError

if TYPE_CHECKING:
    import numpy as np

    from tinyseq.serve.models import ServedModel, ServedStream
    from tinyseq.serve.protocols.parameters import Turn

Feeds = Mapping[str, "np.ndarray"]

Key = tuple[str, str, int | str, str]
"""Model and version as requests name them, the id, and the connection where that matters."""


class NoSequenceError(BadRequestError):
    """A request goes on with a sequence that there is none of."""

    reason = "sequence"


class Job:
    """A request of a sequence: feeds, or None for the outputs that are due at the end; and its answer."""

    __slots__ = ("answer", "feeds", "timer", "turn")

    def __init__(self, turn: Turn, feeds: Feeds | None) -> None:
        self.turn = turn
        self.feeds = feeds
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.timer: asyncio.TimerHandle | None = None

    def give(self, result: Any) -> None:
        """Answers, if nobody has yet and somebody still waits."""
        if self.timer is not None:
            self.timer.cancel()
        if not self.answer.done():
            self.answer.set_result(result)


class Sequence:
    """A live stream and the requests of it that are not answered yet, the first of them in a step."""

    __slots__ = ("jobs", "key", "served", "stream", "used")

    def __init__(self, key: Key, served: ServedModel, stream: ServedStream) -> None:
        self.key = key
        self.served = served
        self.stream = stream
        self.jobs: deque[Job] = deque()
        self.used = monotonic()

    def close(self, reason: str) -> None:
        """Gives the stream up; who still waits for an answer is told so."""
        self.stream.close(reason)
        jobs, self.jobs = self.jobs, deque()
        for job in jobs:
            job.give(NoSequenceError(f"sequence {shown(self.key[2])} has ended ({reason}); start it anew"))


class Sequences:
    """The live sequences of one worker.

    Requests of a sequence are answered in the order in which they come. It ends with the request that says
    so, when its first request is refused, or when nothing has come for a while.

    Args:
        idle_seconds: for how long nothing may come.
        most_unanswered: requests of one sequence that may wait.
        by_connection: whether a sequence belongs to the connection that it began on, as where other workers
            answer other connections.
    """

    def __init__(self, idle_seconds: float, most_unanswered: int, by_connection: bool) -> None:
        self._idle = idle_seconds
        self._most = most_unanswered
        self._by_connection = by_connection
        self._live: OrderedDict[Key, Sequence] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._live)

    def key(self, model: str, version: str, turn: Turn, peer: str) -> Key:
        """What a sequence is found by.

        Raises:
            BadRequestError: it would have to be known by its connection, which is not known.
        """
        if not self._by_connection:
            return model, version, turn.id, ""
        if not peer or peer.endswith(":0"):
            raise BadRequestError(
                "sequences belong to a connection where a server has several workers, and a proxy hides "
                "whose request this is: serve with --workers 1, or use the stream websocket, whose states "
                "travel"
            )
        return model, version, turn.id, peer

    def find(self, key: Key) -> Sequence:
        """The sequence that a request without a start goes on with.

        Raises:
            NoSequenceError: there is none.
            FullError: too many of its requests wait already.
        """
        sequence = self._live.get(key)
        if sequence is None:
            raise self._none(key)
        if len(sequence.jobs) >= self._most:
            raise FullError(
                f"sequence {shown(key[2])} has {self._most} requests that are not answered yet "
                "(limits.chunks_ahead); wait for the answers",
                1.0,
                "ahead",
            )
        return sequence

    def begin(self, key: Key, served: ServedModel) -> Sequence:
        """A new sequence, in the place of one of the same id.

        Raises:
            ServeError: the worker is full, or the model keeps no state.
        """
        before = self._live.pop(key, None)
        if before is not None:
            before.close("restarted")
        sequence = Sequence(key, served, served.open_stream())
        sequence.stream.told_to_end = lambda: self._drop(sequence, "retired")
        self._live[key] = sequence
        if self._timer is None:
            self._wake(self._idle)
        return sequence

    async def step(
        self, sequence: Sequence, turn: Turn, feeds: Feeds | None, seconds: float | None
    ) -> Mapping[str, np.ndarray]:
        """Steps a sequence when its earlier requests are done.

        Args:
            feeds: None for the outputs that are due at the end.
            seconds: how long the request may wait for earlier ones.

        Raises:
            TinyseqError: the feeds are refused or the time is up, and the state is as before; or the sequence
                has ended.
        """
        job = Job(turn, feeds)
        if turn.end:
            self._live.pop(sequence.key, None)
        else:
            self._live.move_to_end(sequence.key)
        sequence.jobs.append(job)
        if len(sequence.jobs) == 1:
            self._run(sequence)
        elif seconds is not None:
            loop = asyncio.get_running_loop()
            job.timer = loop.call_later(seconds, self._expire, sequence, job, seconds)
        result = await job.answer
        if isinstance(result, TinyseqError):
            raise result
        return result

    def _run(self, sequence: Sequence) -> None:
        """Steps a sequence by the first of its jobs."""
        job = sequence.jobs[0]
        try:
            if job.turn.end:
                sequence.stream.finish(job.feeds, lambda result: self._ran(sequence, job, result))
            else:
                sequence.stream.submit(job.feeds, lambda result: self._ran(sequence, job, result))
        except TinyseqError as error:
            self._ran(sequence, job, error)

    def _ran(self, sequence: Sequence, job: Job, result: Any) -> None:
        if not sequence.jobs or sequence.jobs[0] is not job:
            return
        sequence.jobs.popleft()
        sequence.used = monotonic()
        job.give(result)
        refused = isinstance(result, TinyseqError)
        if job.turn.end and not refused:
            sequence.close("finished")
        elif job.turn.start and refused:
            self._drop(sequence, "refused")
        elif job.turn.end:
            self._keep(sequence)
        if sequence.jobs:
            self._run(sequence)

    def _expire(self, sequence: Sequence, job: Job, seconds: float) -> None:
        """Takes a job back that still waits for its turn."""
        if job not in sequence.jobs or sequence.jobs[0] is job:
            return
        sequence.jobs.remove(job)
        job.give(FullError(f"the request has waited for {seconds:g} seconds", 1.0, "timeout"))
        if job.turn.end:
            self._keep(sequence)

    def _keep(self, sequence: Sequence) -> None:
        """A sequence goes on whose last request was refused, if none has begun in its place."""
        if self._live.setdefault(sequence.key, sequence) is not sequence:
            sequence.close("restarted")
        elif self._timer is None:
            self._wake(self._idle)

    def close(self, reason: str) -> None:
        """Ends all sequences."""
        for sequence in list(self._live.values()):
            self._drop(sequence, reason)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self, sequence: Sequence, reason: str) -> None:
        if self._live.get(sequence.key) is sequence:
            del self._live[sequence.key]
        sequence.close(reason)

    def _sweep(self) -> None:
        """Ends what nothing has come for."""
        now = monotonic()
        for sequence in list(self._live.values()):
            if sequence.jobs:
                continue
            if sequence.used + self._idle > now:
                break
            self._drop(sequence, "idle")
        self._timer = None
        if self._live:
            oldest = next(iter(self._live.values()))
            self._wake(max(oldest.used + self._idle - now, self._idle / 10))

    def _wake(self, seconds: float) -> None:
        """Looks for idle sequences in some seconds."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _none(self, key: Key) -> NoSequenceError:
        model, _, name, _ = key
        elsewhere = (
            ", or began on another connection (with several workers all its requests must come by one)"
            if self._by_connection
            else ""
        )
        return NoSequenceError(
            f"inference request for sequence {shown(name)} to model {shown(model)} must specify the START "
            f"flag on the first request of the sequence: there is no such sequence, or nothing came for "
            f"{self._idle:g} seconds and it has ended{elsewhere}"
        )
