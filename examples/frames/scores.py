"""How near drawn frames are to those that came."""

from __future__ import annotations

import numpy as np

from .data import films
from .foresight import Foresight


def errors(count: int, seen: int, ahead: int, seed: int) -> dict[str, np.ndarray]:
    """Mean squared errors of the pixels of frames, float64[ahead] by step ahead, over films that no model was
    trained on: of the model, of the last frame held, and of a black frame."""
    all_films = films(count, seen + ahead, seed)
    found = {"this model": [], "the last frame": [], "nothing": []}
    for film in all_films:
        foresight = Foresight()
        for frame in film[:seen]:
            foresight.push(frame)
        came = film[seen:]
        found["this model"].append((foresight.ahead(ahead) - came) ** 2)
        found["the last frame"].append((film[seen - 1] - came) ** 2)
        found["nothing"].append(came**2)
    return {name: np.mean(made, axis=(0, 2, 3)) for name, made in found.items()}
