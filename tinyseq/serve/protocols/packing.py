"""Bodies of HTTP, packed and unpacked; never to more than is allowed."""

from __future__ import annotations

import zlib

from tinyseq.common.text import shown
from tinyseq.serve.errors import BadRequestError, ServeError, TooLargeError

WINDOW = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
"""What is packed and unpacked, and how zlib is told; "deflate" means zlib's format, as HTTP does."""

LEAST = 1024
"""Bytes below which packing costs more than it saves."""


class PackingError(ServeError):
    """A body is packed in a way that is not known here."""

    status = 415
    reason = "malformed"


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """A body that was sent with a header ``Content-Encoding``, unpacked to ``most`` bytes at the most.

    Raises:
        ServeError: the encoding is unknown, the body damaged or too large.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in WINDOW:
        raise PackingError(f"Content-Encoding {shown(encoding)} is not taken; use gzip or deflate, or none")
    unpacking = zlib.decompressobj(WINDOW[encoding])
    try:
        data = unpacking.decompress(body, most + 1)
    except zlib.error as error:
        raise BadRequestError(f"the body is no {encoding}: {error}") from error
    if len(data) > most:
        raise TooLargeError(
            f"the body is more than {most} bytes when it is unpacked (limits.body_bytes); send less at a time"
        )
    if not unpacking.eof:
        raise BadRequestError(f"the body is {encoding} that breaks off after {len(data)} bytes")
    if unpacking.unused_data:
        raise BadRequestError(f"{len(unpacking.unused_data)} bytes follow the body's {encoding}")
    return data


def accepted(header: str) -> str:
    """The packing that a header ``Accept-Encoding`` prefers of those known here; empty for none."""
    if not header or header == "identity":
        return ""
    best, found = 0.0, ""
    for part in header.split(","):
        name, _, rest = part.partition(";")
        name = name.strip().lower()
        weight = _weight(rest)
        if name in WINDOW and weight > best:
            best, found = weight, name
    return found


def packed(body: bytes, encoding: str) -> bytes:
    """A body, packed."""
    packing = zlib.compressobj(1, zlib.DEFLATED, WINDOW[encoding])
    return packing.compress(body) + packing.flush()


def _weight(text: str) -> float:
    key, _, value = text.partition("=")
    if key.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
