"""The picture: spectrograms of before and after, and of the clean sound where it is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyseq.speech.segments import SAMPLE_RATE

from ..picture import INK, figure, plain
from .denoiser import FRAME, WINDOW

COLUMNS = 1200
"""Most spectra that are drawn side by side."""
DEEPEST = -75
"""Decibels under the loudest that are drawn as nothing."""


def draw(sounds: dict[str, np.ndarray]) -> Any:
    """The spectrograms of sounds by title, one above the other, as a figure of matplotlib.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    drawn = figure((9, 1.2 + 1.9 * len(sounds)), 100)
    rows = drawn.subplots(len(sounds), 1, sharex=True, squeeze=False)[:, 0]
    spectrograms = {title: _decibels(sound) for title, sound in sounds.items()}
    loudest = max(shown.max() for shown in spectrograms.values())
    for axes, (title, shown) in zip(rows, spectrograms.items(), strict=True):
        seconds = len(sounds[title]) / SAMPLE_RATE
        axes.imshow(
            shown - loudest,
            cmap="magma",
            vmin=DEEPEST,
            vmax=0,
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, SAMPLE_RATE / 2000),
        )
        axes.set_title(title, loc="left", color=INK, fontsize=10, parse_math=False)
        axes.set_ylabel("kHz", color=INK)
        plain(axes)
    rows[-1].set_xlabel("time (s)", color=INK)
    return drawn


def _decibels(sound: np.ndarray) -> np.ndarray:
    """The spectrogram [frequencies, columns] of a sound, of which no more columns are made than are drawn."""
    padded = np.pad(sound, (0, max(0, FRAME - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)
    hop = max(FRAME // 4, -(-len(frames) // COLUMNS))
    power = np.abs(np.fft.rfft(frames[::hop] * WINDOW)) ** 2
    return 10 * np.log10(power.T + 1e-10)
