"""The protocol of vosk-server: one answer for each message of PCM16, and a final one behind the last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from tinyseq.serve.speech.served import MOST_HOTWORDS, ServedSpeech, SpeechStream
from tinyseq.serve.speech.steps import Heard
from tinyseq.speech.result import RecognizerResult

CONFIG = (
    *("sample_rate", "model", "phrase_list", "words", "max_alternatives", "partial_words"),
    *("hotwords",),
)
"""What a client may say of its sound and of answers; ``hotwords`` is tinyseq's own."""

UNKNOWN = "[unk]"
"""In a list of phrases and in results: any other word."""


class VoskHandler(SoundHandler):
    """Answers with ``partial``, or behind an utterance with ``text``."""

    _rate: float | None = None
    _words = True
    _partial_words = False
    _alternatives = 0
    _hotwords: dict[str, float] | list[str] = []  # noqa: RUF012
    _phrases: tuple[str, ...] = ()
    _known: frozenset[str] | None = None
    """The words of the phrases, where others are told as ``UNKNOWN``."""
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
        served, preferred = self._chosen()
        return served.open_stream(preferred)[0]

    def _chosen(self) -> tuple[ServedSpeech, dict[Any, float]]:
        """What recognises, and its hotwords. With a list of phrases it gives their words only, or where
        ``UNKNOWN`` is in the list prefers them to others; phrases of several words are hotwords.

        Raises:
            TinyseqError: the recogniser cannot.
        """
        served, phrases, given = self._served, self._phrases, self._hotwords
        words = _words_of(phrases)
        preferred = [phrase for phrase in phrases if " " in phrase]
        if UNKNOWN in words:
            if not served.engine.parts_words:
                raise BadRequestError(
                    f"phrase_list has {UNKNOWN!r}, and nothing parts words in what {served.name} recognises; "
                    "leave it out"
                )
            preferred = [phrase for phrase in phrases if phrase != UNKNOWN]
        elif words:
            served = served.limited_to(words)
        options = served.engine.decoder.options
        weight = getattr(options, "hotword_weight", 0.0)
        own = given if isinstance(given, dict) else dict.fromkeys(given, weight)
        return served, {_spelt(phrase, options): weight for phrase in preferred} | own

    def _configure(self, given: object) -> None:
        if self._stream is not None:
            raise BadRequestError("config stands before all sound")
        if not isinstance(given, dict):
            raise BadRequestError(f"config is a JSON object, not {shown(given)}")
        for key, value in given.items():
            if key not in CONFIG:
                raise BadRequestError(f"config has no {shown(key)}; there are {', '.join(CONFIG)}")
            if key == "sample_rate":
                self._rate = sample_rate(value)
            elif key == "hotwords":
                self._hotwords = hotwords(value)
            elif key == "phrase_list":
                self._phrases = _phrases(value)
            elif key == "model":
                if not isinstance(value, str):
                    raise BadRequestError(f"config.model is the name of a recogniser, not {shown(value)}")
                self._served = self._services.speech.find(value, "recognizer")
            elif not isinstance(value, (bool, int)) or value < 0:
                raise BadRequestError(f"config.{key} is {shown(value)} and must be true, false or a number")
            elif key == "max_alternatives":
                self._alternatives = int(value)
            else:
                setattr(self, f"_{key}", bool(value))
        served, preferred = self._chosen()
        if preferred:
            served.engine.create_stream(preferred)  # says which cannot be spelt
        words = _words_of(self._phrases)
        self._known = words - {UNKNOWN} if UNKNOWN in words else None

    def _heard(self, result: Heard | TinyseqError) -> None:
        if isinstance(result, TinyseqError):
            self._refused(result)
        elif result.over:
            self._connection.send(dumped(self._final(result.over)))
        else:
            partial: dict[str, Any] = {"partial": self._text(result.now)}
            if self._partial_words and result.now.words:
                partial["partial_result"] = self._worded([result.now])
            self._connection.send(dumped(partial))

    def _over(self, result: Heard | TinyseqError) -> None:
        if isinstance(result, TinyseqError):
            self._refused(result)
            return
        self._connection.send(dumped(self._final(result.over)))
        self._leave("finished", 1000)

    def _final(self, results: Sequence[RecognizerResult]) -> dict[str, Any]:
        """Utterances that ended within one message are answered as one."""
        text = " ".join(self._text(result) for result in results if result.text)
        words = self._worded(results) if self._words else []
        if self._alternatives:
            confidence = sum(result.score for result in results)
            best = {"confidence": confidence, "text": text}
            return {"alternatives": [best | {"result": words} if words else best]}
        return {"result": words, "text": text} if words else {"text": text}

    def _text(self, result: RecognizerResult) -> str:
        """What was said, in words that the client knows."""
        text = result.text or ""
        return text if self._known is None else " ".join(map(self._told, text.split()))

    def _told(self, word: str) -> str:
        return word if self._known is None or word in self._known else UNKNOWN

    def _worded(self, results: Sequence[RecognizerResult]) -> list[dict[str, Any]]:
        return [
            {
                "conf": round(word.confidence, 6),
                "end": round(word.end, 6),
                "start": round(word.start, 6),
                "word": self._told(word.word),
            }
            for result in results
            for word in result.words or ()
        ]

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


def _words_of(phrases: Iterable[str]) -> frozenset[str]:
    return frozenset(word for phrase in phrases for word in phrase.split())


def _spelt(phrase: str, options: Any) -> str | tuple[int, ...]:
    """A phrase as hotwords have it: where a lexicon spells words, by their tokens."""
    lexicon = getattr(options, "lexicon", None)
    if not isinstance(lexicon, Mapping):
        return phrase
    missing = [word for word in phrase.split() if word not in lexicon]
    if missing:
        raise BadRequestError(f"the lexicon has no word {shown(missing[0])}")
    return tuple(token for word in phrase.split() for token in lexicon[word][0])


def _phrases(given: object) -> tuple[str, ...]:
    """A list of phrases, blanks between their words; an empty one limits nothing."""
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise BadRequestError(f"config.phrase_list is a list of texts, not {shown(given)}")
    phrases = tuple(" ".join(each.split()) for each in given)
    words = _words_of(phrases)
    if given and not words - {UNKNOWN}:
        raise BadRequestError("config.phrase_list has no word")
    if len(words) > MOST_HOTWORDS or len(phrases) > MOST_HOTWORDS:
        raise BadRequestError(
            f"config.phrase_list has {len(phrases)} phrases of {len(words)} words, and may have "
            f"{MOST_HOTWORDS}"
        )
    return tuple(filter(None, phrases))
