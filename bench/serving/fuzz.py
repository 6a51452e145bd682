"""Fuzz of websockets: handshakes, frames and messages that are damaged, and what must come of them.

A server answers what it cannot read by a status or a code that closes, and goes on. Whatever is a cut without
a code, a code of a fault of its own, an answer that is no message of the protocol, or a trace in its log, is
a finding.
"""

from __future__ import annotations

import asyncio
import json
import random
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bench.serving.processes import resident_bytes
from bench.serving.stream import LiveStream
from bench.serving.tapes import HEADER, PATH, SAME, Tape
from bench.serving.websocket import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    ClosedError,
    RefusedError,
    Websocket,
    connect,
    frame,
    handshake,
)
from tests.serve.server import Server, serving, wait_until

CONFIG = "[limits]\nguard_ms = 1e6\n"
AT_ONCE = 8
CHECKED = 200
"""Cases after which a stream that is in order is compared with a lone one."""

GROWTH = 16 * 2**20
"""Bytes by which the server may grow, the first tenth of the cases left out."""

STATUSES = {400, 401, 404, 405, 408, 413, 414, 426, 431}
CODES = {1000, 1002, 1003, 1007, 1008, 1009}
TYPES = {"ready", "outputs", "state", "error", "reset", "finished"}

Case = Callable[["Chance"], "list[bytes]"]
"""Makes what is sent behind a handshake, in pieces."""


class Chance(random.Random):
    """What is drawn."""

    def damaged(self, data: bytes) -> bytes:
        """Bytes of which some are others, missing, or there twice."""
        found = bytearray(data)
        for _ in range(self.choice((1, 1, 2, 5))):
            at = self.randrange(len(found) + 1)
            size = self.choice((1, 1, 4, 20))
            kind = self.randrange(5)
            if kind == 0:
                found[at : at + size] = self.randbytes(len(found[at : at + size]))
            elif kind == 1 and at < len(found):
                found[at] ^= 1 << self.randrange(8)
            elif kind == 2:
                del found[at : at + size]
            elif kind == 3:
                found[at:at] = self.randbytes(size)
            else:
                found[at:at] = found[at : at + size]
        return bytes(found)

    def value(self, depth: int = 0) -> Any:
        """A value of JSON that nobody expects."""
        plain = (
            None,
            True,
            False,
            0,
            -1,
            1,
            2**31,
            2**63,
            2**64,
            -(2**70),
            1.5,
            1e300,
            "",
            "x",
            "FP32",
            "\0",
            "é" * 40,
        )
        if depth < 3 and self.random() < 0.3:
            inner = [self.value(depth + 1) for _ in range(self.randrange(4))]
            return inner if self.random() < 0.5 else {f"k{place}": each for place, each in enumerate(inner)}
        return self.choice(plain)

    def changed(self, value: Any) -> Any:
        """A value of JSON, somewhere in it another."""
        if isinstance(value, dict) and value and self.random() < 0.85:
            key = self.choice(list(value))
            kind = self.randrange(6)
            if kind == 0:
                return {name: each for name, each in value.items() if name != key}
            if kind == 1:
                return {**value, self.choice(("data", "shape", "name", "x", "finish")): self.value()}
            return {**value, key: self.changed(value[key])}
        if isinstance(value, list) and value and self.random() < 0.85:
            place = self.randrange(len(value))
            return [*value[:place], self.changed(value[place]), *value[place + self.randrange(2) :]]
        return self.value()

    def split(self, data: bytes) -> list[bytes]:
        """Bytes in some pieces."""
        places = sorted(self.randrange(len(data) + 1) for _ in range(self.randrange(4)))
        return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)])]


TAPE = Tape(5, 60)
FINISH = frame(b'{"finish":true}', TEXT)
TEXT_CHUNK = {
    "inputs": [
        {"name": "input", "datatype": "FP32", "shape": [1, 576], "data": [0.25] * 576},
        {"name": "sr", "datatype": "INT64", "shape": [], "data": [16000]},
    ]
}


def frames_damaged(chance: Chance) -> list[bytes]:
    """Frames that were in order, as bytes."""
    whole = b"".join(
        chance.choice(
            (
                lambda: frame(TAPE.payload(chance.randrange(60), True)),
                lambda: frame(TAPE.payload(chance.randrange(60))),
                lambda: frame(json.dumps(TEXT_CHUNK).encode(), TEXT),
                lambda: frame(b'{"state":true}', TEXT),
                lambda: frame(b"ping", PING),
            )
        )()
        for _ in range(chance.randint(1, 4))
    )
    return chance.split(chance.damaged(whole))


