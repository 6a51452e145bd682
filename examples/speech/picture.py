"""The picture: sound, the letters that the network heard in it, and the words that were made of these."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..picture import ACCENT, INK, MUTED, SHADE, figure, plain
from .recognizer import CHUNK, FRAME_SECONDS, RATE


def draw(title: str, sound: np.ndarray, words: list[tuple[str, float, float]], partials: list[tuple]) -> Any:
    """A figure of matplotlib: the sound, float32[samples], with its words, each with its seconds; and when
    how many letters were certain, and how many were tentative: (second, certain, all) of each step.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    drawn = figure((11, 4.2), 100)
    upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    upper.set_title(title, loc="left", color=INK, fontsize=11, parse_math=False)
    rows = sound[: len(sound) // CHUNK * CHUNK].reshape(-1, CHUNK)
    seconds = np.arange(len(rows)) * FRAME_SECONDS
    upper.fill_between(seconds, rows.min(axis=1), rows.max(axis=1), color=MUTED, linewidth=0.5)
    upper.set_ylabel("amplitude", color=INK)
    peak = float(np.abs(sound).max()) or 1.0
    upper.set_ylim(-1.1 * peak, 1.7 * peak)
    for number, (word, start, end) in enumerate(words):
        upper.axvspan(start, end, color=SHADE, linewidth=0, zorder=0)
        height = (1.25, 1.5)[number % 2] * peak
        upper.annotate(word, ((start + end) / 2, height), ha="center", fontsize=9, color=ACCENT)
    at, certain, all_letters = np.array(partials or [(0.0, 0, 0)], float).T
    lower.fill_between(at, certain, step="post", color=MUTED, linewidth=0, label="certain")
    lower.fill_between(at, certain, all_letters, step="post", color=SHADE, linewidth=0, label="may change")
    lower.set_ylabel("letters of\nthe utterance", color=INK)
    lower.legend(loc="upper left", fontsize=8, frameon=False)
    lower.set_xlabel("time (s)", color=INK)
    lower.set_xlim(0, len(sound) / RATE)
    for axes in (upper, lower):
        plain(axes)
    drawn.align_ylabels()
    return drawn
