"""Makes the models of demonstrations anew, and with them what PyTorch computes, which tests compare with.

Usage, from the root of the repository, with ``tinyseq[examples]`` installed:

    python -m tests.examples.data.make_expected
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from examples.actions import classifier, data
from examples.actions import export as actions_export
from examples.actions import train as actions
from examples.forecast import export as forecast_export
from examples.forecast import train as forecast
from examples.forecast.data import SERIES, fetched
from examples.forecast.features import COUNT
from examples.forecast.forecaster import FOLDER
from examples.frames import export as frames_export
from examples.frames import train as frames
from examples.frames.data import SIZE, films
from examples.frames.foresight import MODEL

HERE = Path(__file__).parent


@torch.no_grad()
def main() -> None:
    """Trains, exports and writes the expected outputs."""
    with torch.enable_grad():
        series = {
            name: forecast.train(fetched(name), one, forecast.STEPS[name]) for name, one in SERIES.items()
        }
        exercises = actions.trained_on_exercises()
        film_maker = frames.train()
    write_forecast(series)
    write_actions(exercises)
    write_frames(film_maker)


def write_forecast(networks: dict) -> None:
    features = torch.tensor(np.random.default_rng(0).normal(0, 1, (2, 40, COUNT)).astype(np.float32))
    for name, network in networks.items():
        forecast_export.export(network, FOLDER / f"{name}.tinyseq")
    expected = {name: network(features).numpy() for name, network in networks.items()}
    np.savez_compressed(HERE / "forecast_expected.npz", features=features.numpy(), **expected)


def write_actions(network) -> None:
    actions_export.export(network, data.EXERCISES, classifier.MODEL)
    steps = data.exercises()[0].steps[:60]
    probabilities = network(torch.tensor(steps)[None])[0].numpy()
    np.savez_compressed(HERE / "actions_expected.npz", steps=steps, probabilities=probabilities)


def write_frames(network) -> None:
    frames_export.export(network, MODEL)
    film = films(1, 8, 123)[0]
    h = c = torch.zeros(1, network.channels, SIZE, SIZE)
    drawn = []
    for frame in torch.tensor(film):
        scores, h, c = network(frame[None, None], h, c)
        drawn.append(torch.sigmoid(scores)[0, 0].numpy())
    np.savez_compressed(HERE / "frames_expected.npz", film=film, next=np.stack(drawn))


if __name__ == "__main__":
    main()
