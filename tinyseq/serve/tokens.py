"""State tokens: what a client holds of its stream, signed, so that any worker can go on with it."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from typing import NamedTuple

from tinyseq.serve.errors import TokenError

VERSION = 1
SIGNATURE = 32

AROUND = 1024
"""Bytes that suffice for what a token holds beside the state, and a message beside the token."""


def message_bytes(state: int) -> int:
    """Bytes of a message that has the token of a state of so many bytes, or some more."""
    return (state + AROUND) * 4 // 3 + AROUND


class Token(NamedTuple):
    """What a token holds: whose stream it is (``kind`` names the protocol, ``model`` the fingerprint), after
    how many chunks, and the state as bytes."""

    kind: str
    model: str
    sequence: int
    state: bytes


class Tokens:
    """Makes and opens tokens. Workers that share a secret open each other's.

    Args:
        secret: what signs them, 16 bytes at least.
        seconds: how long a token is taken after it was made; 0 for ever.
    """

    def __init__(self, secret: bytes, seconds: float = 0) -> None:
        self._secret = secret
        self._seconds = seconds

    def make(self, token: Token) -> str:
        """A token as text: letters, digits, ``-`` and ``_``."""
        header = {"kind": token.kind, "model": token.model, "seq": token.sequence, "made": int(time.time())}
        text = json.dumps(header, separators=(",", ":")).encode()
        signed = bytes([VERSION]) + len(text).to_bytes(2, "little") + text + token.state
        return base64.urlsafe_b64encode(signed + self._signature(signed)).rstrip(b"=").decode()

    def open(self, text: str, kind: str, model: str) -> Token:
        """What a token holds.

        Raises:
            TokenError: it was not signed by this secret, is too old, or is of another protocol or model.
        """
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError, UnicodeEncodeError) as error:
            raise TokenError(f"the state token is no base64 of URLs: {error}") from error
        signed, signature = data[:-SIGNATURE], data[-SIGNATURE:]
        if len(signed) < 3 or not hmac.compare_digest(self._signature(signed), signature):
            raise TokenError(
                "the state token is damaged, or signed with another secret: give servers one --secret FILE"
            )
        if signed[0] != VERSION:
            raise TokenError(f"the state token is of version {signed[0]}; this server reads {VERSION}")
        length = int.from_bytes(signed[1:3], "little")
        header = json.loads(signed[3 : 3 + length])
        if header["kind"] != kind:
            raise TokenError(f"the state token is of a {header['kind']} stream, and this is a {kind} one")
        if header["model"] != model:
            raise TokenError(
                f"the state token is of another model ({header['model'][:12]}..., this one is "
                f"{model[:12]}...): start the stream anew"
            )
        if self._seconds and time.time() - header["made"] > self._seconds:
            raise TokenError(
                f"the state token is older than {self._seconds:g} seconds; start the stream anew"
            )
        return Token(kind, model, header["seq"], signed[3 + length :])

    def _signature(self, data: bytes) -> bytes:
        return hmac.digest(self._secret, data, "sha256")
