"""A live classifier: probabilities of all classes after every step of a movement."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tinyseq
from tinyseq.common import files
from tinyseq.errors import ModelError

MODEL = Path(__file__).with_name("exercises.tinyseq")
SAMPLES = Path(__file__).with_name("recordings.npz")


def names_of(model: Path) -> Path:
    """The file, beside a model, of the names of its classes, one a line."""
    return model.with_suffix(".txt")


def samples() -> dict[str, np.ndarray]:
    """The recordings that ship, each float32[steps, channels] by exercise and person."""
    with np.load(SAMPLES) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


class Classifier:
    """A model and the names of its classes; ``stream`` begins a movement.

    Raises:
        ModelError: the model or the file of names cannot be read, or they do not fit each other.
    """

    def __init__(self, path: Path = MODEL) -> None:
        self.model = tinyseq.load(path)
        try:
            self.names = files.text(names_of(path)).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(
                f"cannot read {names_of(path)}, the names of {path.name}'s classes: {error}"
            ) from error
        (given,), (made,) = self.model.inputs, self.model.outputs
        if given.name != "steps" or made.shape[-1] != len(self.names):
            raise ModelError(
                f"{path.name} and {names_of(path).name} do not belong together; "
                "python -m examples.actions.train makes both"
            )

    def stream(self) -> Movement:
        """A movement that begins."""
        return Movement(self.model.stream())

    def whole(self, steps: np.ndarray) -> np.ndarray:
        """Probabilities [steps, classes] of a movement that is over, in one call."""
        return self.model.run({"steps": steps[None]})["probabilities"][0]


class Movement:
    """One movement; all state is the stream's."""

    def __init__(self, stream: tinyseq.Stream) -> None:
        self._stream = stream

    def push(self, step: np.ndarray) -> np.ndarray:
        """Probabilities float32[classes] after a step, float32[channels]."""
        return self._stream.step({"steps": step[None, None]})["probabilities"][0, 0]
