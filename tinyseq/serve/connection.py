"""Websockets as the protocols see them: a connection to speak by, and a handler that is told what comes.

Neither waits for anything: a handler is called in the thread of the event loop and returns at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tinyseq.serve.services import Services


_REASONS = {
    1002: "malformed",
    1006: "lost",
    1007: "malformed",
    1008: "refused",
    1009: "too_large",
    1011: "failed",
    1013: "slow",
}


def ended_reason(code: int) -> str:
    """A word for metrics that says why a websocket has ended: a few, whatever codes clients make up."""
    return _REASONS.get(code, "left")


class Connection(Protocol):
    """What a handler may do with a websocket, and what is known of it."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By name, in small letters."""
    subprotocols: tuple[str, ...]
    """What the client offers."""
    client: str
    """Address and port, for the log."""

    def allow(self, size: int) -> None:
        """Lets a message have so many bytes from now on, and never fewer than ``limits.message_bytes``."""

    def send(self, data: bytes | str) -> None:
        """Sends a message. Nothing happens once the connection is closed."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Closes the connection, behind what was sent. ``Handler.closed`` is called later, once."""

    def pause(self) -> None:
        """Reads no more for now: what the client sends stays in the network."""

    def resume(self) -> None:
        """Reads again."""


class Handler(Protocol):
    """One end of a websocket, made when a client asks for it: what its maker raises as a ServeError refuses
    the client before the connection stands, by a status of HTTP."""

    subprotocol: str | None
    """What is chosen of that which the client offers."""

    def opened(self) -> None:
        """The connection stands."""

    def received(self, data: bytes | str) -> None:
        """A whole message has come. A ServeError that this raises closes the connection by its code."""

    def closed(self, code: int) -> None:
        """The connection is gone: nothing can be sent any more. Called once, and after ``opened`` only."""

    def draining(self) -> None:
        """The server ends: what the client needs to go on elsewhere is sent, then ``close(1001)`` called,
        now or soon."""


HandlerMaker = Callable[["Services", Connection], Handler]
