"""OpenAI's realtime transcription: sound as base64 in JSON, events as JSON."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

from tinyseq.common.text import shown
from tinyseq.errors import TinyseqError
from tinyseq.serve.errors import BadRequestError, ServeError, UnknownPathError
from tinyseq.serve.protocols.sound import ENDS, SoundHandler, dumped, json_object, whole_numbers
from tinyseq.serve.speech.served import SpeechStream
from tinyseq.serve.speech.steps import Heard
from tinyseq.speech.endpoint import Endpointing
from tinyseq.speech.recognizer import Recognizer
from tinyseq.speech.result import RecognizerResult

if TYPE_CHECKING:
    from tinyseq.serve.connection import Connection
    from tinyseq.serve.services import Services
    from tinyseq.serve.speech.served import ServedSpeech

RATE = 24_000
"""Hz of the protocol's PCM16."""

SUBPROTOCOL = "realtime"

NEVER = Endpointing(inf, inf, inf)

TRANSCRIPTION = "conversation.item.input_audio_transcription"


class RealtimeHandler(SoundHandler):
    """One session. An utterance is an item of the conversation; what of its text no later result takes back
    is sent as deltas."""

    def __init__(self, services: Services, connection: Connection, served: ServedSpeech) -> None:
        if connection.query.get("intent") != "transcription":
            raise UnknownPathError(
                "/v1/realtime transcribes, and converses not: connect with ?intent=transcription"
            )
        super().__init__(services, connection, served)
        self.subprotocol = SUBPROTOCOL if SUBPROTOCOL in connection.subprotocols else None
        self._id = f"sess_{uuid.uuid4().hex[:16]}"
        self._count = 0
        self._event = 0
        self._silence: float | None = None
        self._detects_turns = True
        self._keywords: list[str] = []
        self._language: str | None = None
        self._item: str | None = None
        self._previous: str | None = None
        self._told = ""
        self._speaks = False
        self._heard_any = False
        self._started = 0.0

    def opened(self) -> None:
        """The first event is the server's."""
        self._say("session.created", session=self._session)

    def received(self, data: bytes | str) -> None:
        """An event of the client. What is wrong with it is told by an event, and the session goes on."""
        if isinstance(data, bytes):
            raise BadRequestError("events are texts; sound is base64 within input_audio_buffer.append")
        event = json_object(data)
        kind, name = event.get("type"), event.get("event_id")
        act = self._acts.get(kind) if isinstance(kind, str) else None
        try:
            if act is None:
                raise BadRequestError(
                    f"there is no event {shown(kind)} here; there are {', '.join(self._acts)}"
                )
            act(event)
        except ServeError as error:
            if error.status == 503:
                raise
            self._wrong(error, name)
        except TinyseqError as error:
            self._wrong(error, name)

    @property
    def _acts(self) -> dict[str, Callable[[Mapping[str, Any]], None]]:
        return {
            "session.update": self._update,
            "transcription_session.update": self._update_beta,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
        }

    # The session

    @property
    def _session(self) -> dict[str, Any]:
        served = self._served
        rules = served.engine.endpointing
        silence = rules.rule2_min_trailing_silence if self._silence is None else self._silence
        turns = {"type": "server_vad", "silence_duration_ms": min(round(1000 * min(silence, 1e6)), 10**9)}
        transcription: dict[str, Any] = {"model": served.name, "language": self._language or served.language}
        if self._keywords:
            transcription["keywords"] = self._keywords
        return {
            "id": self._id,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": RATE},
                    "noise_reduction": None,
                    "transcription": transcription,
                    "turn_detection": turns if self._detects_turns else None,
                }
            },
        }

    def _update(self, event: Mapping[str, Any]) -> None:
        session = _object(event, "session")
        if session.get("type", "transcription") != "transcription":
            raise BadRequestError(f"session.type is 'transcription' here, not {shown(session['type'])}")
        if session.get("include"):
            raise BadRequestError("session.include: nothing can be included; leave it out")
        _only(session, "session", ("type", "audio", "include"))
        audio = _object(session, "audio", "session.audio")
        _only(audio, "session.audio", ("input",))
        self._inputs(_object(audio, "input", "session.audio.input"))
        self._say("session.updated", session=self._session)

    def _update_beta(self, event: Mapping[str, Any]) -> None:
        """The same as it was before the protocol's general availability."""
        session = _object(event, "session")
        if session.get("input_audio_format", "pcm16") != "pcm16":
            raise BadRequestError("session.input_audio_format is 'pcm16' here")
        names = {
            "input_audio_transcription": "transcription",
            "input_audio_noise_reduction": "noise_reduction",
            "turn_detection": "turn_detection",
        }
        _only(session, "session", ("input_audio_format", *names))
        self._inputs({names[key]: value for key, value in session.items() if key in names})
        self._say("transcription_session.updated", session=self._session)

    def _inputs(self, given: Mapping[str, Any]) -> None:
        """Takes settings over, all or none."""
        place = "session.audio.input"
        _only(given, place, ("format", "noise_reduction", "transcription", "turn_detection"))
        kind = given.get("format") or {}
        if (
            not isinstance(kind, dict)
            or kind.get("type", "audio/pcm") != "audio/pcm"
            or kind.get("rate", RATE) != RATE
        ):
            raise BadRequestError(f"{place}.format is audio/pcm at {RATE} Hz, not {shown(kind)}")
        if given.get("noise_reduction") is not None:
            raise BadRequestError(f"{place}.noise_reduction must be null: there is none")
        taken = dict(self._turns(given["turn_detection"])) if "turn_detection" in given else {}
        if given.get("transcription") is not None:
            taken |= self._transcription(_object(given, "transcription", f"{place}.transcription"))
        if self._stream is not None and not {"_detects_turns", "_silence"}.issuperset(taken):
            changed = [name for name, value in taken.items() if getattr(self, name) != value]
            if not {"_detects_turns", "_silence"}.issuperset(changed):
                raise BadRequestError("the transcription is set before all sound")
        for name, value in taken.items():
            setattr(self, name, value)
        if self._stream is not None:
            self._stream.endpointing = self._rules

    def _turns(self, given: object) -> dict[str, Any]:
        place = "session.audio.input.turn_detection"
        if given is None:
            return {"_detects_turns": False}
        if not isinstance(given, dict) or given.get("type", "server_vad") != "server_vad":
            raise BadRequestError(f"{place} is null or of type 'server_vad', not {shown(given)}")
        # What only says how loud speech is has no meaning for rules over what was recognised; session.updated
        # tells what holds.
        known = ("type", "threshold", "prefix_padding_ms", "silence_duration_ms", "create_response")
        _only(given, place, (*known, "interrupt_response"))
        silence = given.get("silence_duration_ms")
        if silence is None:
            return {"_detects_turns": True, "_silence": None}
        if isinstance(silence, bool) or not isinstance(silence, (int, float)) or not 0 <= silence <= 1e9:
            raise BadRequestError(f"{place}.silence_duration_ms is {shown(silence)} and must be milliseconds")
        return {"_detects_turns": True, "_silence": silence / 1000}

    def _transcription(self, given: Mapping[str, Any]) -> dict[str, Any]:
        place = "session.audio.input.transcription"
        _only(given, place, ("model", "language", "prompt", "keywords"))
        taken: dict[str, Any] = {}
        if given.get("prompt"):
            raise BadRequestError(f"{place}.prompt is no use here; keywords, a list of words, is")
        if given.get("model") is not None:
            taken["_served"] = self._services.speech.find(str(given["model"]), "recognizer")
        served = taken.get("_served", self._served)
        language = given.get("language")
        if language is not None:
            if served.language not in (None, language):
                raise BadRequestError(f"{place}.language: {served.name} understands {served.language}")
            taken["_language"] = language
        words = given.get("keywords")
        if words is not None:
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise BadRequestError(f"{place}.keywords is a list of texts, not {shown(words)}")
            if words and isinstance(served.engine, Recognizer):
                served.engine.create_stream(words)  # says which cannot be spelt
            taken["_keywords"] = words
        return taken

    # Sound

    @property
    def _rules(self) -> Endpointing:
        if not self._detects_turns:
            return NEVER
        rules: Endpointing = self._served.engine.endpointing
        return rules if self._silence is None else replace(rules, rule2_min_trailing_silence=self._silence)

    def _made(self) -> SpeechStream:
        return self._served.open_stream(self._keywords, self._rules)[0]

    def _append(self, event: Mapping[str, Any]) -> None:
        audio = event.get("audio")
        if not isinstance(audio, str):
            raise BadRequestError(f"audio is base64 as text, not {shown(audio)}")
        try:
            data = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadRequestError(f"audio is no base64: {error}") from error
        samples = whole_numbers(data)
        self._heard_any = self._heard_any or len(samples) > 0
        self._hear(RATE, samples, self._heard)

    def _commit(self, event: Mapping[str, Any]) -> None:
        if not self._heard_any:
            raise BadRequestError("the buffer is empty: nothing was appended since the last commit")
        self._heard_any = False
        self._end(RATE, self._committed)

    def _clear(self, event: Mapping[str, Any]) -> None:
        self._heard_any = False
        self._end(RATE, self._cleared)

    def _heard(self, result: Heard | TinyseqError) -> None:
        if isinstance(result, TinyseqError):
            self._wrong(result)
            return
        for over in result.over:
            self._utterance(over)
        self._going(result.now)

    def _committed(self, result: Heard | TinyseqError) -> None:
        if isinstance(result, TinyseqError):
            self._wrong(result)
            return
        for over in result.over:
            self._utterance(over, always=over is result.over[-1])

    def _cleared(self, result: Heard | TinyseqError) -> None:
        if isinstance(result, TinyseqError):
            self._wrong(result)
            return
        self._item, self._told, self._speaks = None, "", False
        self._say("input_audio_buffer.cleared")

    def _going(self, result: RecognizerResult) -> None:
        if not result.tokens:
            return
        if self._detects_turns and not self._speaks:
            self._speaks = True
            start = round(1000 * result.starts[0])
            self._say("input_audio_buffer.speech_started", audio_start_ms=start, item_id=self._item_id)
        self._delta(result.stable_text or "")

    def _delta(self, text: str) -> None:
        if len(text) > len(self._told):
            delta, self._told = text[len(self._told) :], text
            self._say(f"{TRANSCRIPTION}.delta", item_id=self._item_id, content_index=0, delta=delta)

    def _utterance(self, result: RecognizerResult, always: bool = False) -> None:
        """An utterance is over; one in which nothing was said is told only if the client asked for it."""
        if not result.tokens and not always:
            return
        self._going(result)
        item, end = self._item_id, round(1000 * result.end)
        if self._speaks:
            self._say("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=item)
        self._say("input_audio_buffer.committed", item_id=item, previous_item_id=self._previous)
        content = {"type": "input_audio", "transcript": None}
        shape = {"id": item, "type": "message", "role": "user", "status": "completed", "content": [content]}
        self._say("conversation.item.added", previous_item_id=self._previous, item=shape)
        self._delta(result.text or "")
        seconds = round(result.end - result.start, 6)
        self._say(
            f"{TRANSCRIPTION}.completed",
            item_id=item,
            content_index=0,
            transcript=result.text,
            usage={"type": "duration", "seconds": seconds},
        )
        done = {**shape, "content": [{**content, "transcript": result.text}]}
        self._say("conversation.item.done", previous_item_id=self._previous, item=done)
        self._previous, self._item, self._told, self._speaks = item, None, "", False

    @property
    def _item_id(self) -> str:
        if self._item is None:
            self._count += 1
            self._item = f"item_{self._id[5:]}_{self._count}"
        return self._item

    def _wrong(self, error: TinyseqError, event: object = None) -> None:
        self._served.metrics.refused_chunks += 1
        told = {"type": "invalid_request_error", "code": "invalid_value", "message": str(error)}
        self._say(
            "error", error={**told, "param": None, "event_id": event if isinstance(event, str) else None}
        )

    def _say(self, kind: str, **event: Any) -> None:
        self._event += 1
        self._connection.send(
            dumped({"type": kind, "event_id": f"event_{self._id[5:]}_{self._event}", **event})
        )

    def draining(self) -> None:
        """Says what was heard up to now; such clients know of no way to go on elsewhere."""

        def last(result: Heard | TinyseqError) -> None:
            if isinstance(result, Heard):
                for over in result.over:
                    self._utterance(over)
            self._leave("drained", 1001, ENDS)

        if self._stream is None or not self._heard_any:
            self._leave("drained", 1001, ENDS)
        else:
            self._end(RATE, last)


def _object(given: Mapping[str, Any], key: str, place: str | None = None) -> Mapping[str, Any]:
    value = given.get(key, {})
    if not isinstance(value, dict):
        raise BadRequestError(f"{place or key} is a JSON object, not {shown(value)}")
    return value


def _only(given: Mapping[str, Any], place: str, known: tuple[str, ...]) -> None:
    """Refuses what would have to be overlooked; null asks for nothing."""
    for key, value in given.items():
        if key not in known and value is not None:
            raise BadRequestError(f"{place} has no {shown(key)} here; there are {', '.join(known)}")
