"""Trains the language model: ``python -m examples.generate.train``. Needs torch, tqdm and onnxscript."""

from __future__ import annotations

import math
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from ..muon import Optimizers
from ..network import epochs_given
from ..subwords import UNKNOWN, Subwords, learned
from . import data, export
from .pieces import cut, numbers

PIECES, EMBEDDING, SIZE = 1200, 96, 208
SCALE = EMBEDDING**0.5
"""Of embeddings that are read: as large as states are, though the same ones are small in the output."""
ROWS, TIME = 48, 48
"""Places of the text that are read side by side, and pieces of each that a step learns from."""
EPOCHS, SEED = 6, 1
RATES, FALL = (1.5e-2, 4e-3), 0.35
"""Of Muon and AdamW, and for how large a part of the epochs they fall."""
UNKNOWN_SHARE = 1e-4
"""How often a piece is replaced by that which stands for all unknown characters."""


class LanguageModel(nn.Module):
    """From pieces, int64 [batch, time], to the logits of the next ones, float32 [batch, time, pieces]."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(pieces, EMBEDDING)
        nn.init.normal_(self.embedding.weight, std=1 / SCALE)
        self.layers = nn.LSTM(EMBEDDING, SIZE, num_layers=2, batch_first=True)
        self.join = nn.Linear(SIZE, EMBEDDING)
        self.output = nn.Linear(EMBEDDING, pieces)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The logits alone, as the exported model gives them."""
        return self.step(tokens, state)[0]

    def step(self, tokens: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple]:
        """The logits, and the state behind the last piece."""
        hidden, state = self.layers(self.embedding(tokens) * SCALE, state)
        return self.output(self.join(hidden)), state


def bits(model: LanguageModel, subwords: Subwords, text: str) -> float:
    """Bits per character of a text, which a line end precedes."""
    tokens = torch.from_numpy(numbers(subwords, cut(subwords, text)))[None]
    with torch.no_grad():
        logits = model(tokens[:, :-1])[0]
    return cross_entropy(logits, tokens[0, 1:], reduction="sum").item() / math.log(2) / len(text)


def train(epochs: int) -> tuple[LanguageModel, Subwords]:
    """A model trained on the text, and its vocabulary; the state goes on from step to step, as in the
    demonstration."""
    torch.manual_seed(SEED)
    text, validation, _ = data.texts()
    subwords = learned([text], PIECES)
    tokens = numbers(subwords, cut(subwords, text))
    print(f"{len(text):,} characters are {len(tokens):,} pieces of {len(subwords):,} kinds")
    tokens[np.random.default_rng(SEED).random(len(tokens)) < UNKNOWN_SHARE] = UNKNOWN
    length = (len(tokens) - 1) // ROWS
    inputs = torch.from_numpy(tokens[: ROWS * length].reshape(ROWS, length))
    targets = torch.from_numpy(tokens[1 : ROWS * length + 1].reshape(ROWS, length))
    model = LanguageModel(len(subwords))
    optimizers = Optimizers(model, epochs, RATES, FALL, by_adam=[model.embedding.weight])
    progress, begin = tqdm(total=epochs * (length // TIME), unit="step"), process_time()
    for epoch in range(epochs):
        state = None
        for at in range(0, length - TIME + 1, TIME):
            logits, state = model.step(inputs[:, at : at + TIME], state)
            # A text begins with a state of zeros: some places do, each time.
            stay = (torch.rand(ROWS) > 0.02).float()[None, :, None]
            state = tuple(part.detach() * stay for part in state)
            loss = cross_entropy(logits.flatten(0, 1), targets[:, at : at + TIME].flatten())
            optimizers.step(loss, epoch + at / length)
            progress.update()
            progress.set_postfix(bits=f"{loss.item() / math.log(2) * len(tokens) / len(text):.3f}")
        found = bits(model, subwords, validation)
        progress.write(f"epoch {epoch + 1}: {found:.3f} bits per character of validation")
    progress.close()
    print(f"trained in {process_time() - begin:.0f} s of processor time")
    return model.eval(), subwords


def main() -> None:
    """Trains, measures and exports."""
    model, subwords = train(epochs_given(__doc__, EPOCHS))
    print(f"test: {bits(model, subwords, data.texts()[2]):.3f} bits per character")
    export.export(model, subwords)


if __name__ == "__main__":
    main()
