"""The noisy sound of the demonstration: the clip of the voice detector's in noise, made anew at each run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..fetch import fetch, manifest

DECIBELS = 5.0
"""Of the speech over the noise."""
NOISES = ("pink", "white", "hum")


def noise(kind: str, samples: int, seed: int = 0) -> np.ndarray:
    """Noise of a kind, float64[samples] at 16 kHz, of power 1: pink and white are random, a hum is 100 Hz and
    30 multiples of it, ever weaker."""
    rng = np.random.default_rng(seed)
    if kind == "hum":
        time = np.arange(samples) / 16_000
        made = sum(np.sin(2 * np.pi * 100 * k * time + rng.uniform(0, 6)) / k**0.5 for k in range(1, 32))
    else:
        spectrum = np.fft.rfft(rng.standard_normal(samples))
        if kind == "pink":
            spectrum /= np.maximum(np.arange(len(spectrum)), 10) ** 0.5
        made = np.fft.irfft(spectrum, samples)
    return made / np.sqrt(np.mean(made**2))


def noisy(clean: np.ndarray, kind: str = "pink", decibels: float = DECIBELS) -> np.ndarray:
    """A sound, float32[samples], with noise that lies some decibels under it."""
    level = np.sqrt(np.mean(clean.astype(np.float64) ** 2)) * 10 ** (-decibels / 20)
    return (clean + level * noise(kind, len(clean))).astype(np.float32)


def original() -> Path:
    """The model as it was published, an ONNX file.

    Raises:
        UnavailableError: its package cannot be had.
    """
    return fetch(manifest(Path(__file__).with_name("manifest.toml"))["gtcrn"])
