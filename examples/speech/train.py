"""Trains the network: ``python -m examples.speech.train CORPUS``, on one thread."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from . import export
from .augment import Augmenter, Phrases
from .grammar import FIRST, VOCABULARY, WORDS
from .gru import gru
from .network import STACKED, WINDOW, Net, beginning, power_in_bands


class Lesson(NamedTuple):
    """So many steps over phrases of these words."""

    words: list[str]
    steps: int
    batch: int
    seconds: float
    """Of each stretch of a batch."""
    disturbed: float
    """How many of the stretches are in rooms and noise, and over lines."""


LESSONS = [
    Lesson(FIRST, 400, 4, 1.6, 0.3),
    Lesson(FIRST, 500, 6, 2.0, 0.5),
    Lesson(FIRST, 600, 8, 3.0, 0.7),
    Lesson(WORDS, 5500, 10, 3.0, 0.9),
    Lesson(WORDS, 600, 16, 4.0, 0.9),
]
"""Few words, small batches and clean sound first: so the network begins to learn much sooner."""
WARM_UP = 150
SHARES = {"kokoro": 0.35, "flite": 0.2}
"""Of what is said; the rest is recordings."""


class Training:
    """A network and what it has learnt with."""

    def __init__(
        self, corpus: Path, recordings: Path, rate: float, seed: int, start: Path | None, weights: Path
    ) -> None:
        self._weights = weights
        torch.manual_seed(seed)
        self._random = np.random.default_rng(seed)
        corpora = {corpus / name: share for name, share in SHARES.items()}
        self._phrases = Phrases(corpora, recordings, 1 - sum(SHARES.values()))
        self.net = Net(recurrence=gru)
        if start is not None:
            self.net.load_state_dict(torch.load(start))
        self._optimiser = torch.optim.AdamW(self.net.parameters(), rate, (0.9, 0.98), weight_decay=0.01)
        self._rate, self._hidden = rate, None
        self.mean = torch.optim.swa_utils.AveragedModel(
            self.net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
        )

    def lesson(self, lesson: Lesson, progress: tqdm, whole: int) -> None:
        """One lesson of those that are ``whole`` steps."""
        phrases = self._phrases.of(lesson.words)
        progress.write(repr(phrases))
        augmenter, losses = Augmenter(phrases, self._random, lesson.disturbed), []
        self.net.train()
        for _ in range(lesson.steps):
            done = progress.n
            share = 0.5 + 0.5 * math.cos(math.pi * done / whole)
            self._optimiser.param_groups[0]["lr"] = (
                self._rate * min(1, (done + 1) / WARM_UP) * max(share, 0.02)
            )
            losses.append(self._step(augmenter, lesson.batch, lesson.seconds))
            self.mean.update_parameters(self.net)
            progress.update()
            if done % 50 == 49:
                progress.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}", cpu=f"{time.process_time():.0f}s")
                torch.save(self.mean.module.state_dict(), self._weights)

    def _step(self, augmenter: Augmenter, batch: int, seconds: float) -> float:
        power, texts, counts = self._batch(augmenter, batch, seconds)
        context, hidden = beginning(batch)
        if self._hidden is not None and self._hidden.shape == hidden.shape and self._random.random() < 0.4:
            hidden = self._hidden[:, torch.from_numpy(self._random.permutation(batch))]
        rows, _, hidden = self.net(power, context, hidden)
        self._hidden = hidden.detach()
        targets = torch.tensor([VOCABULARY.index(letter) for text in texts for letter in text])
        lengths = torch.tensor([len(text) for text in texts])
        loss = torch.nn.functional.ctc_loss(
            rows.transpose(0, 1), targets, counts, lengths, zero_infinity=True
        )
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self._optimiser.step()
        return float(loss.detach())

    def _batch(self, augmenter: Augmenter, batch: int, seconds: float):
        """Power [B, BANDS, 3 T], texts, and how many of the T stand for sound."""
        sounds, texts, lines = zip(*(augmenter.stretch(seconds) for _ in range(batch)))
        hop, longest = augmenter.hop(), max(map(len, sounds))
        samples = np.zeros((batch, longest), np.float32)
        for row, sound in zip(samples, sounds):
            row[: len(sound)] = sound
        frames = (longest - WINDOW) // hop // STACKED * STACKED
        with torch.no_grad():
            power = power_in_bands(torch.from_numpy(samples), hop, torch.from_numpy(augmenter.bands()))
            power = power[:, :, :frames] * torch.from_numpy(np.stack(lines))
            power = power * torch.from_numpy(augmenter.masks(batch, frames))
        return power, texts, torch.full((batch,), frames // STACKED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("recordings", type=Path, help="a folder of Speech Commands")
    parser.add_argument("weights", type=Path, help="where to write the weights, as .pt")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="weights to begin with")
    parser.add_argument("--lessons", type=int, nargs="*", default=range(len(LESSONS)))
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    training = Training(args.corpus, args.recordings, args.rate, args.seed, args.start, args.weights)
    lessons = [LESSONS[number] for number in args.lessons]
    whole = sum(lesson.steps for lesson in lessons)
    with tqdm(total=whole, unit="step", mininterval=10) as progress:
        for lesson in lessons:
            training.lesson(lesson, progress, whole)
    weights = training.mean.module.state_dict()
    torch.save(weights, args.weights)
    net = Net()
    net.load_state_dict(weights)
    export.ship(net)


if __name__ == "__main__":
    main()
