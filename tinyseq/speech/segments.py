"""From probabilities of speech to the times at which speech starts and ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import numpy as np

from tinyseq.common.given import is_number
from tinyseq.common.text import shown
from tinyseq.errors import OptionError, StateError

SAMPLE_RATE = 16_000
"""Hz; the only rate that the detector hears."""
CHUNK = 512
"""Samples in a chunk, which has one probability: 32 ms."""

LONGEST = 86_400.0
"""Seconds that a duration may have."""


class VoiceEvent(NamedTuple):
    """Speech starts or ends."""

    kind: Literal["start", "end"]
    seconds: float
    """From the first sample of the stream."""


class Segment(NamedTuple):
    """A stretch of speech, in seconds from the first sample."""

    start: float
    end: float


@dataclass(frozen=True)
class VoiceOptions:
    """When there is speech: what ``VoiceDetector`` takes, checked. The names and the meaning are silero's."""

    threshold: float = 0.5
    negative_threshold: float | None = None
    min_speech_duration: float = 0.25
    min_silence_duration: float = 0.1
    speech_pad: float = 0.03

    def __post_init__(self) -> None:
        if self.negative_threshold is None and is_number(self.threshold):
            object.__setattr__(
                self, "negative_threshold", max(self.threshold - 0.15, min(self.threshold, 0.01))
            )
        for field in fields(self):
            value, most = getattr(self, field.name), 1.0 if "threshold" in field.name else LONGEST
            if not is_number(value) or not 0 <= value <= most:
                raise OptionError(f"{field.name} is a number from 0 to {most:g}, not {shown(value)}")
            object.__setattr__(self, field.name, float(value))
        if self.negative_threshold > self.threshold:
            raise OptionError(
                f"negative_threshold={self.negative_threshold} is above threshold={self.threshold}: speech "
                "would end where it starts"
            )

    def numbers(self) -> np.ndarray:
        """All of them, float64[5]."""
        return np.array([getattr(self, field.name) for field in fields(self)])


class Segmenter:
    """Turns the probabilities of successive chunks into events, each given as soon as it is certain: a start
    once the speech is long enough, an end once the silence is."""

    def __init__(self, options: VoiceOptions) -> None:
        self._threshold, self._negative = options.threshold, options.negative_threshold
        durations = options.min_speech_duration, options.min_silence_duration, options.speech_pad
        self._least_speech, self._least_silence, self._pad = (round(s * SAMPLE_RATE) for s in durations)
        self._heard = 0
        """Samples so far."""
        self._ended = 0
        """Where the last speech has ended, its padding included."""
        self._start: int | None = None
        self._silence: int | None = None
        self._is_started = False
        """Whether it is known that there is speech since ``start``."""

    def push(self, probability: float, samples: int = CHUNK) -> list[VoiceEvent]:
        """Takes the next chunk's probability; gives what is certain with it.

        Args:
            samples: how many of the chunk are sound; all but in the last one.
        """
        at = self._heard
        self._heard += samples
        if probability >= self._threshold:
            self._start = at if self._start is None else self._start
            self._silence = None
        # Written so that NaN is silence: nothing is known to be speech there.
        elif self._start is not None and not probability >= self._negative:
            self._silence = at if self._silence is None else self._silence
            if at - self._silence >= self._least_silence:
                return self._close(self._silence)
        if self._start is None or self._silence is not None or self._is_started:
            return []
        if self._heard - self._start < self._least_speech:
            return []
        self._is_started = True
        return [_event("start", max(self._start - self._pad, self._ended))]

    def finish(self) -> list[VoiceEvent]:
        """The end of speech that is still open when the sound ends."""
        return self._close(self._heard if self._silence is None else self._silence)

    def _close(self, end: int) -> list[VoiceEvent]:
        was_started, self._is_started = self._is_started, False
        self._start = self._silence = None
        if not was_started:
            return []
        self._ended = min(end + self._pad, self._heard)
        return [_event("end", self._ended)]

    def fields(self) -> np.ndarray:
        """The state, int64[5]."""
        start, silence = (-1 if at is None else at for at in (self._start, self._silence))
        return np.array([self._heard, self._ended, start, silence, self._is_started], np.int64)

    def restore(self, saved: np.ndarray) -> None:
        """Goes back to the state that ``fields`` gave.

        Raises:
            StateError: there is no such state.
        """
        heard, ended, start, silence, started = saved.tolist()
        fits = 0 <= ended <= heard < 2**53 and -1 <= start <= heard and started in (0, 1)
        if not (fits and -1 <= silence <= heard and (start >= 0 or (silence < 0 and not started))):
            raise StateError("the saved stream is damaged: its speech has no such times")
        self._heard, self._ended, self._is_started = heard, ended, bool(started)
        self._start, self._silence = (None if at < 0 else at for at in (start, silence))


def segments(events: Iterable[VoiceEvent]) -> list[Segment]:
    """The stretches between starts and ends, in their order."""
    seconds = [event.seconds for event in events]
    return [Segment(*pair) for pair in zip(seconds[::2], seconds[1::2])]


def _event(kind: Literal["start", "end"], sample: int) -> VoiceEvent:
    return VoiceEvent(kind, sample / SAMPLE_RATE)
