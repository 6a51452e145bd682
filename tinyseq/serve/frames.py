"""What websockets are made of: the client's key, frames of all kinds, masks."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping

import numpy as np

from tinyseq.serve.errors import BadRequestError

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
LONGEST_CONTROL = 125

SHORT = {
    opcode: [bytes((0x80 | opcode, size)) for size in range(126)]
    for opcode in (TEXT, BINARY, CLOSE, PING, PONG)
}
"""Heads of frames with little in them."""

MIDDLE = bytes((0x80 | BINARY, 128 | 126))
"""How a client's frame begins that is a whole binary message whose length takes two bytes."""


GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_WORD = re.compile(rb"[A-Za-z0-9+/=]{22,28}")


def client_key(line: bytes, headers: Mapping[str, str]) -> bytes:
    """The client's key."""
    key = headers.get("sec-websocket-key", "").encode("latin-1")
    if not line.startswith(b"GET ") or not _WORD.fullmatch(key):
        raise BadRequestError("this is no handshake of a websocket: a GET with a Sec-WebSocket-Key is")
    if headers.get("sec-websocket-version") != "13":
        error = BadRequestError("websockets of version 13 are spoken here")
        error.status = 426
        raise error
    return key


def accepted(key: bytes) -> str:
    """What the server answers to a client's key."""
    return base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()


def may_close(code: int, payload: bytes) -> bool:
    """Whether a peer may close with a code, and with the reason behind it."""
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return False
    known = 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
    return len(payload) >= 2 and known


def short_reason(reason: str) -> bytes:
    """A reason as a frame of control takes it: cut behind a word where it is too long."""
    data, most = reason.encode(), LONGEST_CONTROL - 2
    if len(data) <= most:
        return data
    cut = data[: most - 3].decode(errors="ignore")
    return (cut.rpartition(" ")[0] or cut).encode() + b"..."


def _unmasked(data: bytes, body: int, end: int) -> bytes:
    """The payload of a frame, whose mask are the four bytes before it."""
    size = end - body
    if size < 4:
        return bytes(data[body + at] ^ data[body - 4 + at] for at in range(size))
    mask = np.frombuffer(data, np.uint32, 1, body - 4)
    whole = np.frombuffer(data, np.uint32, size >> 2, body) ^ mask
    rest = size & 3
    if not rest:
        return whole.tobytes()
    return whole.tobytes() + bytes(data[end - rest + at] ^ data[body - 4 + at] for at in range(rest))


def _unmasker() -> Callable[[bytes, int, int], bytes]:
    """``_unmasked``, or the same by the compiled code of the websockets package."""
    try:
        from websockets.speedups import apply_mask
    except ImportError:
        return _unmasked
    return lambda data, body, end: apply_mask(data[body:end], data[body - 4 : body])


unmasked = _unmasker()
