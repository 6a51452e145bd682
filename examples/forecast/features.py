"""What the model sees of a series: numbers without a unit, from the values so far alone.

A value is seen as its difference to the naive forecast, which is the value a season before, in units of how
large such differences have been lately. So a model knows no level and no scale, and both may drift.
"""

from __future__ import annotations

import numpy as np

PROFILE = 8
"""Numbers that say how the last season went on from here."""
COUNT = 3 + PROFILE
"""Numbers that the model sees of each value."""
LIMIT = 8.0
"""The greatest that any of them becomes."""


def naive(values: np.ndarray, at: np.ndarray, season: int, horizon: int) -> np.ndarray:
    """The seasonal naive forecast [len(at), horizon] after each of the positions ``at``: the last value that
    lies whole seasons before."""
    ahead = np.arange(1, horizon + 1)
    return values[at[:, None] + ahead - season * -(-ahead // season)]


class Online:
    """Makes features of values one at a time; keeps the last season and two averages, nothing else."""

    def __init__(self, season: int, horizon: int) -> None:
        self.season, self.horizon = season, horizon
        self.last = np.zeros(season)
        """The last season's values, the oldest first."""
        self.count = 0
        self.scale = self.spread = 0.0
        """The averages of the differences to a season before, and to the value before."""
        steps = np.unique(np.linspace(1, min(horizon, season), PROFILE).round().astype(int))
        self._profile = np.resize(steps, PROFILE) - 1

    @property
    def ready(self) -> bool:
        """Whether a season and a value have come."""
        return self.count > self.season

    def push(self, value: float) -> np.ndarray:
        """The features, float32[COUNT], after a new value; all zero until a season has come."""
        step, difference = value - self.last[-1], value - self.last[0]
        if self.count:
            self.spread += (abs(step) - self.spread) / min(self.count, max(self.season, 20))
        if self.count >= self.season:
            seen = self.count - self.season + 1
            self.scale += (abs(difference) - self.scale) / min(seen, max(self.season, 20))
        self.last[:-1] = self.last[1:]
        self.last[-1] = value
        self.count += 1
        if not self.ready:
            return np.zeros(COUNT, np.float32)
        scale, spread = max(self.scale, 1e-12), max(self.spread, 1e-12)
        ahead = (self.last[self._profile] - value + difference) / (spread * self.season**0.5)
        seen = (difference / scale, step / spread, np.log(scale / spread), *ahead)
        return np.clip(seen, -LIMIT, LIMIT).astype(np.float32)

    def naive(self) -> np.ndarray:
        """The seasonal naive forecast [horizon]."""
        return self.last[np.arange(self.horizon) % self.season]
