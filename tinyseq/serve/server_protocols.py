"""HTTP inside uvicorn, with limits for connections, for what comes before the body, and for its time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyseq.serve.config import Limits

FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: %d\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


def http_class(limits: Limits) -> Any:
    """uvicorn's protocol class for HTTP, which keeps to limits that it does not have itself."""
    # Imported here: who only reads a configuration needs no uvicorn.
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    most = limits.header_bytes

    class HttpProtocol(HttpToolsProtocol):
        _head = 0
        _begun = False
        """Whether a request has begun and has not come whole."""
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.write(FULL % round(limits.retry_after))
                transport.close()
                return
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._whole()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            # Most requests come in one piece, and need no timer.
            if self._begun:
                self._wait()

        def on_message_begin(self) -> None:
            self._head, self._begun = 0, True
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._head += len(url)
            if self._head > most:
                self._refuse()
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._head += len(name) + len(value) + 4
            if self._head > most:
                self._refuse()
            super().on_header(name, value)

        def on_message_complete(self) -> None:
            self._whole()
            super().on_message_complete()

        def handle_websocket_upgrade(self) -> None:
            self._whole()
            super().handle_websocket_upgrade()

        def send_400_response(self, msg: str) -> None:
            if not self.transport.is_closing():
                super().send_400_response(msg)

        def _refuse(self) -> None:
            raise ValueError(f"the address and the headers have {most} bytes at the most")

        def _wait(self) -> None:
            """From now on, a request must come whole in time."""
            if self._timer is None and not self.transport.is_closing():
                self._timer = self.loop.call_later(limits.request_seconds, self._late)

        def _whole(self) -> None:
            self._begun = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _late(self) -> None:
            self._timer = None
            self.transport.close()

    return HttpProtocol
