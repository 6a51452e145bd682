"""Trains the translator: ``python -m examples.translate.train``. Needs torch, tqdm and onnxscript."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from time import process_time

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from ..muon import Optimizers
from ..network import epochs_given
from ..subwords import END, Subwords, learned
from . import data, export
from .languages import START, TOKENS

PIECES = 2500
BATCH, SEED = 96, 1
RATES = 3e-3, 2e-3
"""Of Muon and AdamW."""
ROUNDS = (9, 1.0), (5, 0.6), (16, 1.0)
"""Epochs, and for how large a part of them the rates fall; with each round they begin anew."""
POOL = 8 * BATCH
"""Pairs with equally long sources that are sorted by their targets' length, so that little is padded."""
EMBEDDING, WIDTH, SIZE = 80, 112, 160
SCALE = EMBEDDING**0.5
"""Of embeddings that are read: as large as states are, though the same ones are small in the output."""
DROPOUT, SMOOTHING = 0.15, 0.1
NOTHING = -100
"""In the place of tokens behind the end."""


class Encoder(nn.Module):
    """From a source's tokens, int64 [batch, source], to what the decoder looks at."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding, self.dropout = embedding, nn.Dropout(DROPOUT)
        self.layer = nn.GRU(EMBEDDING, WIDTH, batch_first=True, bidirectional=True)
        self.keys = nn.Linear(2 * WIDTH + EMBEDDING, SIZE)
        self.values = nn.Linear(2 * WIDTH + EMBEDDING, SIZE)
        self.start = nn.Linear(2 * WIDTH, 2 * SIZE)

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values [batch, source, SIZE], the first state [batch, 2 * SIZE]."""
        words = self.dropout(self.embedding(source) * SCALE)
        hidden, last = self.layer(words)
        state = torch.tanh(self.start(torch.cat((last[0], last[1]), -1)))
        both = torch.cat((self.dropout(hidden), words), -1)
        return self.keys(both), self.values(both), state


class Decoder(nn.Module):
    """From the last tokens, int64 [batch, target], and the encoder's outputs to logits of the next ones.

    One layer says where to look, another remembers what was seen there.
    """

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding, self.dropout = embedding, nn.Dropout(DROPOUT)
        self.look = nn.GRU(EMBEDDING, SIZE, batch_first=True)
        self.layer = nn.GRU(SIZE, SIZE, batch_first=True)
        self.join = nn.Linear(2 * SIZE, EMBEDDING)
        self.output = nn.Linear(EMBEDDING, embedding.num_embeddings)
        self.output.weight = embedding.weight

    def forward(self, tokens: Tensor, keys: Tensor, values: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        """Logits [batch, target, pieces], the attention [batch, target, source], the next state."""
        first, second = state[None].chunk(2, -1)
        query, first = self.look(self.dropout(self.embedding(tokens) * SCALE), first.contiguous())
        attention = torch.softmax(query @ keys.transpose(1, 2) / SIZE**0.5, -1)
        seen = attention @ values
        hidden, second = self.layer(self.dropout(query + seen), second.contiguous())
        joined = torch.tanh(self.join(self.dropout(torch.cat((hidden, seen), -1))))
        logits = self.output(self.dropout(joined))
        return logits, attention, torch.cat((first[0], second[0]), -1)


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


def batches(found: Sequence[Example], chance: random.Random) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of equally long sources, so that none needs padding; targets are padded with NOTHING."""
    lengths: dict[int, list[Example]] = defaultdict(list)
    for example in chance.sample(found, len(found)):
        lengths[len(example[0])].append(example)
    parts = []
    for pool in (same[at : at + POOL] for same in lengths.values() for at in range(0, len(same), POOL)):
        pool.sort(key=lambda example: len(example[1]))
        parts += [pool[at : at + BATCH] for at in range(0, len(pool), BATCH)]
    chance.shuffle(parts)
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
    """A translator trained on the pairs, in the last round for so many epochs, and its vocabulary."""
    torch.manual_seed(SEED)
    chance = random.Random(SEED)
    parts = data.split()
    print(f"{len(parts.train)} pairs, {parts.near_duplicates} near-duplicates of held-out ones left out")
    subwords = learned((text for pair in parts.train for text in pair[1:]), PIECES, TOKENS)
    found = examples(parts.train, subwords)
    chosen = list(batches(examples(parts.validation, subwords), chance))
    model, begin = Translator(len(subwords)), process_time()
    rounds = *ROUNDS[:-1], (epochs, ROUNDS[-1][1])
    with tqdm(total=sum(epochs for epochs, _ in rounds) * len(found), unit="pair") as progress:
        for number, (epochs, fall) in enumerate(rounds, 1):
            optimizers = Optimizers(model, epochs, RATES, fall, by_adam=[model.decoder.output.weight])
            for epoch in range(epochs):
                _learn(model, optimizers, epoch, batches(found, chance), len(found), progress)
                progress.write(f"epoch {epoch + 1}: {_mean(model, chosen):.3f} nats per piece of validation")
            torch.manual_seed(SEED + number)
            chance.seed(SEED + number)
    print(f"trained in {process_time() - begin:.0f} s of processor time")
    return model, subwords


def _learn(
    model: Translator,
    optimizers: Optimizers,
    epoch: int,
    found: Iterable[tuple[Tensor, Tensor]],
    count: int,
    progress: tqdm,
) -> None:
    model.train()
    done = 0
    for source, target in found:
        optimizers.step(loss(model, source, target, SMOOTHING), epoch + done / count)
        done += len(source)
        progress.update(len(source))


@torch.no_grad()
def _mean(model: Translator, chosen: Sequence[tuple[Tensor, Tensor]]) -> float:
    model.eval()
    return sum(loss(model, *batch, 0.0).item() for batch in chosen) / len(chosen)


def main() -> None:
    """Trains and exports."""
    export.export(*train(epochs_given(__doc__, ROUNDS[-1][0])))


if __name__ == "__main__":
    main()
