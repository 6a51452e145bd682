"""From sound to segments of speech, chunk by chunk, as it would come from a microphone.

``VoiceProbability`` runs the model on each chunk, ``Segmenter`` turns its probabilities into segments;
``detect`` does both for sound that is there already.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from tinyseq.session import Session

MODEL = Path(__file__).with_name("data") / "silero_vad_16k.tinyseq"

SAMPLE_RATE = 16_000
"""Hz; the only rate that the model hears."""
CHUNK = 512
"""Samples in a chunk: 32 ms."""
CONTEXT = 64
"""Samples of the previous chunk that the model sees in front of each chunk: 4 ms."""

START_THRESHOLD = 0.5
"""Speech starts with the first chunk that is at least so probable."""
END_THRESHOLD = 0.35
"""Speech may end with the first chunk that is less probable."""
MIN_SPEECH = SAMPLE_RATE * 250 // 1000
"""Samples; what is shorter is no speech."""
MIN_SILENCE = SAMPLE_RATE * 100 // 1000
"""Samples; what is shorter is part of the speech around it."""
PADDING = SAMPLE_RATE * 30 // 1000
"""Samples added on both sides of a segment; less than half of MIN_SILENCE, so segments never meet."""


class Segment(NamedTuple):
    """A stretch of speech, in seconds from the first sample."""

    start: float
    end: float


class Detection(NamedTuple):
    """What was heard in a sound."""

    probabilities: np.ndarray
    """float32[chunks], of speech."""
    step_us: np.ndarray
    """float64[chunks], microseconds that each ``stream.step`` took."""
    segments: list[Segment]


class VoiceProbability:
    """The model on one live signal at 16 kHz: gives each chunk its probability of speech.

    A first step on silence is made and undone here, so that no chunk has to wait for the planning.
    """

    def __init__(self, session: Session) -> None:
        self.step_us = 0.0
        """Microseconds that the model took for the latest chunk."""
        self._window = np.zeros((1, CONTEXT + CHUNK), np.float32)
        self._feeds = {"input": self._window, "sr": np.array(SAMPLE_RATE)}
        self._out = {"output": np.empty((1, 1), np.float32)}
        self._stream = session.stream()
        self._stream.step(self._feeds, out=self._out)
        self._stream.reset()

    def push(self, chunk: np.ndarray) -> float:
        """The probability that there is speech in the next chunk.

        Args:
            chunk: float32[512]; the last one may be shorter, silence is taken to follow it.
        """
        self._window[0, :CONTEXT] = self._window[0, -CONTEXT:]
        self._window[0, CONTEXT : CONTEXT + len(chunk)] = chunk
        self._window[0, CONTEXT + len(chunk) :] = 0
        begin = perf_counter_ns()
        self._stream.step(self._feeds, out=self._out)
        self.step_us = (perf_counter_ns() - begin) / 1000
        return float(self._out["output"][0, 0])


class Segmenter:
    """Turns probabilities of successive chunks into segments, each given as soon as it is over."""

    def __init__(self) -> None:
        self._at = 0
        self._start: int | None = None
        self._silence: int | None = None

    def push(self, probability: float) -> Segment | None:
        """Takes the next chunk's probability; gives the segment that is known to be over with it."""
        at = self._at
        self._at += CHUNK
        if probability >= START_THRESHOLD:
            self._start = at if self._start is None else self._start
            self._silence = None
        # Written so that NaN is silence: nothing is known to be speech there.
        elif self._start is not None and not probability >= END_THRESHOLD:
            self._silence = at if self._silence is None else self._silence
            if at - self._silence >= MIN_SILENCE:
                return self._close(self._silence, at)
        return None

    def finish(self, samples: int) -> Segment | None:
        """The segment that is still open when the sound ends after so many samples, if there is one."""
        if self._start is None:
            return None
        return self._close(samples if self._silence is None else self._silence, samples)

    def _close(self, end: int, heard: int) -> Segment | None:
        start, self._start, self._silence = self._start, None, None
        if end - start < MIN_SPEECH:
            return None
        start, end = max(start - PADDING, 0), min(end + PADDING, heard)
        return Segment(start / SAMPLE_RATE, end / SAMPLE_RATE)


def chunks(samples: np.ndarray) -> list[np.ndarray]:
    """Sound, float32[samples], cut into chunks; the last one may be shorter."""
    return [samples[at : at + CHUNK] for at in range(0, len(samples), CHUNK)]


def detect(sound: Iterable[np.ndarray], session: Session) -> Detection:
    """Finds the speech in successive chunks of sound; see ``VoiceProbability.push`` for a chunk."""
    voice, segmenter = VoiceProbability(session), Segmenter()
    probabilities, step_us, segments, samples = [], [], [], 0
    for chunk in sound:
        samples += len(chunk)
        probabilities.append(voice.push(chunk))
        step_us.append(voice.step_us)
        segments.append(segmenter.push(probabilities[-1]))
    segments.append(segmenter.finish(samples))
    found = [segment for segment in segments if segment is not None]
    return Detection(np.array(probabilities, np.float32), np.array(step_us), found)
