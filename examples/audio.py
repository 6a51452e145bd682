"""From a sound file to what models of speech hear: one channel at 16 kHz, without NaN or infinity."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinyseq.errors import AudioError, FeedError
from tinyseq.speech.segments import SAMPLE_RATE
from tinyseq.speech.sound import Sound, mono

from .packages import package

BLOCK = 1 << 16
"""Frames read from a file at a time."""


class Audio(NamedTuple):
    """Sound ready for a model, and what its file was."""

    samples: np.ndarray
    """float32[samples], mono, at 16 kHz; 1 is full scale."""
    rate: int
    """Hz, of the file."""
    channels: int
    """Of the file."""
    not_finite: int
    """Frames of the file that are NaN or infinite, in whose place there is silence."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


def read(path: str | Path) -> Audio:
    """The sound of a file: any format that soundfile reads, any sample rate, any number of channels.

    Channels are averaged. In the place of frames that are NaN or infinite there is silence.

    Raises:
        AudioError: the file is missing or damaged, or holds no sound.
        MissingPackageError: soundfile is not installed, or soxr, if the file has another rate.
    """
    soundfile = package("soundfile")
    _check_readable(path)
    sound, parts, not_finite = Sound(SAMPLE_RATE), [], 0
    try:
        # As bytes, names may hold what is no text; Windows' names are always text.
        with soundfile.SoundFile(os.fsencode(path) if os.name == "posix" else os.fspath(path)) as file:
            rate, channels = file.samplerate, file.channels
            for block in _mono(file):
                lost = ~np.isfinite(block)
                not_finite += np.count_nonzero(lost)
                block[lost] = 0
                parts.append(sound.push(rate, sound.checked(rate, block)))
            parts.append(sound.finish())
    except FeedError as error:
        raise AudioError(f"cannot hear {path}: {error}") from error
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: a headerless format, as .raw
        why = getattr(error, "error_string", str(error)).rstrip(".")
        raise AudioError(
            f"cannot read {path} as sound: {why}; give a whole WAV, FLAC, Ogg or MP3 file"
        ) from error
    samples = np.concatenate(parts)
    if samples.size == 0:
        raise AudioError(f"{path} holds no sound: not one sample at {SAMPLE_RATE} Hz; give a longer file")
    return Audio(samples, rate, channels, int(not_finite))


def _check_readable(path: str | Path) -> None:
    """soundfile does not say why it cannot open a file; the operating system does."""
    try:
        Path(path).open("rb").close()
    except OSError as error:
        raise AudioError(
            f"cannot read {path}: {error.strerror}; check the name and its permissions"
        ) from error


def _mono(file) -> Iterator[np.ndarray]:
    """The file's frames from first to last as blocks of float32[frames]."""
    while len(frames := file.read(BLOCK, dtype="float32")):
        yield mono(frames)
