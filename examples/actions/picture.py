"""The picture: what the watch measures, and how the probabilities unfold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..picture import INK, figure, plain

COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#9d755d")
"""Of classes, in turn."""


def draw(
    steps: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    rate: float,
    unit: str,
    true: Sequence[tuple],
) -> Any:
    """A session, as a figure of matplotlib.

    Args:
        steps: [steps, channels], what was measured.
        probabilities: [steps, classes]
        rate: steps in a unit of time.
        unit: what that is called.
        true: of each movement, where it is known, its first step and its class.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    drawn = figure((11, 4.6), 100)
    upper, lower = drawn.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    seconds = np.arange(len(steps) + 1) / rate
    spread = steps.std(0).max() * 5 or 1
    for channel in range(steps.shape[1]):
        upper.plot(seconds[1:], steps[:, channel] / spread + channel, color=INK, linewidth=0.5)
    upper.set_yticks([])
    upper.set_ylabel(f"{steps.shape[1]} channels", color=INK)
    colours = [COLOURS[at % len(COLOURS)] for at in range(len(names))]
    columns = np.repeat(probabilities.T, 2, axis=1)
    edges = np.repeat(seconds, 2)[1:-1]
    lower.stackplot(edges, columns, colors=colours, linewidth=0, labels=names)
    lower.set_ylim(0, 1)
    lower.set_ylabel("probability", color=INK)
    lower.set_xlabel(f"time ({unit})", color=INK)
    lower.set_xlim(0, seconds[-1])
    lower.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    for first, name in true:
        for axes in (upper, lower):
            axes.axvline(first / rate, color=INK, linewidth=0.8)
        place = {"xy": (first / rate, 1), "xycoords": upper.get_xaxis_transform(), "xytext": (3, 3)}
        upper.annotate(name, **place, textcoords="offset points", fontsize=8, color=INK)
    plain(upper)
    plain(lower)
    return drawn
