"""The load: streams in real time, each of whose answers is compared with a lone stream's."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.serving.tapes import PATH, SECONDS, Tape, numbers_of
from bench.serving.websocket import Websocket, connect

STREAMS_OF_A_PROCESS = 512
"""Streams that one process of the generator plays at the most."""

TAPES = 16
"""Different tapes; streams of one tape begin at different times."""

OPENED_A_SECOND = 400
PATIENCE = 30.0
"""Seconds for answers that are still due at the end."""


@dataclass
class Played:
    """What a number of streams has seen. Times are seconds, an entry a chunk."""

    latency: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """From when a chunk was due until its outputs were there."""
    late: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """How much later than due the generator itself sent them: part of ``latency``, and not the server's."""
    different: int = 0
    """Chunks whose outputs were not a lone stream's."""
    missing: int = 0
    """Chunks that were not answered."""
    ended: list[str] = field(default_factory=list)
    """Why streams ended before their time."""

    def __add__(self, other: Played) -> Played:
        return Played(
            np.concatenate([self.latency, other.latency]),
            np.concatenate([self.late, other.late]),
            self.different + other.different,
            self.missing + other.missing,
            self.ended + other.ended,
        )


class Player:
    """Plays a tape over a websocket."""

    def __init__(self, socket: Websocket, tape: Tape, tolerance: float | None, closed: bool) -> None:
        self.socket, self._tape, self._tolerance, self._closed = socket, tape, tolerance, closed
        self.sent = 0
        self.answered = 0
        self.due: deque[float] = deque()
        self.latency: list[float] = []
        self.different = 0
        self.start = 0.0
        socket.received = self._received

    def send(self) -> None:
        """Sends the next chunk."""
        self.due.append(time.monotonic() if self._closed else self.start + self.sent * SECONDS)
        self.socket.write(self._tape.frames[self.sent])
        self.sent += 1

    def _received(self, message: bytes | str) -> None:
        if isinstance(message, str):
            return
        self.latency.append(time.monotonic() - self.due.popleft())
        numbers = message[4:] if message[:4] == b"\0\0\0\0" else numbers_of(message)
        wanted = self._tape.outputs[self.answered]
        if numbers != wanted and not self._near(numbers, wanted):
            self.different += 1
        self.answered += 1
        if self._closed and self.sent < len(self._tape):
            self.send()

    def _near(self, numbers: bytes, wanted: bytes) -> bool:
        if self._tolerance is None or len(numbers) != len(wanted):
            return False
        found, right = np.frombuffer(numbers, np.float32), np.frombuffer(wanted, np.float32)
        return bool(np.abs(found - right).max() <= self._tolerance)


async def play(
    port: int,
    tapes: Sequence[Tape],
    streams: Sequence[int],
    begin: float,
    tolerance: float | None = None,
    host: str = "127.0.0.1",
    told: Callable[[float], None] = lambda seconds: None,
    closed: bool = False,
) -> Played:
    """Plays tapes to their ends, the streams' first chunks spread over a chunk's time from ``begin`` on, a
    time of ``monotonic``; ``closed``: each chunk as soon as the one before it is answered.

    ``streams`` are numbers among all streams of all processes. Outputs are a lone stream's bits, or with a
    ``tolerance`` no farther from them than that.
    """
    players = []
    for number in streams:
        socket = await connect(port, PATH, host=host)
        await socket.receive()
        players.append(Player(socket, tapes[number % len(tapes)], tolerance, closed))
        await asyncio.sleep(1 / OPENED_A_SECOND)
    begin = max(begin, time.monotonic() + 0.1)
    for place, player in enumerate(players):
        player.start = begin + SECONDS * place / len(players)
    late = await (_all_at_once(players, told) if closed else _in_real_time(players, len(tapes[0]), told))
    end = time.monotonic() + PATIENCE
    while any(player.due and player.socket.code is None for player in players) and time.monotonic() < end:
        await asyncio.sleep(0.01)
    ended = [f"{each.socket.code} {each.socket.reason}" for each in players if each.socket.code is not None]
    for player in players:
        player.socket.close()
    return Played(
        np.concatenate([player.latency for player in players]),
        np.array(late),
        sum(player.different for player in players),
        sum(len(tapes[0]) - player.answered for player in players),
        ended,
    )


async def _in_real_time(players: Sequence[Player], count: int, told: Callable[[float], None]) -> list[float]:
    """Sends all chunks but when they are due; how much later that was."""
    late: list[float] = []
    for turn in range(count):
        told(turn * SECONDS)
        for player in players:
            due = player.start + turn * SECONDS
            wait = due - time.monotonic()
            if wait > 0.0005:
                await asyncio.sleep(wait)
            late.append(max(0.0, time.monotonic() - due))
            if player.socket.code is None:
                player.send()
        await asyncio.sleep(0)
    return late


async def _all_at_once(players: Sequence[Player], told: Callable[[float], None]) -> list[float]:
    """Sends the first chunks, each of which draws the others after it."""
    for player in players:
        player.send()
    while any(player.due and player.socket.code is None for player in players):
        told(min(player.answered for player in players) * SECONDS)
        await asyncio.sleep(0.05)
    return [0.0]


def load(
    port: int,
    tapes: Sequence[Tape],
    count: int,
    processes: int | None = None,
    tolerance: float | None = None,
    host: str = "127.0.0.1",
    told: Callable[[float], None] = lambda seconds: None,
    closed: bool = False,
) -> Played:
    """``play`` in processes of their own, that share a number of streams; ``told`` hears of the seconds of
    the tapes that the first one has played."""
    processes = processes or -(-count // STREAMS_OF_A_PROCESS)
    begin = time.monotonic() + 0.5 + 2 * count / processes / OPENED_A_SECOND
    parts = [range(first, count, processes) for first in range(processes)]
    # Forked, so that the tapes are in memory once.
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe() for _ in parts]
    workers = [
        context.Process(target=_work, args=(there, port, tapes, part, begin, tolerance, host, closed))
        for part, (_, there) in zip(parts, pipes)
    ]
    for worker in workers:
        worker.start()
    total = Played()
    for here, _ in pipes:
        while not isinstance(message := here.recv(), Played):
            if isinstance(message, BaseException):
                raise message
            told(message)
        total += message
    for worker in workers:
        worker.join()
    return total


def _work(pipe, port, tapes, streams, begin, tolerance, host, closed) -> None:
    def told(seconds: float) -> None:
        if streams[0] == 0:
            pipe.send(seconds)

    try:
        with asyncio.Runner(loop_factory=_loop()) as runner:
            pipe.send(runner.run(play(port, tapes, streams, begin, tolerance, host, told, closed)))
    except Exception as error:
        pipe.send(error)


def _loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
