"""Steps of many streams of sound at once, and what is heard in them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinyseq.errors import TinyseqError
from tinyseq.serve.kinds import MOST_KINDS
from tinyseq.speech.recognizer import Recognizer
from tinyseq.speech.result import RecognizerResult
from tinyseq.speech.segments import VoiceEvent
from tinyseq.speech.voice_detector import VoiceDetector

if TYPE_CHECKING:
    from tinyseq.serve.speech.served import SpeechStream


class Heard(NamedTuple):
    """What a recogniser has heard: final results of utterances that are over, and how this one goes on."""

    over: tuple[RecognizerResult, ...]
    now: RecognizerResult


class Noticed(NamedTuple):
    """What a voice detector has heard: events, and how probable speech is in the latest 32 ms."""

    events: tuple[VoiceEvent, ...]
    probability: float


class Sound(NamedTuple):
    """What a stream is given: samples and their rate, and whether the utterance, or the sound, ends there."""

    rate: float
    samples: np.ndarray
    ends: bool = False


class SoundKind:
    """Sound of any length that is stepped together: ``seconds`` is the most that a row took of late."""

    __slots__ = ("seconds", "steps")

    def __init__(self) -> None:
        self.seconds, self.steps = inf, 0

    def took(self, seconds: float) -> None:
        """Learns what a row of a step took. The first step is also planned, which says nothing of others."""
        self.steps += 1
        if self.steps > 1:
            self.seconds = seconds if self.seconds == inf else max(seconds, 0.95 * self.seconds)


class RecognizerSteps:
    """Steps streams of a recogniser: those that are ready are decoded together, until none is."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer, self._kind = recognizer, SoundKind()

    def kind(self, given: Sound) -> SoundKind:
        """All sound is stepped together."""
        return self._kind

    def step(self, kind: SoundKind, streams: Sequence[SpeechStream], given: Sequence[Sound]) -> list[Any]:
        """What each has heard, or why its sound or a step is refused."""
        recognizer = self._recognizer
        refused: dict[SpeechStream, TinyseqError] = {}
        over: dict[SpeechStream, list[RecognizerResult]] = {stream: [] for stream in streams}
        for stream, sound in zip(streams, given):
            try:
                if len(sound.samples):
                    stream.live.accept_waveform(sound.rate, sound.samples)
                if sound.ends:
                    stream.live.input_finished()
            except TinyseqError as error:
                refused[stream] = error
        owners = {stream.live: stream for stream in streams}
        while ready := [live for live in owners if recognizer.is_ready(live)]:
            for live, why in recognizer.advance(ready).items():
                refused.setdefault(owners[live], why)
            for live in ready:
                self._end_at_pause(owners[live], over[owners[live]])
        for stream, sound in zip(streams, given):
            if sound.ends:
                over[stream].append(recognizer.end_utterance(stream.live))
        return [
            refused[stream]
            if stream in refused
            else Heard(tuple(over[stream]), recognizer.get_result(stream.live))
            for stream in streams
        ]

    def _end_at_pause(self, stream: SpeechStream, over: list[RecognizerResult]) -> None:
        rules = stream.endpointing
        if rules is None:
            return
        result, seconds = self._recognizer.get_result(stream.live), self._recognizer.frame_seconds
        last = None if result.last_frame is None else (result.last_frame + 1) * seconds
        if rules.is_endpoint(result.frames_heard * seconds, last):
            over.append(self._recognizer.end_utterance(stream.live))


class VoiceSteps:
    """Steps streams of a voice detector, those of one sample rate together."""

    def __init__(self, detector: VoiceDetector) -> None:
        self._detector = detector
        self._kinds: dict[tuple[float, bool], SoundKind] = {}

    def kind(self, given: Sound) -> SoundKind:
        """Sound of one rate is stepped together."""
        if len(self._kinds) > MOST_KINDS:
            self._kinds.clear()
        return self._kinds.setdefault((given.rate, given.ends), SoundKind())

    def step(self, kind: SoundKind, streams: Sequence[SpeechStream], given: Sequence[Sound]) -> list[Any]:
        """What each has heard, or why its sound is refused."""
        try:
            live = [stream.live for stream in streams]
            found = self._detector.accept_waveforms(live, given[0].rate, [own.samples for own in given])
        except TinyseqError as error:
            if len(streams) == 1:
                return [error]
            return [self.step(kind, [stream], [own])[0] for stream, own in zip(streams, given)]
        if given[0].ends:
            found = [events + stream.live.finish() for stream, events in zip(streams, found)]
        return [Noticed(tuple(own), stream.live.probability) for stream, own in zip(streams, found)]
