"""A live forecaster: after every value, quantiles of those to come."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tinyseq
from tinyseq.errors import ModelError

from .data import QUANTILES
from .features import COUNT, Online

FOLDER = Path(__file__).parent


class Forecaster:
    """A series of which one value comes at a time; its state is the model's stream and the last season.

    Raises:
        ModelError: the model is none of this demonstration's.
    """

    def __init__(self, model: tinyseq.Session, season: int) -> None:
        shapes = [value.shape for value in (*model.inputs, *model.outputs)]
        if len(shapes) != 2 or shapes[0][-1:] != (COUNT,) or shapes[1][3:] != (len(QUANTILES),):
            raise ModelError("this is no model of python -m examples.forecast.train; give one of those")
        self.horizon = int(shapes[1][2])
        self._model, self._stream = model, model.stream()
        self._online = Online(season, self.horizon)

    def push(self, value: float) -> np.ndarray | None:
        """Quantiles, float64[horizon, QUANTILES], of the values to come after a new one; None until a season
        has come."""
        features = self._online.push(value)
        if not self._online.ready:
            return None
        found = self._stream.step({"features": features[None, None]})["quantiles"][0, 0]
        return self._online.naive()[:, None] + self._online.scale * found

    def whole(self, values: np.ndarray) -> np.ndarray:
        """What ``push`` gives for each value of a series from its start on, by one call of the model,
        float64[values, horizon, QUANTILES]; NaN until a season has come."""
        online = Online(self._online.season, self.horizon)
        features, naive, scale = [], [], []
        for value in values:
            features.append(online.push(value))
            naive.append(online.naive())
            scale.append(online.scale)
        made = np.full((len(values), self.horizon, len(QUANTILES)), np.nan)
        season = online.season
        found = self._model.run({"features": np.array(features)[None, season:]})["quantiles"][0]
        made[season:] = np.array(naive)[season:, :, None] + np.array(scale)[season:, None, None] * found
        return made
