"""What a server refuses, and how it says so: by a status of HTTP, or by a code that closes a websocket."""

from __future__ import annotations

from collections.abc import Iterable

from tinyseq.errors import TinyseqError


class ServeError(TinyseqError):
    """A request or a stream is refused. ``status`` is what HTTP answers, ``close_code`` what a websocket is
    closed with, ``reason`` a word for metrics, ``retry_after`` seconds after which it may be tried again."""

    status = 400
    close_code = 1008
    reason = "refused"
    retry_after: float | None = None


class BadRequestError(ServeError):
    """A request cannot be read, or does not fit the model."""

    reason = "malformed"
    close_code = 1007


class UnauthorizedError(ServeError):
    """A bearer token is missing or is another."""

    status = 401
    reason = "unauthorized"


class OriginError(ServeError):
    """A page of another origin asks, which the server was not told to let."""

    status = 403
    reason = "origin"


class UnknownModelError(ServeError):
    """No model of that name and version is served."""

    status = 404
    reason = "unknown"


class UnknownPathError(ServeError):
    """Nothing is at this address, or not for this method."""

    status = 404
    reason = "unknown"

    def __init__(self, message: str, allowed: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.allowed = sorted(allowed)
        """The methods that there are, if only the method is wrong."""
        self.status = 405 if self.allowed else 404


class TooLargeError(ServeError):
    """A message or a body is larger than the limit."""

    status = 413
    close_code = 1009
    reason = "too_large"


class FullError(ServeError):
    """A limit of the server is reached; it may be tried again after ``retry_after`` seconds."""

    status = 503
    close_code = 1013
    reason = "full"

    def __init__(self, message: str, retry_after: float, reason: str = "full") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.reason = reason


class DrainingError(FullError):
    """The server ends, or the model is being replaced: another one will answer."""

    close_code = 1001

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message, retry_after, "draining")


class TokenError(ServeError):
    """A state token was not made by this server or its kin, is damaged or of another model."""

    reason = "token"
    close_code = 1008
