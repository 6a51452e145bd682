"""From a trained network to the file that runs: PyTorch's ONNX exporter, then narrow weights."""

from __future__ import annotations

import io
from pathlib import Path

import torch

import tinyseq

from .features import COUNT
from .network import Network

PRECISION = "int8"


def export(network: Network, path: Path) -> None:
    """Writes a network as a model of tinyseq."""
    made = io.BytesIO()
    # The newer exporter, dynamo, lays down the number of steps of a recurrent layer.
    torch.onnx.export(
        network.eval(),
        (torch.zeros(2, 8, COUNT),),
        made,
        dynamo=False,
        input_names=["features"],
        output_names=["quantiles"],
        dynamic_axes={"features": {0: "series", 1: "steps"}},
    )
    tinyseq.load(made.getvalue(), precision=PRECISION).save(path)
