"""Trains the translator: ``python -m examples.translate.train``. Needs torch, tqdm and onnxscript."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from time import process_time
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from ..network import epochs_given
from ..subwords import END, Subwords, learned
from . import data, export
from .forms import Source, small_words
from .languages import LANGUAGES, START, TOKENS

SOURCE_PIECES, TARGET_PIECES = 3000, 4000
EPOCHS, BATCH, SEED = 28, 16, 1
RATE, RISE = 5e-3, 200
"""Of AdamW: it rises for so many steps, and then falls in a line to nothing."""
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
        joined = self.join(self.dropout(torch.cat((hidden, seen), -1)))
        logits = self.output(self.dropout(joined))
        return logits, attention, torch.cat((first[0], second[0]), -1)


class Translator(nn.Module):
    """Encoder and decoder, each with a table of embeddings."""

    def __init__(self, source_pieces: int, target_pieces: int) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(_table(source_pieces)), Decoder(_table(target_pieces))

    def forward(self, source: Tensor, tokens: Tensor) -> Tensor:
        """Logits of what follows each of the tokens."""
        return self.decoder(tokens, *self.encoder(source))[0]


def _table(pieces: int) -> nn.Embedding:
    table = nn.Embedding(pieces, EMBEDDING)
    nn.init.normal_(table.weight, std=EMBEDDING**-0.5)
    return table


class Vocabularies(NamedTuple):
    """The pieces of what is read, and of what is written."""

    source: Subwords
    target: Subwords


Example = tuple[list[int], list[int]]


def formed(pairs: Iterable[data.Pair], small: dict[str, set[str]]) -> list[data.Pair]:
    """The pairs in the form that the networks read and write, each once.

    Args:
        small: by language the words that are written without a capital.
    """
    found = {}
    for language, sentence, translation in pairs:
        source = Source.of(sentence)
        found[data.Pair(language, source.text, source.target(translation, small[language]))] = None
    return list(found)


def examples(pairs: Iterable[data.Pair], pieces: Vocabularies) -> list[Example]:
    """Sources and targets as tokens; a target has its language before and the end behind it."""
    return [
        (pieces.source.encode(source), [START[language], *pieces.target.encode(target), END])
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


def train(epochs: int) -> tuple[Translator, Vocabularies]:
    """A translator trained on the pairs, for so many epochs, and its vocabularies."""
    torch.manual_seed(SEED)
    torch.set_flush_denormal(True)
    chance = random.Random(SEED)
    parts = data.split()
    print(f"{len(parts.train)} pairs, {parts.near_duplicates} near-duplicates of held-out ones left out")
    small = {
        language: small_words(pair.target for pair in parts.train if pair.language == language)
        for language in LANGUAGES
    }
    pairs = formed(parts.train, small)
    pieces = Vocabularies(
        learned((pair.source for pair in pairs), SOURCE_PIECES),
        learned((pair.target for pair in pairs), TARGET_PIECES, TOKENS),
    )
    found = examples(pairs, pieces)
    chosen = list(batches(examples(formed(parts.validation, small), pieces), chance))
    model, begin = Translator(len(pieces.source), len(pieces.target)), process_time()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.98), fused=True)
    with tqdm(total=epochs * len(found), unit="pair") as progress:
        for epoch in range(epochs):
            mean = _learn(model, optimizer, batches(found, chance), progress)
            progress.write(
                f"epoch {epoch + 1}: {mean:.3f}, of validation {_mean(model, chosen):.3f} nats per piece"
            )
    print(f"trained in {process_time() - begin:.0f} s of processor time")
    return model, pieces


def _learn(
    model: Translator,
    optimizer: torch.optim.Optimizer,
    found: Iterable[tuple[Tensor, Tensor]],
    progress: tqdm,
) -> float:
    """Learns from batches, at a rate that falls until the progress is whole; gives their mean loss."""
    model.train()
    total = count = 0.0
    for source, target in found:
        (group,) = optimizer.param_groups
        group["lr"] = RATE * min((progress.n / BATCH + 1) / RISE, 1 - progress.n / progress.total)
        optimizer.zero_grad()
        value = loss(model, source, target, SMOOTHING)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total, count = total + value.item() * len(source), count + len(source)
        progress.update(len(source))
    return total / count


@torch.no_grad()
def _mean(model: Translator, chosen: Sequence[tuple[Tensor, Tensor]]) -> float:
    model.eval()
    return sum(loss(model, *batch, 0.0).item() for batch in chosen) / len(chosen)


def main() -> None:
    """Trains and exports."""
    export.export(*train(epochs_given(__doc__, EPOCHS)))


if __name__ == "__main__":
    main()
