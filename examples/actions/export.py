"""From a trained network to the file that runs: PyTorch's ONNX exporter, then narrow weights."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import tinyseq

from .classifier import SAMPLES, names_of
from .data import EXERCISES, Recording
from .network import Network

PRECISION = "int8"
LONGEST = 300
"""Steps of a recording that ships."""


def onnx(network: Network) -> bytes:
    """A network as an ONNX file."""
    made = io.BytesIO()
    # The newer exporter, dynamo, lays down the number of steps of a recurrent layer.
    torch.onnx.export(
        network.eval(),
        (torch.zeros(2, 8, len(network.mean)),),
        made,
        dynamo=False,
        input_names=["steps"],
        output_names=["probabilities"],
        dynamic_axes={"steps": {0: "movements", 1: "time"}},
    )
    return made.getvalue()


def export(network: Network, names: Sequence[str], path: Path) -> None:
    """Writes a network as a model of tinyseq, and beside it the names of its classes."""
    tinyseq.load(onnx(network), precision=PRECISION).save(path)
    names_of(path).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def export_samples(recordings: Sequence[Recording]) -> None:
    """Writes one recording of each exercise, of people in turn."""
    kept = {}
    for label, name in enumerate(EXERCISES):
        found = [one for one in recordings if one.label == label]
        one = found[label % len(found)]
        kept[f"{name}, person {one.person}"] = one.steps[:LONGEST].astype(np.float16)
    np.savez_compressed(SAMPLES, **kept)