def frames_invented(chance: Chance) -> list[bytes]:
    """Frames of any opcodes, bits and lengths."""
    found = []
    for _ in range(chance.randint(1, 6)):
        payload = chance.randbytes(chance.choice((0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 300, 70000)))
        opcode = (
            chance.randrange(16) if chance.random() < 0.5 else chance.choice((0, TEXT, BINARY, PING, CLOSE))
        )
        first = chance.choice((0x80, 0x80, 0x80, 0x00, 0x00, 0xC0, 0x90))
        made = bytearray(frame(payload, opcode, first))
        if chance.random() < 0.1:
            made[1] ^= 0x80
        if chance.random() < 0.05:
            made[1:2] = bytes((0x80 | 127,)) + chance.choice(
                (b"\xff" * 8, b"\0" * 8, struct.pack(">Q", 2**62))
            )
        found.append(bytes(made))
    return chance.split(b"".join(found))


def fragments(chance: Chance) -> list[bytes]:
    """A message in order, in fragments with other frames between them."""
    message = TAPE.payload(0, True) if chance.random() < 0.5 else json.dumps(TEXT_CHUNK).encode()
    opcode = chance.choice((TEXT, BINARY))
    pieces = chance.split(message)
    found = []
    for place, piece in enumerate(pieces):
        last = 0x80 if place == len(pieces) - 1 and chance.random() < 0.9 else 0
        found.append(frame(piece, 0 if place else opcode, last))
        if chance.random() < 0.3:
            found.append(frame(b"", chance.choice((PING, TEXT, 10))))
    return found


def closes(chance: Chance) -> list[bytes]:
    """Closes of any codes and reasons."""
    code = chance.choice((0, 1, 999, 1000, 1001, 1005, 1006, 1012, 1015, 2999, 3000, 4999, 5000, 65535))
    payload = struct.pack(">H", code) + chance.choice((b"", b"bye", b"\xff\xfe", b"x" * 123))
    return [frame(payload[: chance.choice((0, 1, 2, 200))], CLOSE), FINISH]


def texts(chance: Chance) -> list[bytes]:
    """Messages of JSON that are changed."""
    bases = (
        TEXT_CHUNK,
        {"state": True},
        {"reset": True},
        {"finish": True},
        {"resume": "AQ" * 50},
        {**TEXT_CHUNK, "finish": True},
    )
    found = []
    for _ in range(chance.randint(1, 4)):
        text = json.dumps(chance.changed(chance.choice(bases)))
        kind = chance.random()
        if kind < 0.1:
            text = chance.damaged(text.encode()).decode("latin-1")
        elif kind < 0.13:
            text = "[" * 100_000
        elif kind < 0.16:
            text = text.replace("0.25", chance.choice(("NaN", "Infinity", "1e999", "1" * 5000)), 1)
        found.append(frame(text.encode(), TEXT))
    return [*found, FINISH]


def headers(chance: Chance) -> list[bytes]:
    """Binary chunks whose headers are changed, or do not fit what follows."""
    header = json.loads(HEADER)
    found = []
    for _ in range(chance.randint(1, 4)):
        text = json.dumps(chance.changed(header)).encode()
        if chance.random() < 0.1:
            text = chance.damaged(text)
        length = len(text)
        if chance.random() < 0.1:
            length = chance.choice((0, 1, length - 1, length + 1, 2**31, 2**32 - 1))
        numbers = TAPE.payload(0)[4:]
        if chance.random() < 0.3:
            numbers = numbers[: chance.choice((0, 1, 3, 4, 2303))] or numbers * 2
        found.append(frame(length.to_bytes(4, "little") + text + numbers))
    return [*found, FINISH]


def chunks(chance: Chance) -> list[bytes]:
    """Chunks of wrong sizes and numbers that are none, among others that are in order."""
    found = [frame(TAPE.payload(0, True))]
    for _ in range(chance.randint(1, 8)):
        numbers = np.frombuffer(TAPE.payload(chance.randrange(60))[4:], np.float32).copy()
        kind = chance.randrange(4)
        if kind == 0:
            numbers[chance.randrange(576)] = chance.choice((np.nan, np.inf, -np.inf, 3e38, 1e-42))
        if kind == 1:
            numbers = numbers[: chance.randrange(576)]
        found.append(
            frame((SAME + numbers.tobytes())[: None if chance.random() < 0.9 else chance.randrange(4)])
        )
    return [*found, FINISH]


CASES: tuple[Case, ...] = (frames_damaged, frames_invented, fragments, closes, texts, headers, chunks)


def path_of(chance: Chance) -> tuple[str, dict[str, str]]:
    """An address and headers, mostly right."""
    if chance.random() < 0.9:
        return PATH, {}
    path = chance.choice(
        (
            PATH
            + chance.choice(
                ("?state_every=", "?state_every=nan", "?state_every=1e-9", "?a=%ff&&=", "?" + "x" * 3000)
            ),
            "/v2/models/"
            + chance.choice(("..", "%2e%2e%2fetc", "x" * 500, "%00", "silero_vad/versions/9"))
            + "/stream",
            "/" + chance.damaged(PATH.encode()).hex(),
        )
    )
    given = {"Sec-WebSocket-Protocol": chance.choice(("tinyseq.v1", "a, b,, c", ",", "bearer.x"))}
    return path, given


