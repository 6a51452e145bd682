"""A live denoiser: sound in chunks of any length, and the same sound without its noise a frame later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import tinyseq

MODEL = Path(__file__).with_name("gtcrn.tinyseq")
FRAME, HOP = 512, 256
"""Samples at 16 kHz, of a spectrum and from one to the next: 32 and 16 ms."""
WINDOW = np.sqrt(np.hanning(FRAME + 1)[:-1]).astype(np.float32)
"""Weighs a frame before its spectrum is taken, and again when the frames are added up: to one, in all."""


class Denoiser:
    """A stream of sound at 16 kHz, all of whose state is the model's stream and two frames of sound."""

    def __init__(self, model: tinyseq.Session | None = None) -> None:
        self._stream = (model or tinyseq.load(MODEL)).stream()
        self._heard = np.zeros(FRAME, np.float32)
        self._waiting = np.zeros(0, np.float32)
        self._said = np.zeros(FRAME, np.float32)
        self._given = self._taken = 0
        self._silent = HOP
        """Samples of what comes out that lie before the sound's first."""

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The samples without noise that are ready, float32, after float32[samples] came in."""
        self._taken += len(samples)
        return self._run(samples)

    def finish(self) -> np.ndarray:
        """The samples that are left: in all there are as many as came in."""
        missing = self._taken - self._given
        return self._run(np.zeros(HOP + FRAME, np.float32))[:missing]

    def _run(self, samples: np.ndarray) -> np.ndarray:
        self._waiting = np.concatenate([self._waiting, samples])
        made = np.concatenate([np.zeros(0, np.float32), *self._hops()])
        made, self._silent = made[self._silent :], max(0, self._silent - len(made))
        self._given += len(made)
        return made

    def _hops(self) -> Iterator[np.ndarray]:
        while len(self._waiting) >= HOP:
            hop, self._waiting = self._waiting[:HOP], self._waiting[HOP:]
            self._heard = np.concatenate([self._heard[HOP:], hop])
            self._said += self._frame(self._heard)
            done, rest = self._said[:HOP], self._said[HOP:]
            self._said = np.concatenate([rest, np.zeros(HOP, np.float32)])
            yield done

    def _frame(self, sound: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(sound * WINDOW).astype(np.complex64)
        mix = spectrum.view(np.float32).reshape(1, FRAME // 2 + 1, 1, 2)
        clean = self._stream.step({"mix": mix})["enh"]
        return np.fft.irfft(np.ascontiguousarray(clean).view(np.complex64).ravel()) * WINDOW
