"""From the trained torch model to ``generate.tinyseq``, by ONNX, with weights of 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..network import NarrowTable, save
from ..subwords import Subwords
from .pieces import VOCABULARY, cut, numbers

MODEL = Path(__file__).with_name("generate.tinyseq")
EXPECTED = Path(__file__).parents[2] / "tests" / "data" / "demo_generate.npz"
"""What torch gives for a text before weights are narrowed."""
TEXT = "Now it came to pass in the days when the judges ruled, that there was a famine in the land."
PRECISION = "int8"


def export(model: torch.nn.Module, subwords: Subwords) -> None:
    """Writes the model, with a batch and a time of any size, the vocabulary, and what tests expect."""
    tokens = torch.from_numpy(numbers(subwords, cut(subwords, TEXT)))[None]
    with torch.no_grad():
        np.savez_compressed(EXPECTED, tokens=tokens.numpy(), logits=model(tokens).numpy().astype(np.float16))
    subwords.save(VOCABULARY)
    model.embedding = NarrowTable(model.embedding.weight.detach())
    inputs = {"tokens": (torch.zeros(2, 5, dtype=torch.int64), ("batch", "time"))}
    save(MODEL, model, inputs, ["logits"], PRECISION)
