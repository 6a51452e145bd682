"""The soak: clients that join, leave, stall, flood and send garbage, and what must hold all the while."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median

import numpy as np
from tqdm import tqdm

from bench.serving.lives import CHUNKS, LIVES, Life
from bench.serving.processes import resident_bytes, workers
from bench.serving.stream import DifferentError
from bench.serving.tapes import Tape
from bench.serving.websocket import ClosedError, RefusedError
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

TAPES = 8
GROWTH = 8 * 2**20, 0.05
"""Bytes, and a share, by which a server may be larger at the end than it was after the first third."""

RESUMED = 2.0
"""Seconds in which a stream must go on after its worker was killed."""

ALIVE = 1.0
"""Seconds in which 99 of 100 requests for health are answered, on a busy machine too."""


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
        self.answered: list[float] = []
        """Seconds that the server took to say that it lives."""
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
                outcome = self.refused(error)
            except (ClosedError, ConnectionError) as error:
                outcome = f"{life.__name__}: cut off"
                if self.killed < begin - 1:
                    self.findings.append(f"{life.__name__}: {error}")
            except (DifferentError, TimeoutError, ValueError, KeyError, AssertionError) as error:
                outcome = f"{life.__name__}: wrong"
                self.findings.append(f"{life.__name__}: {error!r}")
            self.seen[outcome] += 1
            await asyncio.sleep(self.random.random() * 0.2)

    def refused(self, error: RefusedError) -> str:
        if error.status != 503 or "retry-after" not in error.headers:
            self.findings.append(f"{error}, {dict(error.headers)}")
        return f"refused with {error.status}"


async def _kills(soak: Soak) -> None:
    """Kills a worker every few seconds."""
    while not soak.over:
        await asyncio.sleep(soak.random.uniform(3, 6))
        running = workers(soak.server.process.pid)
        if len(running) > 1 and not soak.over:
            soak.killed = time.monotonic()
            os.kill(soak.random.choice(running), signal.SIGKILL)
            soak.seen["workers killed"] += 1


async def _ask(soak: Soak) -> None:
    """Asks the server all the while whether it lives: no client may keep it from the others."""
    asked = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    while not soak.over:
        begin = time.monotonic()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", soak.port)
            writer.write(asked)
            await reader.read()
            writer.close()
            soak.answered.append(time.monotonic() - begin)
        except OSError:
            if soak.killed < begin - 1:
                soak.findings.append("the server did not say that it lives")
        await asyncio.sleep(0.1)


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
        tasks.create_task(_ask(soak))
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
    p50, p99 = np.percentile(shared.answered, [50, 99]) * 1000
    print(f"it lives, it said in {p50:.0f} ms (p50), {p99:.0f} ms (p99), {max(shared.answered):.1f} s (most)")
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
    if count == 1 and np.percentile(shared.answered, 99) > ALIVE:
        found.append(f"it took {max(shared.answered):.1f} s to say that it lives")
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
