"""The picture of minds that change: a probability behind each word of some reviews."""

from __future__ import annotations

from typing import Any

from .. import picture

WIDTH, HEIGHT = 9.0, 1.9
"""Inches; the latter of one review."""


def draw(reviews: list[tuple[list[str], list[float], float]]) -> Any:
    """A figure of words, the probability behind each, and that of the whole, for each review."""
    figure = picture.figure((WIDTH, HEIGHT * len(reviews)), dpi=80)
    for axes, (words, live, whole) in zip(
        figure.subplots(len(reviews), squeeze=False)[:, 0], reviews, strict=True
    ):
        places = range(len(words))
        axes.axhline(0.5, color=picture.INK, linewidth=0.7, linestyle=(0, (4, 4)), alpha=0.6)
        axes.fill_between(places, 0.5, live, step="mid", color=picture.SHADE)
        axes.step(places, live, where="mid", color=picture.ACCENT, linewidth=1.6)
        axes.plot([len(words) - 0.4], [whole], marker="D", color=picture.MUTED, clip_on=False)
        axes.set_xticks(places, words, rotation=40, ha="right", parse_math=False)
        axes.set_xlim(-0.6, len(words) - 0.3)
        axes.set_ylim(0, 1)
        axes.set_yticks((0, 0.5, 1))
        picture.plain(axes)
    figure.supylabel("favourable (diamond: both directions)", color=picture.INK, fontsize=10)
    return figure
