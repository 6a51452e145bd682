"""The soak: clients that join, leave, stall, flood and send garbage, and what must hold all the while."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import numpy as np
from tqdm import tqdm

from bench.serving.processes import resident_bytes, workers
from bench.serving.stream import DifferentError, LiveStream
from bench.serving.tapes import PATH, SAME, Tape
from bench.serving.websocket import PATIENCE, ClosedError, RefusedError, connect, handshake
from tests.serve.server import Server, serving, wait_until

CONFIG = """
[limits]
streams = 64
ping_seconds = 2
pong_seconds = 4
unsent_bytes = 65536
guard_ms = 1e6
"""
"""So that each limit is met within a short soak."""

CHUNKS = 400
TAPES = 8
GROWTH = 8 * 2**20, 0.05
"""Bytes, and a share, by which a server may be larger at the end than it was after the first third."""

RESUMED = 2.0
"""Seconds in which a stream must go on after its worker was killed."""

Life = Callable[["Soak"], Awaitable[str]]


class Soak:
    """What the clients share: the server, tapes, chance, and what they have seen."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server, self.port = server, server.port
        self.random = random.Random(seed)
        self.tapes = [Tape(number, CHUNKS) for number in range(TAPES)]
        for tape in self.tapes:
            tape.frames, tape.outputs  # noqa: B018  # so that nobody waits for them later
        self.seen: Counter[str] = Counter()
        self.findings: list[str] = []
        self.memory: list[int] = []
        self.resumed: list[float] = []
        self.killed = -1e9
        """When a worker was killed last."""
        self.over = False

    def tape(self) -> Tape:
        """One of the tapes."""
        return self.random.choice(self.tapes)

    async def live(self, life: Life) -> None:
        """Leads a life again and again."""
        while not self.over:
            begin = time.monotonic()
            try:
                outcome = await life(self)
            except RefusedError as error:
                outcome = self._refused(error)
            except (ClosedError, ConnectionError) as error:
                outcome = f"{life.__name__}: cut off"
                if self.killed < begin - 1:
                    self.findings.append(f"{life.__name__}: {error}")
            except (DifferentError, TimeoutError, ValueError, KeyError, AssertionError) as error:
                outcome = f"{life.__name__}: wrong"
                self.findings.append(f"{life.__name__}: {error!r}")
            self.seen[outcome] += 1
            await asyncio.sleep(self.random.random() * 0.2)

    def _refused(self, error: RefusedError) -> str:
        if error.status != 503 or "retry-after" not in error.headers:
            self.findings.append(f"{error}, {dict(error.headers)}")
        return f"refused with {error.status}"


async def whole(soak: Soak) -> str:
    """A stream from its beginning to its end, at some pace."""
    stream = await LiveStream.open(soak.port, soak.tape())
    await _play(soak, stream, soak.random.randint(1, 120))
    await stream.finish()
    return "finished"


async def _play(soak: Soak, stream: LiveStream, count: int) -> None:
    pause = soak.random.choice((0.0, 0.005, 0.032))
    for _ in range(min(count, CHUNKS - stream.sent)):
        stream.send()
        if soak.random.random() < 0.9:
            await stream.hear_all()
        await asyncio.sleep(pause)
    await stream.hear_all()


async def leaves(soak: Soak) -> str:
    """A client that leaves in mid-stream, by a close or without a word."""
    stream = await LiveStream.open(soak.port, soak.tape())
    await _play(soak, stream, soak.random.randint(0, 40))
    stream.send(soak.random.randint(0, 20))
    if soak.random.random() < 0.5:
        stream.socket.abort()
        return "cut its connection"
    stream.socket.close()
    await stream.socket.gone()
    return "left"


async def resumes(soak: Soak) -> str:
    """A client that loses its connection, and goes on elsewhere from its last token."""
    tape = soak.tape()
    stream = await LiveStream.open(soak.port, tape)
    token = await stream.token()
    until = soak.random.randint(60, 200)
    while stream.heard < until:
        try:
            await _play(soak, stream, 20)
            token = await stream.token()
            stream.send(soak.random.randint(0, 10))
            if soak.random.random() < 0.3:
                stream.socket.abort()
                raise ClosedError(1006, "cut")
            await stream.hear_all()
        except (ClosedError, ConnectionError):
            stream = await _again(soak, tape, token)
            soak.seen["resumed"] += 1
    await stream.finish()
    return "finished after resuming"


