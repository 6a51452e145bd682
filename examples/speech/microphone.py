"""Sound of the microphone, by the sounddevice package."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue

import numpy as np

from tinyseq.errors import AudioError

from ..packages import package


def microphone(rate: int, chunk: int) -> Iterator[np.ndarray]:
    """Chunks of what the microphone hears, float32[chunk], without end.

    Raises:
        AudioError: there is no microphone, or it cannot be had.
        MissingPackageError: sounddevice is not installed.
    """
    sounddevice = package("sounddevice", extra=None)
    heard: SimpleQueue[np.ndarray] = SimpleQueue()

    def take(samples: np.ndarray, *_: object) -> None:
        heard.put(samples[:, 0].copy())

    try:
        with sounddevice.InputStream(rate, chunk, channels=1, dtype="float32", callback=take):
            while True:
                yield heard.get()
    except sounddevice.PortAudioError as error:
        raise AudioError(
            f"cannot hear the microphone: {error}; connect one, or give a file with --wav"
        ) from error
