"""tinyseq's own protocol for sound, as docs/serving-speech.md tells it: events and results as JSON."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import FeedError, StateError, TinyseqError
from tinyseq.serve.errors import BadRequestError, TokenError, TooLargeError
from tinyseq.serve.protocols.sound import (
    ENDS,
    SoundHandler,
    dumped,
    floats,
    hotwords,
    json_object,
    number,
    sample_rate,
    whole_numbers,
)
from tinyseq.serve.speech.served import SpeechStream
from tinyseq.serve.speech.steps import Heard, Noticed
from tinyseq.serve.tokens import Token
from tinyseq.speech.result import RecognizerResult

if TYPE_CHECKING:
    from tinyseq.serve.connection import Connection
    from tinyseq.serve.services import Services
    from tinyseq.serve.speech.served import ServedSpeech

KIND = "speech"
"""Of tokens."""

SUBPROTOCOL = "tinyseq.v1"

FORMATS = {"f32le": floats, "s16le": whole_numbers}
"""What binary messages hold."""

SETTINGS = ("sample_rate", "format", "hotwords", "probability", "state_every")
CONTROL = ("state", "finish", "resume", "start")


class VoiceHandler(SoundHandler):
    """One client's stream of a recogniser or a voice detector."""

    def __init__(self, services: Services, connection: Connection, served: ServedSpeech) -> None:
        super().__init__(services, connection, served)
        self.subprotocol = SUBPROTOCOL if SUBPROTOCOL in connection.subprotocols else None
        self._settings: dict[str, Any] = {
            "sample_rate": served.sample_rate,
            "format": "f32le",
            "hotwords": [],
            "probability": False,
            "state_every": 0,
        }
        self._resumed: bytes | None = None
        self._sequence = 0
        self._answered = 0
        self._next_state = 0.0
        self._utterance = 0
        self._said: tuple[str | None, str | None] | None = None
        self._ends = False

    def opened(self) -> None:
        self._connection.allow(self._served.token_bytes)
        self._ready()

    def _ready(self) -> None:
        served = self._served
        self._say(
            type="ready",
            name=served.name,
            kind=served.kind,
            seq=self._answered,
            sample_rate=self._settings["sample_rate"],
            format=self._settings["format"],
        )

    def received(self, data: bytes | str) -> None:
        """Settings, sound, or what is asked for."""
        if self._ends:
            raise BadRequestError("the stream was declared finished, and nothing follows")
        if isinstance(data, bytes):
            self._check_size(data)
            self._sound(FORMATS[self._settings["format"]](data))
            return
        message = json_object(data)
        if "resume" not in message:
            self._check_size(data)
        if "start" in message:
            self._configure(message["start"])
        elif "resume" in message:
            self._resume(message["resume"])
        elif message.get("state") is True:
            self._begin().snapshot(self._extra, self._send_state)
        elif message.get("finish") is True:
            self._ends = True
            self._end(self._settings["sample_rate"], self._finished)
        else:
            raise BadRequestError(f"a message has one of {', '.join(CONTROL)}, not {shown(list(message))}")

    def _check_size(self, data: bytes | str) -> None:
        """Only what resumes a stream may be as long as its state."""
        longest = self._services.config.limits.message_bytes
        if len(data) > longest:
            raise TooLargeError(f"a message has {longest} bytes at the most (limits.message_bytes)")

    def _sound(self, samples: np.ndarray) -> None:
        try:
            self._hear(self._settings["sample_rate"], samples, self._heard)
        except FeedError as error:
            self._refused(error)

    def _configure(self, given: object) -> None:
        if self._stream is not None:
            raise BadRequestError("start stands before all sound")
        if not isinstance(given, dict):
            raise BadRequestError(f"start is a JSON object, not {shown(given)}")
        for key, value in given.items():
            if key == "sample_rate":
                self._settings[key] = sample_rate(value)
            elif key == "format" and value in tuple(FORMATS):
                self._settings[key] = value
            elif key == "hotwords":
                self._settings[key] = hotwords(value)
            elif (key == "probability" and isinstance(value, bool)) or (
                key == "state_every" and _is_seconds(value)
            ):
                self._settings[key] = value
            elif key in SETTINGS:
                wanted = {
                    "format": " or ".join(FORMATS),
                    "probability": "true or false",
                    "state_every": "seconds, from 0.01 to a million, or 0 for never",
                }
                raise BadRequestError(f"start.{key} is {shown(value)} and must be {wanted[key]}")
            else:
                raise BadRequestError(f"start has no {shown(key)}; there are {', '.join(SETTINGS)}")
        self._begin()
        self._ready()

    def _resume(self, token: object) -> None:
        if self._stream is not None or not isinstance(token, str):
            raise BadRequestError("resume is the first message, with a state token as text")
        opened = self._services.tokens.open(token, KIND, self._served.fingerprint)
        try:
            self._stream, extra = self._served.open_stream(state=opened.state)
        except StateError as error:
            raise TokenError(str(error)) from error
        self._settings, self._utterance = extra["settings"], extra["utterance"]
        self._stream.told_to_end = self.draining
        self._sequence = self._answered = self._stream.sequence = opened.sequence
        self._connection.allow(0)
        self._clock()
        self._ready()

    def _made(self) -> SpeechStream:
        self._connection.allow(0)
        self._clock()
        return self._served.open_stream(self._settings["hotwords"])[0]

    def _clock(self) -> None:
        every = self._settings["state_every"]
        self._next_state = monotonic() + every if every else 0.0

    def _extra(self) -> dict[str, Any]:
        return {"settings": self._settings, "utterance": self._utterance}

    def _heard(self, result: Heard | Noticed | TinyseqError) -> None:
        self._answered += 1
        if isinstance(result, TinyseqError):
            self._refused(result)
            return
        self._tell(result)
        if self._next_state and monotonic() >= self._next_state and self._stream is not None:
            self._clock()
            self._stream.snapshot(self._extra, self._send_state)

    def _refused(self, error: TinyseqError) -> None:
        self._served.metrics.refused_chunks += 1
        self._say(type="error", seq=self._answered, error=str(error))

    def _tell(self, result: Heard | Noticed) -> None:
        if isinstance(result, Noticed):
            for event in result.events:
                self._say(type=event.kind, seconds=round(event.seconds, 6))
            if self._settings["probability"]:
                self._say(type="probability", seq=self._answered, probability=number(result.probability))
            return
        for over in result.over:
            self._result(over)
            self._utterance += 1
            self._said = None
        now = result.now.stable_text, result.now.tentative_text
        if not self._ends and now != (self._said or ("", "")):
            self._said = now
            self._result(result.now)

    def _result(self, result: RecognizerResult) -> None:
        words = [
            {"word": each.word, "start": each.start, "end": each.end, "confidence": each.confidence}
            for each in result.words or ()
        ]
        self._say(
            type="result",
            utterance=self._utterance,
            text=result.text,
            stable=result.stable_text,
            tentative=result.tentative_text,
            is_final=result.is_final,
            start=result.start,
            end=result.end,
            words=words,
        )

    def _finished(self, result: Heard | Noticed | TinyseqError) -> None:
        if isinstance(result, TinyseqError):
            self._refused(result)
        else:
            self._tell(result)
        self._say(type="finished", seq=self._answered)
        self._leave("finished", 1000)

    def _send_state(self, saved: tuple[int, bytes] | TinyseqError) -> None:
        if isinstance(saved, TinyseqError):
            self._say(type="error", seq=self._answered, error=str(saved))
            return
        sequence, state = saved
        token = self._services.tokens.make(Token(KIND, self._served.fingerprint, sequence, state))
        most = self._served.token_bytes
        if len(token) > most:
            error = f"the state token has {len(token)} bytes, and could be resumed with {most} at the most"
            self._say(type="error", seq=self._answered, error=f"{error} (limits.token_bytes)")
            return
        self._say(type="state", seq=sequence, token=token)

    def _say(self, **message: Any) -> None:
        self._connection.send(dumped(message))

    def draining(self) -> None:
        """A token, so that the stream goes on elsewhere."""
        if self._ends:
            return

        def last(saved: tuple[int, bytes] | TinyseqError) -> None:
            self._send_state(saved)
            self._leave("drained", 1001, f"{ENDS}; go on with the state token")

        self._begin().snapshot(self._extra, last)


def _is_seconds(given: object) -> bool:
    usual = isinstance(given, (int, float)) and not isinstance(given, bool)
    return usual and (given == 0 or 0.01 <= given <= 1e6)  # type: ignore[operator]
