"""Trains the language model: ``python -m examples.generate.train``. Needs torch, tqdm and onnxscript."""

from __future__ import annotations

import math
from time import process_time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from ..network import epochs_given
from . import data, export
from .characters import COUNT, OTHER, numbers

ROWS, TIME = 32, 100
"""Places of the text that are read side by side, and characters of each that a step learns from."""
RATE, EPOCHS, SEED = 4e-3, 2, 1
UNKNOWN = 3e-4
"""How often a character is replaced by that which stands for all unknown ones."""


class LanguageModel(nn.Module):
    """From characters, int64 [batch, time], to the logits of the next ones, float32 [batch, time, COUNT]."""

    def __init__(self, size: int = 168, embedding: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(COUNT, embedding)
        self.layers = nn.LSTM(embedding, size, num_layers=2, batch_first=True)
        self.output = nn.Linear(size, COUNT)

    def forward(self, tokens: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The logits alone, as the exported model gives them."""
        return self.step(tokens, state)[0]

    def step(self, tokens: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple]:
        """The logits, and the state behind the last character."""
        hidden, state = self.layers(self.embedding(tokens), state)
        return self.output(hidden), state


def bits(model: LanguageModel, text: str) -> float:
    """Bits per character of a text, which a line end precedes."""
    tokens = torch.from_numpy(numbers("\n" + text))[None]
    with torch.no_grad():
        logits = model(tokens[:, :-1])[0]
    return cross_entropy(logits, tokens[0, 1:]).item() / math.log(2)


def train(epochs: int) -> LanguageModel:
    """A model trained on the text; the state goes on from step to step, as in the demonstration."""
    torch.manual_seed(SEED)
    text, validation, _ = data.texts()
    tokens = numbers(text)
    tokens[np.random.default_rng(SEED).random(len(tokens)) < UNKNOWN] = OTHER
    length = (len(tokens) - 1) // ROWS
    inputs = torch.from_numpy(tokens[: ROWS * length].reshape(ROWS, length))
    targets = torch.from_numpy(tokens[1 : ROWS * length + 1].reshape(ROWS, length))
    model = LanguageModel()
    steps = epochs * (length // TIME)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.05)
    progress, begin = tqdm(total=steps, unit="step"), process_time()
    for epoch in range(epochs):
        state = None
        for at in range(0, length - TIME + 1, TIME):
            logits, state = model.step(inputs[:, at : at + TIME], state)
            # A text begins with a state of zeros: some places do, each time.
            stay = (torch.rand(ROWS) > 0.02).float()[None, :, None]
            state = tuple(part.detach() * stay for part in state)
            loss = cross_entropy(logits.flatten(0, 1), targets[:, at : at + TIME].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            progress.update()
            progress.set_postfix(bits=f"{loss.item() / math.log(2):.3f}")
        progress.write(f"epoch {epoch + 1}: {bits(model, validation):.3f} bits per character of validation")
    progress.close()
    print(f"trained in {process_time() - begin:.0f} s of processor time")
    return model.eval()


def main() -> None:
    """Trains, measures and exports."""
    model = train(epochs_given(__doc__, EPOCHS))
    print(f"test: {bits(model, data.texts()[2]):.3f} bits per character")
    export.export(model)


if __name__ == "__main__":
    main()
