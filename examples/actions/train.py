"""Makes the model of the demonstration, or one of a folder of recordings.

python -m examples.actions.train
python -m examples.actions.train --folder FOLDER --output MODEL.tinyseq

In FOLDER, each kind of movement is a folder of CSV files, a row a step, a column a channel.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from .classifier import MODEL
from .data import EXERCISES, HELD_OUT, Recording, exercises, in_folders
from .export import export, export_samples
from .network import Network

SEED = 3
STEPS = 500
BATCH = 24
WARM = 6
"""Steps of a movement before what is said of it counts."""
WINDOW = 96
"""Steps that are learnt at once: 8 s of the watch."""
UNSAID = -1
"""The label of those."""


def train(
    recordings: Sequence[Recording],
    classes: int,
    window: int,
    switch: float = 0.5,
    steps: int = STEPS,
    hidden: int = 32,
) -> Network:
    """A network that tells apart the classes of recordings, at every step.

    It sees stretches of ``window`` steps, or whole recordings that are shorter, a little turned and louder;
    in a share of them, ``switch``, one movement turns into another.
    """
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    everything = np.concatenate([recording.steps for recording in recordings])
    deviation = np.maximum(everything.std(0), 1e-3).astype(np.float32)
    network = Network(torch.tensor(everything.mean(0)), torch.tensor(deviation), classes, hidden)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    window = min(window, min(len(recording.steps) for recording in recordings))
    bar = tqdm(range(steps), unit="step")
    for _ in bar:
        x, labels = zip(*(_stretch(rng, recordings, window, switch) for _ in range(BATCH)), strict=True)
        x, labels = np.stack(x), torch.tensor(np.stack(labels))
        every = (BATCH, 1, x.shape[2])
        x = x * rng.normal(1, 0.1, every)
        x += deviation * (rng.normal(0, 0.1, every) + rng.normal(0, 0.05, x.shape))
        found = network(torch.tensor(x, dtype=torch.float32))
        loss = torch.nn.functional.nll_loss(found.flatten(0, 1), labels.flatten(), ignore_index=UNSAID)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")
    return network.eval()


def _stretch(
    rng: np.random.Generator, recordings: Sequence[Recording], window: int, switch: float
) -> tuple[np.ndarray, np.ndarray]:
    """Steps [window, channels] of a recording, or of two one after the other, and their labels."""

    def part(length: int) -> tuple[np.ndarray, np.ndarray]:
        one = recordings[rng.integers(len(recordings))]
        start = rng.integers(len(one.steps) - length + 1)
        labels = np.full(length, one.label)
        labels[:WARM] = UNSAID
        return one.steps[start : start + length], labels

    if rng.random() >= switch:
        return part(window)
    cut = rng.integers(window // 4, window * 3 // 4)
    parts = part(cut), part(window - cut)
    return np.concatenate([steps for steps, _ in parts]), np.concatenate([labels for _, labels in parts])


def trained_on_exercises() -> Network:
    """The network of the demonstration."""
    seen = [one for one in exercises() if one.person not in HELD_OUT]
    return train(seen, len(EXERCISES), WINDOW)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m examples.actions.train", description=__doc__)
    parser.add_argument("--folder", type=Path, help="recordings of yours, by kind")
    parser.add_argument("--output", type=Path, default=Path("actions.tinyseq"), help="the model of these")
    parser.add_argument(
        "--window", type=int, default=WINDOW, help="steps that are learnt at once (default: 96)"
    )
    args = parser.parse_args()
    if args.folder is not None:
        names, recordings = in_folders(args.folder)
        export(train(recordings, len(names), args.window), names, args.output)
        return
    export(trained_on_exercises(), EXERCISES, MODEL)
    export_samples([one for one in exercises() if one.person in HELD_OUT])


if __name__ == "__main__":
    main()
