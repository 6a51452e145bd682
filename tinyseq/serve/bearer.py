"""Bearer tokens: who may ask for anything but health."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping

from tinyseq.serve.errors import UnauthorizedError

SUBPROTOCOL = "bearer."
"""What stands before a bearer token among the subprotocols of a browser, which cannot set headers."""


class Bearer:
    """The tokens of which a client must show one; without any, everybody may ask."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = [token.encode() for token in tokens]

    def check(self, headers: Mapping[str, str], subprotocols: tuple[str, ...] = ()) -> None:
        """Looks for a token in the header ``authorization`` and among subprotocols.

        Raises:
            UnauthorizedError: there is none, or none of the server's.
        """
        if not self._tokens:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        found = [given.strip()] if scheme.lower() == "bearer" else []
        found += [each[len(SUBPROTOCOL) :] for each in subprotocols if each.startswith(SUBPROTOCOL)]
        for each in found:
            if any([hmac.compare_digest(each.encode(), token) for token in self._tokens]):
                return
        raise UnauthorizedError("a bearer token of this server is needed: Authorization: Bearer TOKEN")
