"""OpenAI's realtime transcription: sound as base64 in JSON, events as JSON."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Mapping
from math import log
from typing import TYPE_CHECKING, Any

from tinyseq.common.text import shown
from tinyseq.decode.vocabulary import BEGINS_WORD
from tinyseq.errors import TinyseqError
from tinyseq.serve.errors import BadRequestError, ServeError, UnknownPathError
from tinyseq.serve.protocols.openai_session import RATE, Settings, updated, updated_beta
from tinyseq.serve.protocols.sound import ENDS, SoundHandler, dumped, json_object, whole_numbers
from tinyseq.serve.speech.served import SpeechStream
from tinyseq.serve.speech.steps import Heard
from tinyseq.speech.result import RecognizerResult

if TYPE_CHECKING:
    from tinyseq.serve.connection import Connection
    from tinyseq.serve.services import Services
    from tinyseq.serve.speech.served import ServedSpeech

SUBPROTOCOL = "realtime"

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
        self._settings = Settings(served)
        self._item: str | None = None
        self._previous: str | None = None
        self._told, self._told_tokens = "", 0
        self._speaks = False
        self._heard_any = False

    def opened(self) -> None:
        """The first event is the server's."""
        self._say("session.created", session=self._settings.described(self._id))

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

    def _update(self, event: Mapping[str, Any]) -> None:
        self._take(updated(self._settings, event, self._services.speech))
        self._say("session.updated", session=self._settings.described(self._id))

    def _update_beta(self, event: Mapping[str, Any]) -> None:
        """The same as it was before the protocol's general availability."""
        self._take(updated_beta(self._settings, event, self._services.speech))
        self._say("transcription_session.updated", session=self._settings.described(self._id))

    def _take(self, settings: Settings) -> None:
        if self._stream is not None:
            if settings.spoken != self._settings.spoken:
                raise BadRequestError("the transcription is set before all sound")
            self._stream.endpointing = settings.rules
        self._settings, self._served = settings, settings.served

    # Sound

    def _made(self) -> SpeechStream:
        return self._served.open_stream(self._settings.keywords, self._settings.rules)[0]

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
        self._begin_item()
        self._say("input_audio_buffer.cleared")

    def _going(self, result: RecognizerResult) -> None:
        if not result.tokens:
            return
        turns = self._settings.turns
        if turns is not None and not self._speaks:
            self._speaks = True
            start = round(1000 * max(result.start, result.starts[0] - turns.padding / 1000))
            self._say("input_audio_buffer.speech_started", audio_start_ms=start, item_id=self._item_id)
        self._delta(result.stable_text or "", result, result.stable)

    def _delta(self, text: str, result: RecognizerResult, stable: int) -> None:
        if len(text) > len(self._told):
            delta, self._told = text[len(self._told) :], text
            given = self._logprobs(result, self._told_tokens, stable)
            self._told_tokens = stable
            self._say(f"{TRANSCRIPTION}.delta", item_id=self._item_id, content_index=0, delta=delta, **given)

    def _logprobs(self, result: RecognizerResult, begin: int, end: int) -> dict[str, Any]:
        """Of some tokens, where they are asked for."""
        if not self._settings.logprobs:
            return {}
        vocabulary: Any = self._served.engine.decoder.options.vocabulary
        given = []
        for token, share in zip(result.tokens[begin:end], result.confidences[begin:end]):
            text = vocabulary[token].replace(BEGINS_WORD, " ")
            logprob = round(log(max(share, 1e-30)), 6)
            given.append({"token": text, "bytes": list(text.encode()), "logprob": logprob})
        return {"logprobs": given}

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
        self._delta(result.text or "", result, len(result.tokens))
        seconds = round(result.end - result.start, 6)
        self._say(
            f"{TRANSCRIPTION}.completed",
            item_id=item,
            content_index=0,
            transcript=result.text,
            usage={"type": "duration", "seconds": seconds},
            **self._logprobs(result, 0, len(result.tokens)),
        )
        done = {**shape, "content": [{**content, "transcript": result.text}]}
        self._say("conversation.item.done", previous_item_id=self._previous, item=done)
        self._previous = item
        self._begin_item()

    def _begin_item(self) -> None:
        self._item, self._told, self._told_tokens, self._speaks = None, "", 0, False

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
