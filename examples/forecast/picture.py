"""The picture: the last values, and the forecasts that were made before they came, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..picture import ACCENT, INK, figure, plain
from .features import naive
from .scores import MEDIAN

STRETCHES = 4
"""Forecasts that are drawn, each beginning where the one before ends."""
WIDE, NARROW = "#f3d9c2", "#e3a97c"
"""The intervals of 90 and of 50 %."""
NAIVE = "#8aa0b2"


class Drawn(NamedTuple):
    """A series to draw."""

    title: str
    unit: str
    step: str
    season: int
    values: np.ndarray
    quantiles: np.ndarray
    """[values, horizon, QUANTILES]: after each value."""
    ahead: bool
    """Whether the forecast past the end is drawn too."""


def draw(all_drawn: Sequence[Drawn]) -> Any:
    """Series one above the other, as a figure of matplotlib.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    drawn = figure((9, 0.4 + 2.3 * len(all_drawn)), 100)
    rows = drawn.subplots(len(all_drawn), 1, squeeze=False)[:, 0]
    for axes, one in zip(rows, all_drawn, strict=True):
        _draw(axes, one)
    rows[0].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
    return drawn


def _draw(axes: Any, one: Drawn) -> None:
    horizon = one.quantiles.shape[1]
    end = len(one.values) - 1
    starts = [end - horizon * back for back in range(0 if one.ahead else 1, STRETCHES + 1)]
    starts = [at for at in starts if at >= one.season]
    first = max(0, min(starts, default=end) - horizon // 2)
    for number, at in enumerate(starts):
        steps, found = np.arange(at + 1, at + horizon + 1) - end, one.quantiles[at]
        names = ("90 %", "50 %", "median", "a season before") if number == 0 else (None,) * 4
        axes.fill_between(steps, found[:, 0], found[:, 4], color=WIDE, linewidth=0, label=names[0])
        axes.fill_between(steps, found[:, 1], found[:, 3], color=NARROW, linewidth=0, label=names[1])
        axes.plot(steps, found[:, MEDIAN], color=ACCENT, linewidth=1.1, label=names[2])
        before = naive(one.values, np.array([at]), one.season, horizon)[0]
        axes.plot(steps, before, color=NAIVE, linewidth=0.9, linestyle=(0, (3, 2)), label=names[3])
        axes.axvline(at - end, color=INK, linewidth=0.5, alpha=0.35)
    axes.plot(np.arange(first, end + 1) - end, one.values[first:], color=INK, linewidth=1, label="what came")
    axes.set_title(one.title, loc="left", color=INK, fontsize=10, parse_math=False)
    axes.set_ylabel(one.unit, color=INK, parse_math=False)
    axes.set_xlabel(f"{one.step}s from the last value", color=INK, fontsize=8)
    axes.margins(x=0.01)
    plain(axes)
