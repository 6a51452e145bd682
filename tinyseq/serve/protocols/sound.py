"""What the protocols for sound share: a stream, how much of it waits, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import TinyseqError
from tinyseq.serve.errors import BadRequestError

if TYPE_CHECKING:
    from tinyseq.serve.connection import Connection
    from tinyseq.serve.services import Services
    from tinyseq.serve.speech.served import ServedSpeech, SpeechStream

ENDS = "the server ends, or serves this no more"

LEFT = (1000, 1001, 1005)
"""Codes by which clients take their leave."""


class SoundHandler:
    """One client's stream of sound. The stream is begun with the first sound, behind what is said of it."""

    subprotocol: str | None = None

    def __init__(self, services: Services, connection: Connection, served: ServedSpeech) -> None:
        services.admission.check()
        self._services, self._connection, self._served = services, connection, served
        self._most = services.config.limits.chunks_ahead
        self._stream: SpeechStream | None = None
        self._waiting = 0
        self._paused = False

    def opened(self) -> None:
        """Nothing is said before the client has spoken."""

    def _begin(self) -> SpeechStream:
        """The stream, made when it is first needed."""
        if self._stream is None:
            self._stream = self._made()
            self._stream.told_to_end = self.draining
        return self._stream

    def _made(self) -> SpeechStream:
        return self._served.open_stream()[0]

    def _hear(self, rate: float, samples: np.ndarray, done: Callable[[Any], None]) -> None:
        """Gives sound to the stream; reads no more while too much of it waits."""
        self._begin().hear(rate, samples, self._counted(done))
        self._waiting += 1
        if self._waiting >= self._most and not self._paused:
            self._paused = True
            self._connection.pause()

    def _end(self, rate: float, done: Callable[[Any], None]) -> None:
        self._begin().end(rate, self._counted(done))
        self._waiting += 1

    def _counted(self, done: Callable[[Any], None]) -> Callable[[Any], None]:
        def answered(result: Any) -> None:
            self._waiting -= 1
            done(result)
            if self._paused and self._waiting <= self._most // 2:
                self._paused = False
                self._connection.resume()

        return answered

    def _refused(self, error: TinyseqError) -> None:
        """A client that cannot be told of errors in any other way."""
        self._served.metrics.refused_chunks += 1
        self._leave("refused", 1007, str(error))

    def _leave(self, why: str, code: int, reason: str = "") -> None:
        if self._stream is not None:
            self._stream.close(why)
        self._connection.close(code, reason)

    def draining(self) -> None:
        """Says the last words to the client."""
        raise NotImplementedError

    def closed(self, code: int) -> None:
        """The client has gone."""
        if self._stream is not None:
            self._stream.close("left" if code in LEFT else f"code_{code}")


def floats(data: bytes) -> np.ndarray:
    """Samples float32, little endian.

    Raises:
        BadRequestError: they are not whole.
    """
    return _samples(data, "float32", "<f4", 4)


def whole_numbers(data: bytes) -> np.ndarray:
    """Samples int16, little endian.

    Raises:
        BadRequestError: they are not whole.
    """
    return _samples(data, "PCM16", "<i2", 2)


def _samples(data: bytes, what: str, dtype: str, size: int) -> np.ndarray:
    if len(data) % size:
        raise BadRequestError(
            f"a message of {len(data)} bytes is no sound in {what}, whose samples take {size} bytes"
        )
    return np.frombuffer(data, dtype)


def json_object(text: bytes | str) -> dict[str, Any]:
    """The JSON object of a message.

    Raises:
        BadRequestError: it is none.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"a message is no JSON: {error}") from error
    if not isinstance(message, dict):
        raise BadRequestError(f"a message is a JSON object, not {shown(message)}")
    return message


def dumped(message: Mapping[str, Any]) -> str:
    """A JSON object as text; its numbers are finite."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def number(value: float) -> float | None:
    """A number as JSON has it."""
    return value if isfinite(value) else None


def sample_rate(given: object) -> float:
    """A rate that sound can have.

    Raises:
        BadRequestError: it is none.
    """
    usual = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not usual or not 1000 <= given <= 1_000_000 or given != int(given):  # type: ignore[operator, call-overload]
        raise BadRequestError(f"sample_rate is a whole number of Hz from 1000 to 1000000, not {shown(given)}")
    return int(given)  # type: ignore[call-overload]


def hotwords(given: object) -> dict[str, float] | list[str]:
    """Words and phrases of a stream: a list, or an object with the weight of each.

    Raises:
        BadRequestError: it is none.
    """
    if isinstance(given, list) and all(isinstance(word, str) for word in given):
        return given
    if isinstance(given, dict) and all(
        isinstance(weight, (int, float)) and not isinstance(weight, bool) for weight in given.values()
    ):
        return {word: float(weight) for word, weight in given.items()}
    raise BadRequestError(
        f"hotwords are a list of texts, or an object from each to its weight, not {shown(given)}"
    )
