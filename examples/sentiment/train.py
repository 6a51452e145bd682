"""Trains the sentiment model: ``python -m examples.sentiment.train``. Needs torch, tqdm and onnxscript."""

from __future__ import annotations

from time import process_time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from ..network import epochs_given
from . import data, export
from .words import UNKNOWN, Vocabulary

RAREST = 5
"""How often a word must be found to be known."""
EMBEDDING, SIZE, DROPOUT, FORGOTTEN = 24, 32, 0.5, 0.1
BATCH, RATE, EPOCHS, SEED = 64, 3e-3, 14, 1
STEEPNESS = 2.0
"""Of the curve from a mean rating to the probability that the model is to give."""


class Sentiment(nn.Module):
    """From words, int64 [batch, words], to the logit of a favourable review, [batch]."""

    def __init__(self, known: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(known, EMBEDDING)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.layer = nn.GRU(EMBEDDING, SIZE, batch_first=True, bidirectional=True)
        self.output = nn.Linear(4 * SIZE, 1)
        self.forward_output = nn.Linear(SIZE, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, words: Tensor) -> Tensor:
        """As the exported model does."""
        return self.both(words)[0]

    def both(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """The logit, and what the forward layer thinks behind each word, [batch, words]."""
        hidden = self.layer(self.dropout(self.embedding(words)))[0]
        pooled = torch.cat((hidden.amax(1), hidden.mean(1)), -1)
        mind = self.forward_output(self.dropout(hidden[..., :SIZE]))
        return self.output(self.dropout(pooled))[:, 0], mind[..., 0]


def batches(reviews: list[data.Review], vocabulary: Vocabulary, generator: np.random.Generator) -> list:
    """Batches of words and targets, of sentences of one length each, so that none needs padding."""
    lengths: dict[int, list] = {}
    for at in generator.permutation(len(reviews)):
        words = vocabulary.numbers(reviews[at].text)
        lengths.setdefault(len(words), []).append((words, 1 / (1 + np.exp(-STEEPNESS * reviews[at].rating))))
    found = [same[at : at + BATCH] for same in lengths.values() for at in range(0, len(same), BATCH)]
    return [
        (torch.tensor(np.stack(words)), torch.tensor(np.array(targets), dtype=torch.float32))
        for words, targets in (zip(*found[at]) for at in generator.permutation(len(found)))
    ]


def accuracy(model: Sentiment, reviews: list[data.Review], vocabulary: Vocabulary) -> float:
    """The part of the reviews whose side is found."""
    model.eval()
    with torch.no_grad():
        right = [
            bool(model(torch.from_numpy(vocabulary.numbers(r.text))[None]) > 0) == r.favourable
            for r in reviews
        ]
    return sum(right) / len(right)


def loss(model: Sentiment, words: Tensor, targets: Tensor) -> Tensor:
    """Of the whole model, and of the forward layer behind every word, the later the more."""
    logit, mind = model.both(words)
    weights = torch.linspace(0, 2, words.shape[1] + 1)[1:] / words.shape[1]
    early = binary_cross_entropy_with_logits(mind, targets[:, None].expand_as(mind), reduction="none")
    return binary_cross_entropy_with_logits(logit, targets) + 0.5 * (early * weights).sum(1).mean()


def train(epochs: int) -> tuple[Sentiment, Vocabulary]:
    """A model trained on the reviews, that of the best epoch by the validation, and its vocabulary."""
    torch.manual_seed(SEED)
    generator = np.random.default_rng(SEED)
    parts = data.split()
    vocabulary = Vocabulary.of((review.text for review in parts.train), RAREST)
    model, best, kept = Sentiment(len(vocabulary)), 0.0, {}
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    begin, progress = process_time(), tqdm(range(epochs), unit="epoch")
    for epoch in progress:
        model.train()
        for words, targets in batches(parts.train, vocabulary, generator):
            forgotten = torch.rand(words.shape) < FORGOTTEN
            optimizer.zero_grad()
            loss(model, words.masked_fill(forgotten, UNKNOWN), targets).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        reached = accuracy(model, parts.validation, vocabulary)
        progress.write(f"epoch {epoch + 1}: {100 * reached:.1f} % of validation")
        if reached > best:
            best, kept = reached, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    print(f"trained in {process_time() - begin:.0f} s of processor time")
    return model.eval(), vocabulary


def main() -> None:
    """Trains, measures and exports."""
    model, vocabulary = train(epochs_given(__doc__, EPOCHS))
    print(f"test: {100 * accuracy(model, data.split().test, vocabulary):.1f} %")
    export.export(model, vocabulary)


if __name__ == "__main__":
    main()
