"""Trains the translator: ``python -m examples.translate.train``. Needs torch, tqdm and onnxscript."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from time import process_time

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from ..network import epochs_given
from . import data, export
from .subwords import END, START, Subwords, learned

PIECES = 1000
BATCH, RATE, EPOCHS, SEED = 64, 3e-3, 9, 1
EMBEDDING, WIDTH, SIZE = 80, 112, 176
DROPOUT, SMOOTHING = 0.2, 0.1
NOTHING = -100
"""In the place of tokens behind the end."""


class Encoder(nn.Module):
    """From a source's tokens, int64 [batch, source], to what the decoder looks at."""

    def __init__(self, embedding: nn.Embedding, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.embedding, self.dropout = embedding, nn.Dropout(dropout)
        self.layer = nn.GRU(EMBEDDING, WIDTH, batch_first=True, bidirectional=True)
        self.keys = nn.Linear(2 * WIDTH, SIZE)
        self.start = nn.Linear(2 * WIDTH, SIZE)

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys [batch, source, SIZE], values [batch, source, 2 * WIDTH], the first state [batch, SIZE]."""
        hidden, last = self.layer(self.dropout(self.embedding(source)))
        hidden = self.dropout(hidden)
        state = torch.tanh(self.start(torch.cat((last[0], last[1]), -1)))
        return self.keys(hidden), hidden, state


class Decoder(nn.Module):
    """From the last tokens, int64 [batch, target], and the encoder's outputs to logits of the next ones."""

    def __init__(self, embedding: nn.Embedding, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.embedding, self.dropout = embedding, nn.Dropout(dropout)
        self.layer = nn.GRU(EMBEDDING, SIZE, batch_first=True)
        self.join = nn.Linear(SIZE + 2 * WIDTH, EMBEDDING)
        self.output = nn.Linear(EMBEDDING, embedding.num_embeddings)
        self.output.weight = embedding.weight

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        """Logits [batch, target, pieces], the attention [batch, target, source], the next state."""
        hidden, last = self.layer(self.dropout(self.embedding(tokens)), state[None])
        attention = torch.softmax(hidden @ keys.transpose(1, 2) / SIZE**0.5, -1)
        joined = torch.tanh(self.join(torch.cat((hidden, attention @ values), -1)))
        return self.output(self.dropout(joined)), attention, last[0]


class Translator(nn.Module):
    """Encoder and decoder, with one table of embeddings."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        embedding = nn.Embedding(pieces, EMBEDDING)
        nn.init.normal_(embedding.weight, std=EMBEDDING**-0.5)
        self.encoder, self.decoder = Encoder(embedding), Decoder(embedding)

    def forward(self, source: Tensor, tokens: Tensor) -> Tensor:
        """Logits of what follows each of the tokens."""
        return self.decoder(tokens, *self.encoder(source))[0]


Example = tuple[list[int], list[int]]


def examples(pairs: Sequence[data.Pair], subwords: Subwords) -> list[Example]:
    """Sources and targets as tokens; a target has its language before and the end behind it."""
    return [
        (subwords.encode(source), [START[language], *subwords.encode(target), END])
        for language, source, target in pairs
    ]


def batches(found: Sequence[Example], shuffled: random.Random) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of equally long sources, so that none needs padding; targets are padded with NOTHING."""
    lengths: dict[int, list[Example]] = defaultdict(list)
    for example in shuffled.sample(found, len(found)):
        lengths[len(example[0])].append(example)
    parts = [same[at : at + BATCH] for same in lengths.values() for at in range(0, len(same), BATCH)]
    shuffled.shuffle(parts)
    for part in parts:
        longest = max(len(target) for _, target in part)
        padded = [target + [NOTHING] * (longest - len(target)) for _, target in part]
        yield torch.tensor([source for source, _ in part]), torch.tensor(padded)


def loss(model: Translator, source: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """Mean over the target's tokens."""
    logits = model(source, target[:, :-1].clamp(min=0))
    expected = target[:, 1:].flatten()
    return cross_entropy(logits.flatten(0, 1), expected, ignore_index=NOTHING, label_smoothing=smoothing)


def train(epochs: int) -> tuple[Translator, Subwords]:
    """A translator trained on the pairs, and its vocabulary."""
    torch.manual_seed(SEED)
    shuffled = random.Random(SEED)
    parts = data.split()
    print(f"{len(parts.train)} pairs, {parts.near_duplicates} near-duplicates of held-out ones left out")
    subwords = learned((text for pair in parts.train for text in pair[1:]), PIECES)
    found = examples(parts.train, subwords)
    chosen = list(batches(examples(parts.validation, subwords), shuffled))
    model = Translator(len(subwords))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    steps = epochs * sum(1 for _ in batches(found, random.Random(SEED)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    progress, begin = tqdm(total=steps, unit="step"), process_time()
    for epoch in range(epochs):
        model.train()
        for batch in batches(found, shuffled):
            optimizer.zero_grad()
            loss(model, *batch, SMOOTHING).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            progress.update()
        model.eval()
        with torch.no_grad():
            mean = sum(loss(model, *batch, 0.0).item() for batch in chosen) / len(chosen)
        progress.write(f"epoch {epoch + 1}: {mean:.3f} nats per token of validation")
    progress.close()
    print(f"trained in {process_time() - begin:.0f} s of processor time")
    return model, subwords


def main() -> None:
    """Trains and exports."""
    export.export(*train(epochs_given(__doc__, EPOCHS)))


if __name__ == "__main__":
    main()
