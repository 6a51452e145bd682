"""How calls are timed: in interleaved blocks, so that a slow moment of the machine strikes all alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from statistics import median

Call = Callable[[], object]

BLOCK_SECONDS = 0.02


def interleaved(
    calls: Mapping[str, Call], rounds: int, block: float = BLOCK_SECONDS
) -> dict[str, list[float]]:
    """Seconds a call, for each of the calls and each round. A round is a block of every call, of about so
    many seconds."""
    repeats = {name: _repeats(call, block) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    with _no_collection():
        for turn in range(rounds):
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                seconds[name].append(_block(calls[name], repeats[name]) / repeats[name])
    return seconds


def median_ratio(yardstick: list[float], seconds: list[float]) -> float:
    """How many times as fast as the yardstick: the median over the rounds."""
    return median(a / b for a, b in zip(yardstick, seconds, strict=True))


def spread(yardstick: list[float], seconds: list[float]) -> float:
    """Within what share of the median half of the rounds' ratios to the yardstick lie."""
    ratios = [a / b for a, b in zip(yardstick, seconds, strict=True)]
    middle = median(ratios)
    return median(abs(ratio - middle) for ratio in ratios) / middle


def once(call: Call) -> float:
    """Seconds of a single call."""
    return _block(call, 1)


def _block(call: Call, repeats: int) -> float:
    turns = range(repeats)
    start = time.perf_counter()
    for _ in turns:
        call()
    return time.perf_counter() - start


def _repeats(call: Call, block: float) -> int:
    """Warms a call up and finds how many of it fill a block."""
    repeats = 1
    while (seconds := _block(call, repeats)) < block / 2:
        repeats *= 2
    return max(1, round(repeats * block / seconds))


@contextmanager
def _no_collection():
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
