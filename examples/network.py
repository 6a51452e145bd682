"""What the torch models of several demonstrations share: options of a training, narrow tables, and the way to
a .tinyseq file."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

import tinyseq


def epochs_given(description: str | None, epochs: int) -> int:
    """Reads a training's options: for how many epochs, and by how many threads, which torch is told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    return arguments.epochs


class NarrowTable(nn.Module):
    """A table of embeddings in 8 bits, with a scale a row; the precisions of tinyseq leave tables alone."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        scale = table.abs().amax(1, keepdim=True) / 127
        self.register_buffer("rows", torch.round(table / scale).to(torch.int8))
        self.register_buffer("scale", scale)

    def forward(self, tokens: Tensor) -> Tensor:
        """float32 [batch, time, embedding]"""
        return embedding(tokens, self.rows).float() * embedding(tokens, self.scale)


def save(
    path: Path,
    model: nn.Module,
    inputs: dict[str, tuple[Tensor, Sequence[str]]],
    outputs: Sequence[str],
    precision: str,
) -> None:
    """Writes a model by way of ONNX, its weights in a precision.

    Args:
        inputs: by name an example of each, and the names of its first dimensions, whose sizes are left open.
    """
    examples = tuple(example for example, _ in inputs.values())
    sizes = {name: torch.export.Dim(name, max=1 << 16) for _, names in inputs.values() for name in names}
    dynamic = tuple({at: sizes[name] for at, name in enumerate(names)} for _, names in inputs.values())
    names = {"input_names": list(inputs), "output_names": list(outputs)}
    program = torch.onnx.export(model, examples, dynamic_shapes=dynamic, dynamo=True, **names)
    # The exporter takes some of the example's sizes for fixed, though nothing depends on them.
    for value, (_, open_sizes) in zip(program.model.graph.inputs, inputs.values(), strict=True):
        value.shape = type(value.shape)([*open_sizes, *value.shape[len(open_sizes) :]])
    for node in program.model.graph:
        for value in node.outputs:
            value.shape = None
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder, "model.onnx")
        program.save(onnx)
        tinyseq.load(onnx, precision=precision).save(path)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {precision}")
