"""The protocol of vosk-server: one answer for each message of PCM16, and a final one behind the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinyseq.common.text import shown
from tinyseq.errors import TinyseqError
from tinyseq.serve.errors import BadRequestError
from tinyseq.serve.protocols.sound import (
    ENDS,
    SoundHandler,
    dumped,
    hotwords,
    json_object,
    sample_rate,
    whole_numbers,
)
from tinyseq.serve.speech.served import SpeechStream
from tinyseq.serve.speech.steps import Heard
from tinyseq.speech.result import RecognizerResult

CONFIG = ("sample_rate", "words", "max_alternatives", "partial_words", "hotwords")
"""What a client may say of its sound and of answers; ``hotwords`` is tinyseq's own."""


class VoskHandler(SoundHandler):
    """Answers with ``partial``, or behind an utterance with ``text``."""

    _rate: float | None = None
    _words = True
    _partial_words = False
    _alternatives = 0
    _hotwords: dict[str, float] | list[str] = []  # noqa: RUF012
    _ends = False

    def received(self, data: bytes | str) -> None:
        """Settings, sound, or that there is no more."""
        if self._ends:
            raise BadRequestError("eof was said, and nothing follows")
        if isinstance(data, bytes):
            self._hear(self._hertz, whole_numbers(data), self._heard)
            return
        message = json_object(data)
        if "config" in message:
            self._configure(message["config"])
        elif message.get("eof"):
            self._ends = True
            self._end(self._hertz, self._over)
        else:
            raise BadRequestError(f"a text message has config or eof, not {shown(list(message))}")

    @property
    def _hertz(self) -> float:
        return self._served.sample_rate if self._rate is None else self._rate

    def _made(self) -> SpeechStream:
        return self._served.open_stream(self._hotwords)[0]

    def _configure(self, given: object) -> None:
        if self._stream is not None:
            raise BadRequestError("config stands before all sound")
        if not isinstance(given, dict):
            raise BadRequestError(f"config is a JSON object, not {shown(given)}")
        for key, value in given.items():
            if key == "phrase_list":
                raise BadRequestError(
                    "phrase_list would forbid all other words, which no stream can do alone; hotwords "
                    "prefers words, and decoder.lexicon in serve.toml forbids others to all streams"
                )
            if key not in CONFIG:
                raise BadRequestError(f"config has no {shown(key)}; there are {', '.join(CONFIG)}")
            if key == "sample_rate":
                self._rate = sample_rate(value)
            elif key == "hotwords":
                self._hotwords = hotwords(value)
            elif not isinstance(value, (bool, int)) or value < 0:
                raise BadRequestError(f"config.{key} is {shown(value)} and must be true, false or a number")
            elif key == "max_alternatives":
                self._alternatives = int(value)
            else:
                setattr(self, f"_{key}", bool(value))

    def _heard(self, result: Heard | TinyseqError) -> None:
        if isinstance(result, TinyseqError):
            self._refused(result)
        elif result.over:
            self._connection.send(dumped(self._final(result.over)))
        else:
            partial: dict[str, Any] = {"partial": result.now.text}
            if self._partial_words and result.now.words:
                partial["partial_result"] = _words([result.now])
            self._connection.send(dumped(partial))

    def _over(self, result: Heard | TinyseqError) -> None:
        if isinstance(result, TinyseqError):
            self._refused(result)
            return
        self._connection.send(dumped(self._final(result.over)))
        self._leave("finished", 1000)

    def _final(self, results: Sequence[RecognizerResult]) -> dict[str, Any]:
        """Utterances that ended within one message are answered as one."""
        text = " ".join(result.text for result in results if result.text)
        words = _words(results) if self._words else []
        if self._alternatives:
            confidence = sum(result.score for result in results)
            best = {"confidence": confidence, "text": text}
            return {"alternatives": [best | {"result": words} if words else best]}
        return {"result": words, "text": text} if words else {"text": text}

    def draining(self) -> None:
        """Says what was heard up to now; such clients know of no way to go on elsewhere."""
        if self._stream is None:
            self._leave("drained", 1001, ENDS)
            return

        def last(result: Heard | TinyseqError) -> None:
            if isinstance(result, Heard):
                self._connection.send(dumped(self._final(result.over)))
            self._leave("drained", 1001, ENDS)

        if not self._ends:
            self._ends = True
            self._end(self._hertz, last)


def _words(results: Sequence[RecognizerResult]) -> list[dict[str, Any]]:
    return [
        {
            "conf": round(word.confidence, 6),
            "end": round(word.end, 6),
            "start": round(word.start, 6),
            "word": word.word,
        }
        for result in results
        for word in result.words or ()
    ]