class Fuzz:
    """The server, and what was seen of it."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server, self.seed = server, seed
        self.seen: Counter[str] = Counter()
        self.findings: list[str] = []
        self.memory: list[int] = []

    async def case(self, number: int) -> None:
        """One case; its number and the seed tell what it sends."""
        chance = Chance(self.seed * 1_000_003 + number)
        kind = chance.choice((*CASES, self.opening))
        try:
            if kind == self.opening:
                outcome = await self.opening(chance)
            else:
                outcome = await self.conversation(chance, kind)
        except (AssertionError, TimeoutError, ValueError, ConnectionError) as error:
            outcome = "FINDING"
            self.findings.append(f"case {number} of seed {self.seed}, {kind.__name__}: {error!r}")
        self.seen[f"{kind.__name__}: {outcome}"] += 1

    async def conversation(self, chance: Chance, kind: Case) -> str:
        """Sends what a case makes, and hears how it ends."""
        path, given = path_of(chance)
        try:
            socket = await connect(self.server.port, path, given)
        except RefusedError as error:
            return self._status(error.status)
        ready = json.loads(await socket.receive())
        assert ready["type"] == "ready", ready
        pieces = kind(chance)
        closing = b"".join(pieces)
        for piece in pieces:
            if socket.code is not None or socket.transport.is_closing():
                break
            socket.write(piece)
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        ended = closing.endswith(FINISH)
        if not ended:
            await asyncio.sleep(0.02)
            socket.end()
        return await self._end(socket, ended)

    async def _end(self, socket: Websocket, ended: bool) -> str:
        """How the server ends a conversation, and whether what it says until then is of the protocol."""
        try:
            while True:
                message = await socket.receive()
                if isinstance(message, str):
                    told = json.loads(message)
                    assert told["type"] in TYPES, told
                    assert "Traceback" not in message and "0x7f" not in message, told
        except ClosedError as error:
            code = error.code
        allowed = CODES if ended else CODES | {1006}
        # A close is answered by its own code.
        echoed = not socket.reason and (3000 <= code < 5000 or code in (1001, 1005, 1012))
        assert code in allowed or echoed, f"closed with {code} {socket.reason}"
        return f"closed with {code}"

    async def opening(self, chance: Chance) -> str:
        """A handshake that is damaged."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            writer.write(chance.damaged(handshake(PATH)))
            writer.write_eof()
            async with asyncio.timeout(60):
                answer = await reader.read(4096)
        finally:
            writer.close()
        if not answer:
            return "ended"
        line = answer.split(b"\r\n")[0].split(b" ")
        return self._status(int(line[1]))

    def _status(self, status: int) -> str:
        assert status in STATUSES or status in (101, 200), f"answered with {status}"
        return f"status {status}"

    async def run(self, count: int) -> None:
        """All cases, some at once, and between them a stream that is in order."""
        with tqdm(total=count, desc="fuzz", disable=not sys.stderr.isatty()) as bar:
            for begin in range(0, count, CHECKED):
                numbers = range(begin, min(begin + CHECKED, count))
                many = asyncio.Semaphore(AT_ONCE)

                async def one(number: int, many: asyncio.Semaphore = many) -> None:
                    async with many:
                        await self.case(number)
                        bar.update()

                await asyncio.gather(*map(one, numbers))
                stream = await LiveStream.open(self.server.port, TAPE)
                stream.send(len(TAPE))
                await stream.finish()
                self.memory.append(resident_bytes(self.server.process.pid))
                bar.set_postfix(findings=len(self.findings))


def fuzz(folder: Path, count: int, seed: int) -> list[str]:
    """Sends a number of damaged conversations to a server of its own; prints what came of them, and gives
    what is wrong."""
    with serving(folder, config=CONFIG) as server:
        shared = Fuzz(server, seed)
        asyncio.run(shared.run(count))
        findings = shared.findings
        for name in ("tinyseq_streams_live", "tinyseq_connections", "tinyseq_queued_bytes"):
            try:
                wait_until(lambda name=name: server.metric(name) == 0, 20)
            except AssertionError:
                findings.append(f"{name} is {server.metric(name):g} after all clients have gone")
        written = server.output()
    before, after = shared.memory[len(shared.memory) // 10], shared.memory[-1]
    if after - before > GROWTH:
        findings.append(f"memory has grown from {before >> 20} to {after >> 20} MiB")
    if "Traceback" in written or "failed" in written:
        findings.append(f"the server's log:\n{written[-4000:]}")
    print(f"fuzz of {count} cases, seed {seed}: {before >> 20} MiB at first, {after >> 20} MiB at the end")
    for outcome, times in sorted(shared.seen.items()):
        print(f"{times:8} {outcome}")
    for finding in findings:
        print(f"FINDING {finding}")
    return findings
