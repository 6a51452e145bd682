"""From a trained network to the file that runs: a step by PyTorch's ONNX exporter, then narrow weights."""

from __future__ import annotations

import io
from pathlib import Path

import torch

import tinyseq

from .data import SIZE
from .network import Network, Step

PRECISION = "float16"


def export(network: Network, path: Path) -> None:
    """Writes a network as a model of tinyseq."""
    made = io.BytesIO()
    # Two states, not one twice, which the exporter would take for one input.
    h, c = (torch.zeros(1, network.channels, SIZE, SIZE) for _ in range(2))
    torch.onnx.export(
        Step(network).eval(),
        (torch.zeros(1, 1, SIZE, SIZE), h, c),
        made,
        dynamo=False,
        input_names=["frame", "h", "c"],
        output_names=["next", "hn", "cn"],
    )
    tinyseq.load(made.getvalue(), state={"h": "hn", "c": "cn"}, precision=PRECISION).save(path)
