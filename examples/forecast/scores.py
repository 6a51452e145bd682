"""How good forecasts were, once what they were about has come."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .features import naive

MEDIAN = 2
"""Which of the quantiles is the forecast of the value."""


class Scores(NamedTuple):
    """Errors by step ahead, each float64[horizon], and shares of all values."""

    model: np.ndarray
    """Mean absolute errors of the medians."""
    season: np.ndarray
    """Those of the value a season before."""
    last: np.ndarray
    """Those of the last value."""
    inner: float
    """The share of values that lay in the intervals of 50 %."""
    outer: float
    """And in those of 90 %."""


def scores(values: np.ndarray, quantiles: np.ndarray, season: int, first: int) -> Scores:
    """Of quantiles [values, horizon, QUANTILES] after each value of a series, from position ``first`` on, as
    far as it is known what came."""
    horizon = quantiles.shape[1]
    at = np.arange(first, len(values) - horizon)
    true = np.lib.stride_tricks.sliding_window_view(values[1:], horizon)[at]
    found = quantiles[at]

    def error(forecast: np.ndarray) -> np.ndarray:
        return np.abs(forecast - true).mean(0)

    def held(low: int, high: int) -> float:
        return float(((found[..., low] <= true) & (true <= found[..., high])).mean())

    return Scores(
        error(found[..., MEDIAN]),
        error(naive(values, at, season, horizon)),
        error(values[at, None]),
        held(1, 3),
        held(0, 4),
    )
