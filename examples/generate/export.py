"""From the trained torch model to ``generate.tinyseq``, by ONNX, with weights of 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..network import save
from .characters import numbers

MODEL = Path(__file__).with_name("generate.tinyseq")
EXPECTED = Path(__file__).parents[2] / "tests" / "data" / "demo_generate.npz"
"""What torch gives for a text before weights are narrowed."""
TEXT = "Now it came to pass in the days when the judges ruled, that there was a famine in the land."
PRECISION = "int8"


def export(model: torch.nn.Module) -> None:
    """Writes the model, with a batch and a time of any size, and what the tests expect of it."""
    tokens = torch.from_numpy(numbers("\n" + TEXT))[None]
    with torch.no_grad():
        np.savez_compressed(EXPECTED, tokens=tokens.numpy(), logits=model(tokens).numpy().astype(np.float16))
    save(
        MODEL,
        model,
        {"tokens": (torch.zeros(2, 5, dtype=torch.int64), ("batch", "time"))},
        ["logits"],
        PRECISION,
    )
