"""Whether the device's results are the CPU's."""

from __future__ import annotations

import sys
import time

import numpy as np

import tinyseq
from bench.cuda import models

ALLOWED = 1e-4
"""The most that results on the device may differ from the CPU's, relative above 1."""


def difference(subject: models.Subject) -> float:
    """How far the device's results are from the CPU's: the largest of all outputs and three runs."""
    expected = tinyseq.load(subject.model).run(subject.feeds)
    worst = 0.0
    for results in results_of(subject):
        for name, array in results.items():
            a, b = array.astype(np.float64), expected[name].astype(np.float64)
            worst = max(worst, float(np.max(np.abs(a - b) / np.maximum(1, np.abs(b)), initial=0)))
    return worst


def results_of(subject: models.Subject) -> list[dict[str, np.ndarray]]:
    """What three runs on the device give: launched one by one, recorded, and the recording once more."""
    session = tinyseq.load(subject.model, device="cuda")
    return [session.run(subject.feeds) for _ in range(3)]


def differences(subjects: list[models.Subject], seconds: float) -> dict[str, float]:
    """The difference of each subject by its name, not-a-number where it does not run. With no time left for
    all of them it is for as many as there is, in an order in which like ones are far apart."""
    rng = np.random.default_rng(0)
    found: dict[str, float] = {}
    end = time.perf_counter() + seconds
    for place in rng.permutation(len(subjects)):
        if found and time.perf_counter() > end:
            break
        subject = subjects[place]
        try:
            found[subject.name] = difference(subject)
        except Exception as error:  # A device's first run: all that fails is to be told, not the first.
            found[subject.name] = float("nan")
            print(f"{subject.name}: {type(error).__name__}: {error}", file=sys.stderr)
    return found
