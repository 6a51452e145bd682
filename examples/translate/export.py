"""From the trained torch model to ``encoder.tinyseq`` and ``decoder.tinyseq``, by ONNX, in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..network import NarrowTable, save
from ..subwords import Subwords
from .languages import START

FOLDER = Path(__file__).parent
ENCODER, DECODER, VOCABULARY = (
    FOLDER / name for name in ("encoder.tinyseq", "decoder.tinyseq", "vocabulary.txt")
)
EXPECTED = FOLDER.parents[1] / "tests" / "data" / "demo_translate.npz"
"""What torch gives for a sentence, before weights are narrowed."""
SENTENCE, LANGUAGE, TRANSLATION = "Turn on the light in the kitchen.", "es", "Enciende la luz de la cocina."
PRECISION = "int8"


def export(model: nn.Module, subwords: Subwords) -> None:
    """Writes both models and the vocabulary, with sizes left open, and what the tests expect of them."""
    given = torch.tensor([subwords.encode(SENTENCE)])
    target = torch.tensor([[START[LANGUAGE], *subwords.encode(TRANSLATION)]])
    with torch.no_grad():
        logits = model.eval()(given, target).numpy().astype(np.float16)
    np.savez_compressed(EXPECTED, source=given.numpy(), target=target.numpy(), logits=logits)
    table = NarrowTable(model.encoder.embedding.weight.detach())
    model.encoder.embedding = model.decoder.embedding = table
    model.eval()
    subwords.save(VOCABULARY)
    source, token = torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.int64)
    keys, values, state = model.encoder(source)
    inputs = {"source": (source, ("batch", "source"))}
    save(ENCODER, model.encoder, inputs, ["keys", "values", "state"], PRECISION)
    inputs = {
        "tokens": (token, ("batch",)),
        "keys": (keys, ("batch", "source")),
        "values": (values, ("batch", "source")),
        "state": (state, ("batch",)),
    }
    save(DECODER, model.decoder, inputs, ["logits", "attention", "next_state"], PRECISION)
