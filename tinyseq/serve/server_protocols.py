"""HTTP inside uvicorn, with a limit for what comes before the body."""

from __future__ import annotations

from typing import Any


def http_class(most: int) -> Any:
    """uvicorn's protocol class for HTTP, which refuses addresses and headers of more bytes than ``most``."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class HttpProtocol(HttpToolsProtocol):
        _head = 0

        def on_message_begin(self) -> None:
            self._head = 0
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._count(len(url))
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._count(len(name) + len(value) + 4)
            super().on_header(name, value)

        def _count(self, size: int) -> None:
            self._head += size
            if self._head > most:
                raise ValueError(f"the address and the headers have {most} bytes at the most")

        def send_400_response(self, msg: str) -> None:
            if self.transport.is_closing():
                return
            super().send_400_response(msg)

    return HttpProtocol
