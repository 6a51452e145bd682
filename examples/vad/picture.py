"""The picture: waveform, probability of speech and segments over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyseq.speech.segments import CHUNK, SAMPLE_RATE, Segment, VoiceOptions

from ..audio import Audio
from ..picture import ACCENT, INK, MUTED, SHADE, SHADE_INK, figure, plain
from .detection import Detection

COLUMNS = 3000
"""Most columns that the waveform is drawn with; each shows the least and greatest of its samples."""


def draw(title: str, audio: Audio, detection: Detection) -> Any:
    """The picture of what was heard, as a figure of matplotlib.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    drawn = figure()
    upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    upper.set_title(title, loc="left", color=INK, fontsize=11, parse_math=False)
    upper.set_title(_count(detection.segments), loc="right", color=SHADE_INK, fontsize=11)
    spans = [(start, end - start) for start, end in detection.segments]
    for axes in (upper, lower):
        axes.broken_barh(spans, (0, 1), transform=axes.get_xaxis_transform(), color=SHADE, linewidth=0)
        plain(axes)
    _draw_waveform(upper, audio.samples)
    _draw_probability(lower, detection.probabilities, detection.options)
    lower.set_xlim(0, audio.seconds)
    lower.set_xlabel("time (s)", color=INK)
    lower.xaxis.get_major_locator().set_params(nbins=12, steps=(1, 2, 5, 10))
    drawn.align_ylabels()
    return drawn


def _count(segments: list[Segment]) -> str:
    if not segments:
        return "no speech"
    return f"{len(segments)} segment{'s' * (len(segments) > 1)} of speech, shaded"


def _draw_waveform(axes, samples: np.ndarray) -> None:
    width = -(-len(samples) // COLUMNS)
    columns = np.arange(0, len(samples), width)
    low, high = np.minimum.reduceat(samples, columns), np.maximum.reduceat(samples, columns)
    axes.fill_between(columns / SAMPLE_RATE, low, high, color=MUTED, linewidth=0.6)
    peak = np.abs(samples).max()
    axes.set_ylim(-1.1 * (peak or 1), 1.1 * (peak or 1))
    axes.set_ylabel("amplitude", color=INK)


def _draw_probability(axes, probabilities: np.ndarray, options: VoiceOptions) -> None:
    for threshold, what in ((options.threshold, "start"), (options.negative_threshold, "end")):
        axes.axhline(threshold, color=INK, linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.6)
        place = {"xy": (1, threshold), "xycoords": axes.get_yaxis_transform(), "xytext": (4, 0)}
        axes.annotate(what, **place, textcoords="offset points", va="center", fontsize=8, color=INK)
    edges = np.arange(len(probabilities) + 1) * (CHUNK / SAMPLE_RATE)
    steps = np.append(probabilities, probabilities[-1:])
    axes.step(edges, steps, where="post", color=ACCENT, linewidth=1.2)
    axes.set_ylim(-0.05, 1.05)
    axes.set_yticks((0, 0.5, 1))
    axes.set_ylabel("probability\nof speech", color=INK)
