"""A client of websockets that costs little: what it sends may be made before, and it is told of messages at
once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x5a\x17\xc3\x2e"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
PATIENCE = 60.0
"""Seconds for whatever a server is to answer; a busy machine takes its time."""


class RefusedError(Exception):
    """The server gave no websocket, but a status of HTTP."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"refused with {status}: {body[:200]!r}")
        self.status, self.headers, self.body = status, headers, body


class ClosedError(Exception):
    """The websocket is closed, and no message is left; 1006 where no close frame came."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with {code} {reason}")
        self.code, self.reason = code, reason


def frame(payload: bytes, opcode: int = BINARY, first: int = 0x80) -> bytes:
    """A frame as clients send it; ``first`` are the bits beside the opcode, 0x80 that of the last frame."""
    size = len(payload)
    if size < 126:
        head = bytes((first | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((first | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + MASK + masked(payload)


def masked(payload: bytes) -> bytes:
    """A payload under the mask."""
    mask = np.frombuffer(MASK * (len(payload) // 4 + 1), np.uint8)[: len(payload)]
    return (np.frombuffer(payload, np.uint8) ^ mask).tobytes()


def handshake(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """What asks for a websocket."""
    given = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


class Websocket(asyncio.Protocol):
    """The client's end. Messages go to ``received``, at first a queue that ``receive`` takes from.

    ``answers`` says whether pings and a close are answered, as they must be.
    """

    def __init__(self, path: str, headers: Mapping[str, str] | None = None, answers: bool = True) -> None:
        loop = asyncio.get_running_loop()
        self._asked = handshake(path, headers)
        self._answers = answers
        self.opened: asyncio.Future[None] = loop.create_future()
        self.code: int | None = None
        self.reason = ""
        self.received: Callable[[bytes | str], None] = self._queue
        self.lost: Callable[[], None] | None = None
        self._messages: deque[bytes | str] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._left = b""
        self._parts: list[bytes] = []
        self._open = False

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.write = self.transport.write
        self.write(self._asked)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.code is None:
            self.code = 1006
        if not self.opened.done():
            self.opened.set_exception(self._refusal(self._left))
            self.opened.exception()
        self._awake()
        if self.lost is not None:
            self.lost()

    def data_received(self, data: bytes) -> None:
        if self._left:
            data = self._left + data
        at = 0
        if not self._open:
            at = self._head(data)
            if not at:
                self._left = data
                return
        size = len(data)
        while size - at >= 2:
            first, length = data[at], data[at + 1]
            body = at + 2
            if length == 126:
                body = at + 4
                length = int.from_bytes(data[at + 2 : body], "big")
            elif length == 127:
                body = at + 10
                length = int.from_bytes(data[at + 2 : body], "big")
            end = body + length
            if size < end or size < body:
                break
            at = end
            if first == 0x82:
                self.received(data[body:end])
            else:
                self._other(first & 15, first & 0x80, data[body:end])
        self._left = data[at:]

    def _head(self, data: bytes) -> int:
        """Where the answer to the handshake ends; 0 if it is not there yet."""
        end = data.find(b"\r\n\r\n")
        if end < 0 or not data.startswith(b"HTTP/1.1 101"):
            return 0
        self._open = True
        self.opened.set_result(None)
        return end + 4

    def _refusal(self, data: bytes) -> Exception:
        head, _, body = data.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        parts = line.split(" ")
        if len(parts) < 2 or not parts[1].isdigit():
            return ClosedError(1006, "the connection ended before the handshake")
        named = (each.partition(":") for each in lines)
        return RefusedError(int(parts[1]), {name.lower(): value.strip() for name, _, value in named}, body)

    def _other(self, opcode: int, last: int, payload: bytes) -> None:
        if opcode == PING:
            if self._answers:
                self.write(frame(payload, PONG))
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self.reason = payload[2:].decode(errors="replace")
            if self._answers:
                self.write(frame(payload[:2], CLOSE))
                self.transport.close()
            self._awake()
        elif opcode == TEXT and last:
            self.received(payload.decode())
        elif opcode != PONG:
            raise ValueError(f"the server sent a frame of kind {opcode}, {'whole' if last else 'in parts'}")

    # What a client does

    def send(self, message: bytes | str) -> None:
        """Sends a message.

        Raises:
            ClosedError: there is nobody to send it to.
        """
        text = isinstance(message, str)
        self.send_frame(frame(message.encode(), TEXT) if text else frame(message))

    def send_frame(self, made: bytes) -> None:
        """Sends a frame that was made before; raises what ``send`` does."""
        if self.code is not None or self.transport.is_closing():
            raise ClosedError(self.code or 1006, self.reason)
        self.write(made)

    async def receive(self, seconds: float = PATIENCE) -> bytes | str:
        """The next message.

        Raises:
            ClosedError: there is none any more.
            TimeoutError: none has come.
        """
        async with asyncio.timeout(seconds):
            while not self._messages:
                if self.code is not None:
                    raise ClosedError(self.code, self.reason)
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        return self._messages.popleft()

    async def gone(self, seconds: float = PATIENCE) -> int:
        """The code by which the server closes, once it does; messages until then are dropped.

        Raises:
            TimeoutError: it does not close.
        """
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await self.receive(seconds)
                except ClosedError as error:
                    return error.code

    def close(self, code: int = 1000) -> None:
        """Says that it closes."""
        if self.code is None:
            self.write(frame(code.to_bytes(2, "big"), CLOSE))

    def end(self) -> None:
        """Sends nothing more, and still hears."""
        self._answers = False
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def abort(self) -> None:
        """Cuts the connection without a word."""
        self.transport.abort()

    def _queue(self, message: bytes | str) -> None:
        self._messages.append(message)
        self._awake()

    def _awake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


async def connect(
    port: int,
    path: str,
    headers: Mapping[str, str] | None = None,
    answers: bool = True,
    host: str = "127.0.0.1",
) -> Websocket:
    """A websocket that stands.

    Raises:
        RefusedError: the server answers by a status.
        ClosedError: the connection ends before.
        OSError: nobody listens there.
    """
    loop = asyncio.get_running_loop()
    _, made = await loop.create_connection(lambda: Websocket(path, headers, answers), host, port)
    try:
        async with asyncio.timeout(PATIENCE):
            await made.opened
    except TimeoutError:
        made.abort()
        raise
    return made
