"""From the trained torch model to ``encoder.tinyseq`` and ``decoder.tinyseq``, by ONNX, in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..network import NarrowTable, save
from ..subwords import Subwords
from .forms import Source
from .languages import START

FOLDER = Path(__file__).parent
ENCODER, DECODER, *VOCABULARIES = (
    FOLDER / name for name in ("encoder.tinyseq", "decoder.tinyseq", "source.txt", "target.txt")
)
EXPECTED = FOLDER.parents[1] / "tests" / "data" / "demo_translate.npz"
"""What torch gives for a sentence, before weights are narrowed."""
SENTENCE, LANGUAGE, TRANSLATION = "Turn on the light in the kitchen.", "es", "enciende la luz de la cocina."
PRECISION = "int8"


def export(model: nn.Module, pieces: Sequence[Subwords]) -> None:
    """Writes both models, with sizes left open, the vocabularies, and what the tests expect."""
    source, target = pieces
    given = torch.tensor([source.encode(Source.of(SENTENCE).text)])
    written = torch.tensor([[START[LANGUAGE], *target.encode(TRANSLATION)]])
    with torch.no_grad():
        logits = model.eval()(given, written).numpy().astype(np.float16)
    np.savez_compressed(EXPECTED, source=given.numpy(), target=written.numpy(), logits=logits)
    for part in (model.encoder, model.decoder):
        part.embedding = NarrowTable(part.embedding.weight.detach())
    model.eval()
    for path, subwords in zip(VOCABULARIES, pieces, strict=True):
        subwords.save(path)
    sentence, token = torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.int64)
    keys, values, state = model.encoder(sentence)
    inputs = {"source": (sentence, ("batch", "source"))}
    save(ENCODER, model.encoder, inputs, ["keys", "values", "state"], PRECISION)
    inputs = {
        "tokens": (token, ("batch",)),
        "keys": (keys, ("batch", "source")),
        "values": (values, ("batch", "source")),
        "state": (state, ("batch",)),
    }
    save(DECODER, model.decoder, inputs, ["logits", "attention", "next_state"], PRECISION)
