"""From the trained torch model to ``sentiment.tinyseq`` and ``forward.tinyseq``, by ONNX, in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..network import NarrowTable, save
from .words import Vocabulary

FOLDER = Path(__file__).parent
WHOLE, FORWARD, VOCABULARY = (
    FOLDER / name for name in ("sentiment.tinyseq", "forward.tinyseq", "vocabulary.txt")
)
EXPECTED = FOLDER.parents[1] / "tests" / "data" / "demo_sentiment.npz"
"""What torch gives for a sentence, before weights are narrowed."""
SENTENCE = "It starts as a boring mess, but the ending is surprisingly moving."
PRECISION = "int8"


class Whole(nn.Module):
    """The model with a probability for an end, [batch]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, words: Tensor) -> Tensor:
        return torch.sigmoid(self.model(words))


class Forward(nn.Module):
    """The layer that reads forward alone, with a probability behind each word, [batch, words]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.embedding, self.output = model.embedding, model.forward_output
        self.layer = nn.GRU(model.layer.input_size, model.layer.hidden_size, batch_first=True)
        own = dict(model.layer.named_parameters())
        self.layer.load_state_dict({name: own[name] for name in self.layer.state_dict()})

    def forward(self, words: Tensor) -> Tensor:
        return torch.sigmoid(self.output(self.layer(self.embedding(words))[0]))[..., 0]


def export(model: nn.Module, vocabulary: Vocabulary) -> None:
    """Writes both models and the vocabulary, with sizes left open, and what the tests expect of them."""
    given = torch.from_numpy(vocabulary.numbers(SENTENCE))[None]
    with torch.no_grad():
        logit, mind = model.eval().both(given)
    whole, forward = torch.sigmoid(logit).numpy(), torch.sigmoid(mind).numpy()
    np.savez_compressed(EXPECTED, words=given.numpy(), whole=whole, forward=forward)
    model.embedding = NarrowTable(model.embedding.weight.detach())
    model.eval()
    vocabulary.save(VOCABULARY)
    words = {"words": (torch.zeros(2, 5, dtype=torch.int64), ("batch", "words"))}
    save(WHOLE, Whole(model), words, ["favourable"], PRECISION)
    save(FORWARD, Forward(model), words, ["favourable"], PRECISION)
