"""Websockets inside uvicorn: a protocol class of its own, which reads frames and tells a Handler of messages.

It speaks RFC 6455 without extensions. Nothing on the way of a message is awaited, copied twice or put in a
queue; that is what a live stream of small chunks costs in other implementations.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from tinyseq.errors import TinyseqError
from tinyseq.serve.errors import BadRequestError, ServeError
from tinyseq.serve.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    LONGEST_CONTROL,
    MIDDLE,
    PING,
    PONG,
    SHORT,
    TEXT,
    accepted,
    client_key,
    may_close,
    short_reason,
    unmasked,
)
from tinyseq.serve.http import STATUS, refusal

if TYPE_CHECKING:
    from tinyseq.serve.asgi import App
    from tinyseq.serve.connection import Handler

log = logging.getLogger("tinyseq.serve")

CLOSING_SECONDS = 5.0
"""For the peer to answer a close; then the connection is cut."""

OPENING, OPEN, CLOSING, GONE = range(4)


def protocol_class(app: App) -> type[WebsocketProtocol]:
    """The class for ``uvicorn.Config(ws=...)`` that serves an app."""
    return type("WebsocketProtocol", (WebsocketProtocol,), {"app": app})


class WebsocketProtocol(asyncio.Protocol):
    """One websocket: a Connection, whose Handler the app makes when the client has asked for it."""

    app: App

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        self._server = server_state
        self._loop = asyncio.get_running_loop()
        self._services = self.app.services
        self._metrics = self._services.metrics
        self._longest = self._services.config.limits.message_bytes
        self._unsent = self._services.config.limits.unsent_bytes
        self._largest = 0
        self._state = OPENING
        self._handler: Handler | None = None
        self._receive: Any = None
        self._paused = False
        self._left: bytes | bytearray = b""
        self._missing = 0
        self._parts: list[bytes] = []
        self._parts_size = 0
        self._kind = 0
        self._cut: asyncio.TimerHandle | None = None
        self.heard = self.spoke = monotonic()
        self.pinged = 0.0
        self.path = ""
        self.query: Mapping[str, str] = {}
        self.headers: Mapping[str, str] = {}
        self.subprotocols: tuple[str, ...] = ()
        self.client = ""

    # What uvicorn and the event loop call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._write = self._transport.write
        peer = transport.get_extra_info("peername")
        self.client = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""
        transport.set_write_buffer_limits(high=self._unsent)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        if self._cut is not None:
            self._cut.cancel()
        self._gone(1006)
        self._state = GONE
        self._left = b""

    def eof_received(self) -> None:
        pass

    def pause_writing(self) -> None:
        if self._state == OPEN:
            self.close(1013, "messages are not read as fast as they come")

    def resume_writing(self) -> None:
        pass

    def shutdown(self) -> None:
        """The server ends: whoever has not gone by now is cut off."""
        if self._state == OPEN:
            self.close(1001, "the server ends")
        elif self._state == OPENING:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._state == OPENING:
            self._handshake(data)
            return
        self.heard = monotonic()
        self._metrics.received_bytes += len(data)
        left = self._left
        if left:
            if self._missing > len(data):
                self._missing -= len(data)
                left += data
            else:
                self._read(bytes(left) + data)
        elif data[:2] == MIDDLE and self._state == OPEN and not self._kind and not self._paused:
            # A whole message of 126 to 65535 bytes, as most are.
            size = (data[2] << 8) | data[3] if len(data) > 7 else 0
            if len(data) == size + 8 and size <= self._longest:
                self._deliver(unmasked(data, 8, size + 8))
            else:
                self._read(data)
        else:
            self._read(data)

    # The handshake

    def _handshake(self, data: bytes) -> None:
        line, _, rest = data.partition(b"\r\n")
        target = line.split(b" ")[1].decode("latin-1")
        raw_path, _, query = target.partition("?")
        self.path, self.query = unquote(raw_path), dict(parse_qsl(query, keep_blank_values=True))
        headers: dict[str, str] = {}
        for each in rest.decode("latin-1").split("\r\n"):
            name, colon, value = each.partition(":")
            if colon:
                name, value = name.strip().lower(), value.strip()
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self.headers = headers
        offered = headers.get("sec-websocket-protocol", "")
        self.subprotocols = tuple(each.strip() for each in offered.split(",") if each.strip())
        try:
            key = client_key(line, headers)
            self._handler = handler = self.app.handler(self)
        except TinyseqError as error:
            self._refuse(error if isinstance(error, ServeError) else BadRequestError(str(error)))
            return
        self._receive = handler.received
        chosen = handler.subprotocol
        extra = "" if chosen is None else f"Sec-WebSocket-Protocol: {chosen}\r\n"
        self._write(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accepted(key)}\r\n{extra}\r\n".encode()
        )
        self._state = OPEN
        self._services.connections.add(self)
        self._metrics.connections += 1
        self._guarded(handler.opened)

    def _refuse(self, error: ServeError) -> None:
        self._metrics.refused[error.reason] += 1
        answer = refusal(error)
        headers = {
            "content-type": answer.content_type,
            "content-length": str(len(answer.body)),
            "connection": "close",
            **({"sec-websocket-version": "13"} if answer.status == 426 else {}),
            **answer.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        status = STATUS.get(answer.status, "")
        self._write(f"HTTP/1.1 {answer.status} {status}\r\n{lines}\r\n".encode() + answer.body)
        self._state = GONE
        self._transport.close()

    # Frames

    def _read(self, data: bytes) -> None:
        """Takes the frames in some bytes; what is left waits for more, or for ``resume``."""
        at, size = 0, len(data)
        self._missing = 0
        while size - at >= 2 and not self._paused and self._state < GONE:
            first, second = data[at], data[at + 1]
            length = second & 127
            body = at + 6
            if length == 126:
                body = at + 8
                if size < body:
                    break
                length = (data[at + 2] << 8) | data[at + 3]
            elif length == 127:
                body = at + 14
                if size < body:
                    break
                length = int.from_bytes(data[at + 2 : at + 10], "big")
            if first & 0x70 or not second & 128:
                self._fail(1002, "frames are masked and have no extensions")
                return
            if length + self._parts_size > self._longest:
                self._metrics.refused["too_large"] += 1
                self._fail(1009, f"a message has {self._longest} bytes at the most")
                return
            end = body + length
            if size < end:
                self._missing = end - size
                break
            payload = unmasked(data, body, end)
            at = end
            if first == 0x82 and not self._kind:
                self._deliver(payload)
            else:
                self._frame(first & 15, first & 128, payload)
        if self._state < GONE:
            self._left = b"" if at == size else bytearray(data[at:])

    def _frame(self, opcode: int, last: int, payload: bytes) -> None:
        """A frame that is not a whole binary message."""
        if opcode >= CLOSE:
            self._control(opcode, last, payload)
            return
        if (opcode == CONTINUATION) != bool(self._kind) or opcode > BINARY:
            self._fail(1002, "this frame cannot stand here")
            return
        self._kind = self._kind or opcode
        self._parts.append(payload)
        self._parts_size += len(payload)
        if not last:
            return
        data = b"".join(self._parts)
        kind, self._kind, self._parts_size = self._kind, 0, 0
        self._parts.clear()
        if kind == BINARY:
            self._deliver(data)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self._fail(1007, "a text message is not UTF-8")
            return
        self._deliver(text)

    def _control(self, opcode: int, last: int, payload: bytes) -> None:
        if not last or len(payload) > LONGEST_CONTROL:
            self._fail(1002, "frames of control are short and whole")
        elif opcode == PING:
            self._send_frame(PONG, payload)
        elif opcode == CLOSE:
            self._closed_by_peer(payload)
        elif opcode != PONG:
            self._fail(1002, f"there is no frame of kind {opcode}")

    def _deliver(self, message: bytes | str) -> None:
        if self._state != OPEN:
            return
        self.spoke = self.heard
        try:
            self._receive(message)
        except ServeError as error:
            self._metrics.refused[error.reason] += 1
            self.close(error.close_code, str(error))
        except TinyseqError as error:
            self.close(1007, str(error))
        except Exception:
            log.exception("a message could not be handled")
            self.close(1011, "the server failed")

    # What a handler may do

    def allow(self, size: int) -> None:
        self._longest = max(self._services.config.limits.message_bytes, size)

    def send(self, data: bytes | str) -> None:
        if self._state != OPEN:
            return
        if type(data) is bytes and len(data) < 126:
            self._metrics.sent_bytes += len(data) + 2
            self._write(SHORT[BINARY][len(data)] + data)
        elif isinstance(data, str):
            self._send_frame(TEXT, data.encode())
        else:
            self._send_frame(BINARY, data)

    def _send_frame(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            frame = SHORT[opcode][size] + payload
        elif size < 65536:
            frame = bytes((0x80 | opcode, 126, size >> 8, size & 255)) + payload
        else:
            frame = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload
            if size > self._largest:
                # What may wait does not count a message that is larger than that by itself.
                self._largest = size
                self._transport.set_write_buffer_limits(high=self._unsent + size)
        self._metrics.sent_bytes += len(frame)
        self._write(frame)

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self._state != OPEN:
            return
        self._state = CLOSING
        self._send_frame(CLOSE, code.to_bytes(2, "big") + short_reason(reason))
        self._paused = False
        self._transport.resume_reading()
        self._cut = self._loop.call_later(CLOSING_SECONDS, self._transport.abort)
        self._loop.call_soon(self._go_on)
        self._loop.call_soon(self._gone, code)

    def pause(self) -> None:
        if not self._paused and self._state == OPEN:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Takes the frames that came before the pause."""
        if not self._paused and self._left and self._state != GONE:
            self._read(bytes(self._left))

    # The end

    def _fail(self, code: int, reason: str) -> None:
        """The peer does not keep to the protocol: nothing more is read."""
        self.close(code, reason)
        self._state = GONE
        self._left = b""
        self._transport.close()

    def _closed_by_peer(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        if payload and not may_close(code, payload):
            self._fail(1002, "no close has this code, or its reason is not UTF-8")
            return
        if self._state == OPEN:
            self._send_frame(CLOSE, payload[:2])
        self._gone(code)
        self._state = GONE
        self._transport.close()

    def _gone(self, code: int) -> None:
        """Tells the handler, once."""
        handler, self._handler = self._handler, None
        if handler is not None and self in self._services.connections:
            self._services.connections.discard(self)
            self._metrics.connections -= 1
            self._guarded(lambda: handler.closed(code))

    def _guarded(self, call: Any) -> None:
        try:
            call()
        except TinyseqError as error:
            self.close(getattr(error, "close_code", 1011), str(error))
        except Exception:
            log.exception("a websocket's handler failed")
            self.close(1011, "the server failed")

    # What the worker's clock calls

    def tick(self, now: float) -> None:
        """Pings a client that is still, and gives up one that does not answer, or sends nothing for long."""
        limits = self._services.config.limits
        if self._state != OPEN:
            return
        if self.pinged > self.heard and now - self.pinged > limits.pong_seconds:
            self._metrics.refused["half_open"] += 1
            self._gone(1006)
            self._transport.abort()
        elif now - self.spoke > limits.idle_seconds:
            self.close(1001, f"no message for {limits.idle_seconds:g} seconds")
        elif now - max(self.heard, self.pinged) > limits.ping_seconds and self.pinged <= self.heard:
            self.pinged = now
            self._send_frame(PING, b"")
        if self._paused:
            self.heard = now

    def drain(self) -> None:
        """The server ends: the handler says its last words."""
        if self._handler is not None and self._state == OPEN:
            self._guarded(self._handler.draining)
