"""Trains the same network on three sets of an archive, and says how often it is right.

python -m examples.actions.archive [NAME ...]
"""

from __future__ import annotations

import argparse

import numpy as np

import tinyseq

from ..report import table
from .data import ARCHIVE, Recording, archived
from .export import onnx
from .train import train

HIDDEN = 32
STEPS = 600


def right(model: tinyseq.Session, recordings: list[Recording]) -> float:
    """The share of recordings that are told apart by all of them, as a stream would have it in the end."""
    found = [model.run({"steps": one.steps[None]})["probabilities"][0] for one in recordings]
    return float(
        np.mean([made[-1].argmax() == one.label for made, one in zip(found, recordings, strict=True)])
    )


def neighbours(seen: list[Recording], test: list[Recording]) -> float:
    """The share that has the label of the recording, of those that were seen, whose steps are nearest."""
    known, labels = np.stack([one.steps for one in seen]), [one.label for one in seen]
    nearest = [int(((known - one.steps) ** 2).sum((1, 2)).argmin()) for one in test]
    return float(np.mean([labels[at] == one.label for at, one in zip(nearest, test, strict=True)]))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m examples.actions.archive", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(ARCHIVE)} (default: all)")
    rows = []
    for name in parser.parse_args().name or ARCHIVE:
        seen, test = archived(name)
        classes = len({one.label for one in seen})
        network = train(seen, classes, len(seen[0].steps), switch=0.0, steps=STEPS, hidden=HIDDEN)
        ours = f"{right(tinyseq.load(onnx(network)), test):.1%}"
        rows.append((name, len(seen), len(test), classes, ours, f"{neighbours(seen, test):.1%}"))
    print(*table(("set", "seen", "tested", "classes", "GRU", "nearest neighbour"), rows), sep="\n")


if __name__ == "__main__":
    main()