async def _again(soak: Soak, tape: Tape, token: str) -> LiveStream:
    begin = time.monotonic()
    while True:
        try:
            stream = await LiveStream.open(soak.port, tape, token)
            if stream.sent < CHUNKS:
                stream.send()
                await stream.hear_all()
            soak.resumed.append(time.monotonic() - begin)
            return stream
        except RefusedError:
            # Full: that takes as long as others stay.
            begin = time.monotonic()
        except (ClosedError, ConnectionError):
            if time.monotonic() > begin + PATIENCE:
                raise
        await asyncio.sleep(0.05)


async def half_open(soak: Soak) -> str:
    """A client that is there no more, though nobody was told: it answers no ping."""
    stream = await LiveStream.open(soak.port, soak.tape(), answers=False)
    await _play(soak, stream, soak.random.randint(0, 5))
    await stream.socket.gone()
    return "half open, cut by the server"


async def unfinished(soak: Soak) -> str:
    """A client that never says what it wants as a whole."""
    asked = handshake(PATH)
    _, writer = await asyncio.open_connection("127.0.0.1", soak.port)
    writer.write(asked[: soak.random.randrange(len(asked))])
    await asyncio.sleep(soak.random.random())
    writer.transport.abort()
    return "gone before the handshake"


async def garbage(soak: Soak) -> str:
    """A client that sends noise instead of frames."""
    client = await connect(soak.port, PATH)
    client.write(soak.random.randbytes(soak.random.randint(1, 5000)))
    await asyncio.sleep(0.05)
    client.end()
    code = await client.gone()
    assert code in (1002, 1006, 1007, 1009), f"garbage was answered with {code}"
    return f"garbage, closed with {code}"


async def slow(soak: Soak) -> str:
    """A client that asks for much and reads nothing."""
    stream = await LiveStream.open(soak.port, soak.tape())
    transport = stream.socket.transport
    # Else the system may keep tens of megabytes for a client.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    transport.pause_reading()
    end = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end:
            for _ in range(20):
                stream.say(state=True)
            await asyncio.sleep(0.005)
    except ClosedError:
        return "read nothing, cut by the server"
    transport.abort()
    raise TimeoutError("a client that reads nothing was not cut off")


async def flood(soak: Soak) -> str:
    """A client that sends far more at once than is stepped."""
    stream = await LiveStream.open(soak.port, soak.tape())
    stream.send(soak.random.randint(100, CHUNKS))
    await stream.finish()
    return "flooded and finished"


async def faulty(soak: Soak) -> str:
    """A client whose chunks are refused now and then: the state is as if they had not been sent."""
    stream = await LiveStream.open(soak.port, soak.tape())
    errors = 0
    for _ in range(soak.random.randint(2, 30)):
        stream.send()
        if soak.random.random() < 0.3:
            numbers = np.frombuffer(stream.tape.payload(0)[4:], np.float32).copy()
            numbers[soak.random.randrange(len(numbers))] = np.nan
            stream.socket.send(SAME + numbers.tobytes())
            errors += 1
    stream.say(finish=True)
    told = []
    while not told or told[-1]["type"] != "finished":
        message = await stream.hear()
        if message is not None:
            told.append(message)
    assert [each["type"] for each in told[:-1]] == ["error"] * errors, f"NaN was answered with {told}"
    assert stream.heard == stream.sent, f"{stream.heard} of {stream.sent} chunks were answered"
    await stream.socket.gone()
    return "finished beside refused chunks"


async def crowd(soak: Soak) -> str:
    """Many clients at once, more than are taken."""
    opening = (LiveStream.open(soak.port, soak.tape()) for _ in range(60))
    made = await asyncio.gather(*opening, return_exceptions=True)
    refused = 0
    for each in made:
        if isinstance(each, RefusedError):
            soak._refused(each)
            refused += 1
        elif isinstance(each, BaseException):
            raise each
    for each in made:
        if isinstance(each, LiveStream):
            each.socket.abort()
    soak.seen["refused in a crowd"] += refused
    await asyncio.sleep(3)
    return "came as a crowd"


