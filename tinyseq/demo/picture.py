"""The picture: waveform, probability of speech and segments over time."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np

from tinyseq.common.files import writable, writing
from tinyseq.demo.audio import Audio
from tinyseq.demo.packages import package
from tinyseq.demo.vad import Detection
from tinyseq.errors import PictureError
from tinyseq.speech.segments import CHUNK, SAMPLE_RATE, Segment, VoiceOptions

INCHES = (11, 4.8)
DPI = 150
COLUMNS = 3000
"""Most columns that the waveform is drawn with; each shows the least and greatest of its samples."""

INK, WAVE, PROBABILITY = "#333333", "#5b7083", "#b3401e"
SPEECH, SPEECH_INK = "#fae5c0", "#9c6a0a"


def check(path: Path) -> None:
    """Refuses a name that no picture can be written to.

    Raises:
        PictureError: it does not end in .png, stands for no file, or its folder is missing.
    """
    writable(path, PictureError, ".png")


def write(path: str | Path, title: str, audio: Audio, detection: Detection) -> None:
    """Draws what was heard and writes it to ``path`` as PNG.

    Raises:
        PictureError: the name does not end in .png, or the file cannot be written.
        MissingPackageError: matplotlib is not installed.
    """
    with writing(path, PictureError, ".png") as file:
        file.write(draw(title, audio, detection))


def draw(title: str, audio: Audio, detection: Detection) -> bytes:
    """The picture as the bytes of a PNG file."""
    figure = package("matplotlib.figure").Figure(INCHES, DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    upper.set_title(title, loc="left", color=INK, fontsize=11, parse_math=False)
    upper.set_title(_count(detection.segments), loc="right", color=SPEECH_INK, fontsize=11)
    spans = [(start, end - start) for start, end in detection.segments]
    for axes in (upper, lower):
        axes.broken_barh(spans, (0, 1), transform=axes.get_xaxis_transform(), color=SPEECH, linewidth=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=9)
    _draw_waveform(upper, audio.samples)
    _draw_probability(lower, detection.probabilities, detection.options)
    lower.set_xlim(0, audio.seconds)
    lower.set_xlabel("time (s)", color=INK)
    lower.xaxis.get_major_locator().set_params(nbins=12, steps=(1, 2, 5, 10))
    figure.align_ylabels()
    png = BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _count(segments: list[Segment]) -> str:
    if not segments:
        return "no speech"
    return f"{len(segments)} segment{'s' * (len(segments) > 1)} of speech, shaded"


def _draw_waveform(axes, samples: np.ndarray) -> None:
    width = -(-len(samples) // COLUMNS)
    columns = np.arange(0, len(samples), width)
    low, high = np.minimum.reduceat(samples, columns), np.maximum.reduceat(samples, columns)
    axes.fill_between(columns / SAMPLE_RATE, low, high, color=WAVE, linewidth=0.6)
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
    axes.step(edges, steps, where="post", color=PROBABILITY, linewidth=1.2)
    axes.set_ylim(-0.05, 1.05)
    axes.set_yticks((0, 0.5, 1))
    axes.set_ylabel("probability\nof speech", color=INK)
