"""How calls are timed: on the device alone, by its own clock, and as the caller feels them. Medians."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple


class Effort(NamedTuple):
    """How long one figure is measured, in seconds, and in how many rounds."""

    seconds: float = 0.1
    rounds: int = 7

    def repeats(self, once: float) -> int:
        """How many calls of so many seconds make a round."""
        return max(1, round(self.seconds / self.rounds / max(once, 1e-6)))


def on_device(executor, effort: Effort) -> float:
    """Seconds that the device takes for an executor's launches."""
    executor.seconds(1)
    repeats = effort.repeats(executor.seconds(1))
    return median(executor.seconds(repeats) for _ in range(effort.rounds))


def wall(call: Callable[[], object], effort: Effort) -> float:
    """Seconds of a call, all in all."""
    for _ in range(3):
        call()
    repeats = effort.repeats(_wall(call, 1))
    return median(_wall(call, repeats) for _ in range(effort.rounds))


def _wall(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats
