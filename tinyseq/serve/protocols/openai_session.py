"""What a session of OpenAI's realtime transcription is set to: each key is honoured, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any

from tinyseq.common.text import shown
from tinyseq.serve.errors import BadRequestError
from tinyseq.speech.endpoint import Endpointing
from tinyseq.speech.recognizer import Recognizer

if TYPE_CHECKING:
    from tinyseq.serve.speech.served import ServedSpeech, Speech

RATE = 24_000
"""Hz of the protocol's PCM16."""

NEVER = Endpointing(inf, inf, inf)

INPUT = "session.audio.input"

LOGPROBS = "item.input_audio_transcription.logprobs"

EAGERNESS = {"low": (2.0, 8.0), "medium": (1.0, 4.0), "high": (0.5, 2.0)}
"""How many times as long as its own rule 2 says a recogniser waits, and how many seconds at the most."""

PADDING, THRESHOLD = 300, 0.5
"""What the protocol has where nothing is said."""

BETA = {
    "input_audio_transcription": "transcription",
    "input_audio_noise_reduction": "noise_reduction",
    "turn_detection": "turn_detection",
}
"""Keys of a session as they were before the protocol's general availability, and what they became."""


@dataclass(frozen=True)
class Turns:
    """When the server ends an utterance. A recogniser that hears no more words is what tells of silence.

    ``silence`` are seconds, None for those of the recogniser; ``eagerness`` is that of ``semantic_vad``, None
    for ``server_vad``; ``padding`` how many milliseconds before its first word speech is said to start.
    """

    silence: float | None = None
    padding: int = PADDING
    eagerness: str | None = None

    def rules(self, own: Endpointing) -> Endpointing:
        """A recogniser's rules so changed."""
        silence = own.rule2_min_trailing_silence if self.silence is None else self.silence
        if self.eagerness is not None:
            times, most = EAGERNESS[self.eagerness]
            silence = min(times * silence, most)
        return replace(own, rule2_min_trailing_silence=silence)

    def described(self, own: Endpointing) -> dict[str, Any]:
        """As the protocol tells it."""
        if self.eagerness is not None:
            return {"type": "semantic_vad", "eagerness": self.eagerness}
        silence = self.rules(own).rule2_min_trailing_silence
        return {
            "type": "server_vad",
            "threshold": THRESHOLD,
            "prefix_padding_ms": self.padding,
            "silence_duration_ms": min(round(1000 * min(silence, 1e6)), 10**9),
        }


@dataclass(frozen=True)
class Settings:
    """All that a session is set to; ``turns`` is None where only the client ends utterances."""

    served: ServedSpeech
    language: str | None = None
    keywords: tuple[str, ...] = ()
    turns: Turns | None = Turns()
    logprobs: bool = False

    @property
    def rules(self) -> Endpointing:
        """When utterances are over."""
        return NEVER if self.turns is None else self.turns.rules(self.served.engine.endpointing)

    @property
    def spoken(self) -> tuple[Any, ...]:
        """What cannot be changed once there was sound."""
        return self.served, self.language, self.keywords

    def described(self, name: str) -> dict[str, Any]:
        """The session as the protocol tells it."""
        served, turns = self.served, self.turns
        transcription: dict[str, Any] = {"model": served.name, "language": self.language or served.language}
        if self.keywords:
            transcription["keywords"] = list(self.keywords)
        detection = None if turns is None else turns.described(served.engine.endpointing)
        return {
            "id": name,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": RATE},
                    "noise_reduction": None,
                    "transcription": transcription,
                    "turn_detection": detection,
                }
            },
            "include": [LOGPROBS] if self.logprobs else None,
        }


def updated(settings: Settings, event: Mapping[str, Any], speech: Speech) -> Settings:
    """What ``session.update`` asks for; what it leaves out is as before.

    Raises:
        TinyseqError: something is not to be had.
    """
    session = _object(event, "session")
    if session.get("type", "transcription") != "transcription":
        raise BadRequestError(f"session.type is 'transcription' here, not {shown(session['type'])}")
    _only(session, "session", ("type", "audio", "include"))
    audio = _object(session, "audio", "session.audio")
    _only(audio, "session.audio", ("input",))
    settings = _included(settings, session)
    return _inputs(settings, _object(audio, "input", INPUT), speech)


def updated_beta(settings: Settings, event: Mapping[str, Any], speech: Speech) -> Settings:
    """The same of ``transcription_session.update``, as it was before."""
    session = _object(event, "session")
    if session.get("input_audio_format", "pcm16") != "pcm16":
        raise BadRequestError("session.input_audio_format is 'pcm16' here")
    _only(session, "session", ("input_audio_format", "include", *BETA))
    settings = _included(settings, session)
    given = {BETA[key]: value for key, value in session.items() if key in BETA}
    return _inputs(settings, given, speech)


def _included(settings: Settings, session: Mapping[str, Any]) -> Settings:
    if "include" not in session:
        return settings
    include = session["include"] or []
    if not isinstance(include, list) or any(each != LOGPROBS for each in include):
        raise BadRequestError(f"session.include is a list that may have {LOGPROBS!r}, not {shown(include)}")
    return replace(settings, logprobs=bool(include))


def _inputs(settings: Settings, given: Mapping[str, Any], speech: Speech) -> Settings:
    _only(given, INPUT, ("format", "noise_reduction", "transcription", "turn_detection"))
    kind = {} if given.get("format") is None else _object(given, "format", f"{INPUT}.format")
    _only(kind, f"{INPUT}.format", ("type", "rate"))
    if (kind.get("type") or "audio/pcm") != "audio/pcm" or (kind.get("rate") or RATE) != RATE:
        raise BadRequestError(f"{INPUT}.format is audio/pcm at {RATE} Hz, not {shown(kind)}")
    if given.get("noise_reduction") is not None:
        raise BadRequestError(f"{INPUT}.noise_reduction must be null: there is none")
    if "turn_detection" in given:
        settings = replace(settings, turns=_turns(given["turn_detection"]))
    if "transcription" in given:
        if given["transcription"] is None:
            raise BadRequestError(f"{INPUT}.transcription is what this session does; null would be nothing")
        settings = _transcription(settings, _object(given, "transcription"), speech)
    return settings


def _turns(given: object) -> Turns | None:
    place = f"{INPUT}.turn_detection"
    if given is None:
        return None
    kind = given.get("type", "server_vad") if isinstance(given, dict) else None
    if not isinstance(given, dict) or kind not in ("server_vad", "semantic_vad"):
        raise BadRequestError(f"{place} is null or of type server_vad or semantic_vad, not {shown(given)}")
    own = (
        ("eagerness",)
        if kind == "semantic_vad"
        else ("threshold", "prefix_padding_ms", "silence_duration_ms")
    )
    _only(given, place, ("type", *own, "create_response", "interrupt_response"))
    for key in ("create_response", "interrupt_response"):
        if given.get(key) not in (None, False):
            raise BadRequestError(f"{place}.{key} must be false: a transcription has no responses")
    if kind == "semantic_vad":
        eagerness = given.get("eagerness") or "auto"
        if eagerness not in (*EAGERNESS, "auto"):
            raise BadRequestError(
                f"{place}.eagerness is {shown(eagerness)} and must be low, medium, high or auto"
            )
        return Turns(eagerness="medium" if eagerness == "auto" else eagerness)
    if given.get("threshold") not in (None, THRESHOLD):
        raise BadRequestError(
            f"{place}.threshold must be {THRESHOLD} or left out: speech is what is recognised, however loud"
        )
    silence = _milliseconds(given, place, "silence_duration_ms")
    padding = _milliseconds(given, place, "prefix_padding_ms")
    return Turns(None if silence is None else silence / 1000, PADDING if padding is None else round(padding))


def _milliseconds(given: Mapping[str, Any], place: str, key: str) -> float | None:
    value = given.get(key)
    usual = isinstance(value, (int, float)) and not isinstance(value, bool)
    if value is not None and not (usual and 0 <= value <= 1e9):
        raise BadRequestError(f"{place}.{key} is {shown(value)} and must be milliseconds")
    return value


def _transcription(settings: Settings, given: Mapping[str, Any], speech: Speech) -> Settings:
    place = f"{INPUT}.transcription"
    _only(given, place, ("model", "language", "languages", "prompt", "keywords"))
    if given.get("prompt"):
        raise BadRequestError(f"{place}.prompt is no use here; keywords, a list of words, is")
    served = settings.served
    if given.get("model") is not None:
        served = speech.find(str(given["model"]), "recognizer")
    language = given.get("language") or settings.language
    languages = given.get("languages") or ([language] if language else [])
    if not _are_texts(languages) or not isinstance(language, (str, type(None))):
        raise BadRequestError(f"{place}.language is a text such as 'en', and languages a list of them")
    if served.language is not None and languages and served.language not in languages:
        raise BadRequestError(f"{place}.language: {served.name} understands {served.language}")
    keywords = settings.keywords if given.get("keywords") is None else given["keywords"]
    if not isinstance(keywords, tuple) and not _are_texts(keywords):
        raise BadRequestError(f"{place}.keywords is a list of texts, not {shown(keywords)}")
    if keywords and isinstance(served.engine, Recognizer):
        served.engine.create_stream(keywords)  # says which cannot be spelt
    return replace(settings, served=served, language=language, keywords=tuple(keywords))


def _are_texts(given: object) -> bool:
    return isinstance(given, list) and all(isinstance(each, str) for each in given)


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