async def reset(soak: Soak) -> str:
    """A client that resets its connection with bytes still under way."""
    stream = await LiveStream.open(soak.port, soak.tape())
    stream.send(30)
    linger = struct.pack("ii", 1, 0)
    stream.socket.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.socket.abort()
    return "reset its connection"


LIVES: tuple[tuple[Life, int], ...] = (
    (whole, 8),
    (leaves, 4),
    (resumes, 4),
    (half_open, 2),
    (unfinished, 2),
    (garbage, 2),
    (slow, 1),
    (flood, 2),
    (faulty, 2),
    (crowd, 1),
    (reset, 1),
)
"""Lives, and how many clients lead each."""


async def _kills(soak: Soak) -> None:
    """Kills a worker every few seconds."""
    while not soak.over:
        await asyncio.sleep(soak.random.uniform(3, 6))
        running = workers(soak.server.process.pid)
        if len(running) > 1 and not soak.over:
            soak.killed = time.monotonic()
            os.kill(soak.random.choice(running), signal.SIGKILL)
            soak.seen["workers killed"] += 1


async def _watch(soak: Soak, seconds: float) -> None:
    """Looks at the memory, and ends the lives when it is time."""
    begin = time.monotonic()
    with tqdm(total=round(seconds), desc="soak", unit="s", disable=not sys.stderr.isatty()) as bar:
        while (passed := time.monotonic() - begin) < seconds:
            soak.memory.append(resident_bytes(soak.server.process.pid))
            bar.update(int(passed) - bar.n)
            bar.set_postfix(ended=sum(soak.seen.values()), findings=len(soak.findings))
            await asyncio.sleep(0.5)
    soak.over = True


async def _live(soak: Soak, seconds: float, kills: bool) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_watch(soak, seconds))
        if kills:
            tasks.create_task(_kills(soak))
        for life, count in LIVES:
            for _ in range(count):
                tasks.create_task(soak.live(life))


def soak(folder: Path, seconds: float, seed: int, count: int = 1) -> list[str]:
    """Lets clients live for a time with a server of its own; prints what happened, and gives what is wrong.

    With several workers, ``count``, one of them is killed now and then.
    """
    arguments = ["--workers", count] if count > 1 else []
    with serving(folder, *arguments, config=CONFIG) as server:
        shared = Soak(server, seed)
        asyncio.run(_live(shared, seconds, count > 1))
        findings = shared.findings + _after(shared, count)
    memory = [round(each / 2**20) for each in (_third(shared.memory), _end(shared.memory))]
    print(f"soak of {seconds:g} s, seed {seed}: {memory[0]} MiB after a third, {memory[1]} MiB at the end")
    if shared.resumed:
        p50, p99 = np.percentile(shared.resumed, [50, 99])
        print(f"resumed {len(shared.resumed)} times, in {p50 * 1000:.0f} ms (p50), {p99 * 1000:.0f} ms (p99)")
    for outcome, count in sorted(shared.seen.items()):
        print(f"{count:8} {outcome}")
    for finding in findings:
        print(f"FINDING {finding}")
    return findings


def _after(shared: Soak, count: int) -> list[str]:
    """What is wrong when all clients have gone."""
    server = shared.server
    found = []
    for name in ("tinyseq_streams_live", "tinyseq_connections", "tinyseq_queued_bytes"):
        try:
            wait_until(lambda name=name: server.metric(name) == 0, 20)
        except AssertionError:
            found.append(f"{name} is {server.metric(name):g} after all clients have gone")
    if count == 1 and grown(shared.memory):
        found.append(f"memory has grown: {[round(each / 2**20) for each in shared.memory]} MiB")
    written = server.output()
    if "Traceback" in written or found or shared.findings:
        found.append(f"the server's log:\n{written[-4000:]}")
    return found


def grown(memory: list[int]) -> bool:
    """Whether a server is larger at the end than it was after the first third."""
    before, after = _third(memory), _end(memory)
    return after - before > max(GROWTH[0], GROWTH[1] * before)


def _third(memory: list[int]) -> float:
    third = len(memory) // 3
    return median(memory[third : third + max(3, len(memory) // 10)])


def _end(memory: list[int]) -> float:
    return median(memory[-max(3, len(memory) // 10) :])
