"""The voice detector over a sound, chunk by chunk: what it hears, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from tinyseq.speech.segments import CHUNK, SAMPLE_RATE, Segment, VoiceOptions, segments
from tinyseq.speech.voice_detector import VoiceDetector


class Detection(NamedTuple):
    """What was heard in a sound."""

    probabilities: np.ndarray
    """float32[chunks], of speech."""
    chunk_us: np.ndarray
    """float64[chunks], microseconds that each chunk took."""
    segments: list[Segment]
    options: VoiceOptions
    """What makes segments of probabilities."""


def chunks(samples: np.ndarray) -> list[np.ndarray]:
    """Sound, float32[samples], cut into chunks; the last one may be shorter."""
    return [samples[at : at + CHUNK] for at in range(0, len(samples), CHUNK)]


def detect(sound: Iterable[np.ndarray], detector: VoiceDetector) -> Detection:
    """Finds the speech in successive chunks of sound at 16 kHz, of which the last one may be shorter."""
    stream = detector.stream()
    probabilities, chunk_us, events = [], [], []
    for chunk in sound:
        begin = perf_counter_ns()
        events += stream.accept_waveform(SAMPLE_RATE, chunk)
        if len(chunk) < CHUNK:
            events += stream.finish()
        chunk_us.append((perf_counter_ns() - begin) / 1000)
        probabilities.append(stream.probability)
    events += stream.finish()
    return Detection(
        np.array(probabilities, np.float32), np.array(chunk_us), segments(events), detector.options
    )
