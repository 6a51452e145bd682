"""Makes the clip of the demo and the list of its utterances that the tests compare with.

Usage, from the root of the repository, with espeak-ng and ``tinyseq[demo]`` installed:

    python docs/make/clip.py
"""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "examples/vad/clip.flac"
UTTERANCES = ROOT / "tests/clip_utterances.json"

SAMPLE_RATE = 16_000
SEED = 20
NOISE_LEVEL = 0.001
"""Standard deviation of the noise floor, of full scale: -60 dB."""
SPEECH_LEVEL = 0.5
"""Peak of each utterance, of full scale."""
AUDIBLE = 0.02
"""Share of its peak at which an utterance begins and ends; what is fainter is cut off."""
LAST_PAUSE = 1.2
"""Seconds after the last utterance."""


class Utterance(NamedTuple):
    """A sentence, the voice and the speed (words per minute) it is said with, and the seconds before it."""

    pause: float
    voice: str
    speed: int
    text: str


SCRIPT = (
    Utterance(1.0, "en-us", 160, "A small network listens to this clip."),
    Utterance(1.5, "en-gb+f3", 140, "It hears thirty two milliseconds at a time."),
    Utterance(2.5, "en-gb-scotland+m3", 200, "It remembers what was said to it."),
    Utterance(1.0, "en-us+f2", 175, "Was that a pause or the end?"),
    Utterance(3.0, "en-gb-x-rp+m7", 130, "Only the memory can tell."),
)


def say(utterance: Utterance) -> np.ndarray:
    """The utterance as float64[samples] at 16 kHz, without the silence around it."""
    command = ["espeak-ng", "-v", utterance.voice, "-s", str(utterance.speed), "--stdout", utterance.text]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    samples, rate = soundfile.read(io.BytesIO(wav))
    samples = soxr.resample(samples, rate, SAMPLE_RATE)
    samples *= SPEECH_LEVEL / np.abs(samples).max()
    audible = np.flatnonzero(np.abs(samples) > AUDIBLE * SPEECH_LEVEL)
    return samples[audible[0] : audible[-1] + 1]


def main() -> None:
    parts, times, at = [], [], 0
    for utterance in SCRIPT:
        speech, pause = say(utterance), np.zeros(round(utterance.pause * SAMPLE_RATE))
        start = at + len(pause)
        at = start + len(speech)
        parts += [pause, speech]
        times.append({"start": start / SAMPLE_RATE, "end": at / SAMPLE_RATE, "text": utterance.text})
    clip = np.concatenate([*parts, np.zeros(round(LAST_PAUSE * SAMPLE_RATE))])
    clip += np.random.default_rng(SEED).normal(0, NOISE_LEVEL, len(clip))
    soundfile.write(CLIP, clip, SAMPLE_RATE, subtype="PCM_16")
    UTTERANCES.write_text(json.dumps(times, indent=2) + "\n")


if __name__ == "__main__":
    main()
