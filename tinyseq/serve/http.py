"""HTTP as the protocols see it: requests, responses and routes."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tinyseq.serve.errors import ServeError

if TYPE_CHECKING:
    pass


class Request(NamedTuple):
    """A request whose body has not been read. Header names are in small letters."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    client: str
    body: Callable[[], Awaitable[bytes]]
    """Reads it; raises TooLargeError beyond ``limits.body_bytes``. To be called once."""


class Response(NamedTuple):
    """An answer; the length of the body is told by the server. Several buffers are sent one after another."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}


Answer = Callable[..., Awaitable[Response]]
"""``answer(services, request, **groups)``: the groups are those that the pattern of the route names. A
ServeError that it raises is answered by its status."""


class Route(NamedTuple):
    """What answers a method at the paths that a pattern matches as a whole."""

    method: str
    pattern: re.Pattern[str]
    answer: Answer
    free: bool = False
    """Whether it is answered without a bearer token, as health is."""


def route(method: str, pattern: str, answer: Answer, free: bool = False) -> Route:
    """A route of a pattern such as ``/v2/models/(?P<name>[^/]+)``."""
    return Route(method, re.compile(pattern), answer, free)


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as JSON."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Response(status, body, "application/json", headers or {})


def refusal(error: ServeError) -> Response:
    """What answers a request that is refused."""
    headers = {} if error.retry_after is None else {"retry-after": str(max(1, round(error.retry_after)))}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return json_response({"error": str(error)}, error.status, headers)


STATUS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
"""Words for the statuses that a server refuses with."""
