"""Origins: of whose pages browsers may open websockets here, and change things."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from tinyseq.common.text import shown
from tinyseq.serve.errors import OriginError

ANY = "*"
"""Stands for all origins."""

OPAQUE = "null"
"""The origin of a page from a file, or of one that does not tell."""

PORTS = {"http": 80, "https": 443}

PREFLIGHT = {
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "authorization, content-encoding, content-type, "
    "inference-header-content-length",
    "access-control-max-age": "600",
}
"""What a browser is told that asks first whether a page may send a request."""


class Origin(NamedTuple):
    """Whose a page is."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def of(cls, text: str) -> Origin | None:
        """That of ``https://host:port``; None if the text is none."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            return None
        other = parts.path or parts.query or parts.fragment or "@" in parts.netloc
        if not text.isascii() or not text.isprintable() or not parts.scheme or not parts.hostname or other:
            return None
        return cls(parts.scheme, parts.hostname, PORTS.get(parts.scheme) if port is None else port)


class Origins:
    """Which pages may ask. Programs that are no browsers send no origin, and may.

    A page may that the server itself gave: its origin is what it asks for. But who owns a name can let it
    stand for the address of this server, too, once a browser has their page (DNS rebinding). So that counts
    only where the name is no stranger's, or a stranger's page could do nothing by it.

    Args:
        allowed: origins that may beside, ``*`` for all.
        host: what the server listens at.
        guarded: whether what is asked for must show more than a name: a bearer token, or a certificate.
    """

    def __init__(self, allowed: Iterable[str], host: str, guarded: bool) -> None:
        texts = set(allowed)
        self._any = ANY in texts
        self._opaque = OPAQUE in texts
        self._allowed = {Origin.of(text) for text in texts} - {None}
        self._host = host.lower()
        self._guarded = guarded

    def lists(self, text: str) -> bool:
        """Whether an origin is one of those that the configuration has."""
        if self._any or text == OPAQUE:
            return self._any or self._opaque
        return bool(self._allowed) and Origin.of(text) in self._allowed

    def check(self, headers: Mapping[str, str]) -> None:
        """Looks at the header ``origin``, which browsers send.

        Raises:
            OriginError: the page may not ask.
        """
        text = headers.get("origin")
        if text is None or self.lists(text):
            return
        origin, asked = Origin.of(text), headers.get("host", "")
        same = origin is not None and origin == Origin.of(f"{origin.scheme}://{asked}")
        if origin is None or not same or not (self._guarded or self._is_own(origin.host)):
            why = (
                f", for {shown(origin.host)} may be a stranger's name for this server: neither tokens nor a "
                "certificate are asked for"
                if origin is not None and same
                else ""
            )
            raise OriginError(
                f"pages of {shown(text)} may not ask this server{why}; server.origins in serve.toml, or "
                "--origin, says which may"
            )

    def _is_own(self, host: str) -> bool:
        """Whether only this server goes by a name."""
        if host in ("localhost", self._host) or host.endswith(".localhost"):
            return True
        try:
            ip_address(host)
        except ValueError:
            return False
        return True

    def told(self, text: str) -> dict[str, str]:
        """The headers by which a browser lets a page of an origin read what is answered."""
        if not self.lists(text):
            return {}
        return {
            "access-control-allow-origin": ANY if self._any else text,
            "access-control-expose-headers": "inference-header-content-length, retry-after",
            "vary": "origin",
        }
