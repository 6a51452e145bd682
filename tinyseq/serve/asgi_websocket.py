"""Websockets by ASGI: the same handlers behind any server, where the own protocol class cannot be used."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from tinyseq.errors import TinyseqError
from tinyseq.serve.errors import BadRequestError, ServeError
from tinyseq.serve.frames import short_reason
from tinyseq.serve.http import refusal

if TYPE_CHECKING:
    from tinyseq.serve.asgi import App
    from tinyseq.serve.connection import Handler

log = logging.getLogger("tinyseq.serve")

Message = MutableMapping[str, Any]


class AsgiWebsocket:
    """A websocket that a server of ASGI holds: a Connection."""

    def __init__(
        self,
        app: App,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self._app, self._scope = app, scope
        self._receive, self._send = receive, send
        self._services = app.services
        self._limits = app.config.limits
        self._out: deque[Message] = deque()
        self._unsent = 0
        self._largest = 0
        self._longest = self._limits.message_bytes
        self._wake = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._closed = False
        self._code = 1006
        self._handler: Handler | None = None
        self._spoke = monotonic()
        client = scope.get("client")
        self.path = scope["path"]
        self.query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.subprotocols = tuple(scope.get("subprotocols") or ())
        self.client = f"{client[0]}:{client[1]}" if client else ""

    async def run(self) -> None:
        """Lives as long as the websocket does."""
        message = await self._receive()
        if message["type"] != "websocket.connect":
            return
        try:
            handler = self._handler = self._app.handler(self)
        except TinyseqError as error:
            await self._refuse(error if isinstance(error, ServeError) else BadRequestError(str(error)))
            return
        await self._send({"type": "websocket.accept", "subprotocol": handler.subprotocol})
        self._services.connections.add(self)
        self._services.metrics.connections += 1
        writer = asyncio.create_task(self._write())
        try:
            self._guarded(handler.opened)
            await self._read(handler)
        finally:
            self._services.connections.discard(self)
            self._services.metrics.connections -= 1
            self._closed = True
            handler.closed(self._code)
            self._wake.set()
            await asyncio.wait([writer], timeout=5)
            writer.cancel()

    async def _refuse(self, error: ServeError) -> None:
        self._services.metrics.refused[error.reason] += 1
        if "websocket.http.response" not in (self._scope.get("extensions") or {}):
            reason = short_reason(str(error)).decode()
            await self._send({"type": "websocket.close", "code": error.close_code, "reason": reason})
            return
        answer = refusal(error)
        headers = {"content-type": answer.content_type, **answer.headers}
        coded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "websocket.http.response.start", "status": answer.status, "headers": coded})
        await self._send({"type": "websocket.http.response.body", "body": answer.body})

    async def _read(self, handler: Handler) -> None:
        while not self._closed:
            await self._reading.wait()
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._code = message.get("code") or 1005
                return
            data = message.get("bytes")
            if data is None:
                data = message.get("text") or ""
            self._spoke = monotonic()
            self._services.metrics.received_bytes += len(data)
            if self._closed:
                return
            if len(data) > self._longest:
                self.close(1009, f"a message has {self._longest} bytes at the most")
                return
            self._guarded(lambda data=data: handler.received(data))

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except ServeError as error:
            self._services.metrics.refused[error.reason] += 1
            self.close(error.close_code, str(error))
        except TinyseqError as error:
            self.close(1007, str(error))
        except Exception:
            log.exception("a websocket's handler failed")
            self.close(1011, "the server failed")

    async def _write(self) -> None:
        while True:
            while self._out:
                message = self._out.popleft()
                self._unsent -= _size(message)
                try:
                    await self._send(message)
                except Exception:  # the server's own: the peer has gone
                    return
                if message["type"] == "websocket.close":
                    return
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()

    def allow(self, size: int) -> None:
        self._longest = max(self._limits.message_bytes, size)

    def send(self, data: bytes | str) -> None:
        if self._closed:
            return
        kind = "text" if isinstance(data, str) else "bytes"
        message = {"type": "websocket.send", kind: data}
        self._unsent += _size(message)
        # What may wait does not count a message that is larger than that by itself.
        self._largest = max(self._largest, _size(message))
        if self._unsent > self._limits.unsent_bytes + self._largest:
            self.close(1013, "messages are not read as fast as they come")
            return
        self._services.metrics.sent_bytes += _size(message)
        self._out.append(message)
        self._wake.set()

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self._closed:
            return
        self._closed, self._code = True, code
        told = short_reason(reason).decode()
        self._out.append({"type": "websocket.close", "code": code, "reason": told})
        self._wake.set()
        self._reading.set()

    def pause(self) -> None:
        self._reading.clear()

    def resume(self) -> None:
        self._reading.set()

    def tick(self, now: float) -> None:
        """Ends a websocket that has been silent for long; pings are the server's."""
        if now - self._spoke > self._limits.idle_seconds:
            self.close(1001, f"no message for {self._limits.idle_seconds:g} seconds")

    def drain(self) -> None:
        """The server ends: the handler says its last words."""
        if self._handler is not None:
            self._guarded(self._handler.draining)


def _size(message: Message) -> int:
    return len(message.get("bytes") or message.get("text") or b"")
