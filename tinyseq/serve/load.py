"""How busy a worker is, and how long steps wait for more streams because of it."""

from __future__ import annotations

import asyncio
from time import monotonic, thread_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyseq.serve.config import Limits

PERIOD = 0.1
"""Seconds between two looks."""

SHARE = 0.15, 0.5
"""Of a core that the event loop's thread takes: up to the one nothing waits, from the other on steps wait for
the whole window."""

LATE = 0.002, 0.008
"""Seconds that the event loop is late, in the same way: where others have the core, a share says little."""


class Load:
    """How busy the thread of the event loop is, smoothed over a second.

    Waiting makes steps larger and so cheaper: what is waited follows the load, and settles where both fit.
    """

    def __init__(self, limits: Limits) -> None:
        self._longest = limits.window_ms / 1000
        self.share = 0.0
        self.late = 0.0
        self.window = 0.0
        """Seconds that a step waits."""
        self._loop = asyncio.get_running_loop()
        self._used = thread_time()
        self._looked = monotonic()
        self._timer = self._loop.call_later(PERIOD, self._look)

    def _look(self) -> None:
        now, used = monotonic(), thread_time()
        passed = now - self._looked
        weight = min(passed, 1.0)
        self.share += weight * ((used - self._used) / passed - self.share)
        self.late += weight * (passed - PERIOD - self.late)
        self._looked, self._used = now, used
        self.window = self._longest * max(_place(self.share, *SHARE), _place(self.late, *LATE))
        self._timer = self._loop.call_later(PERIOD, self._look)

    def close(self) -> None:
        """Looks no more."""
        self._timer.cancel()


def _place(value: float, least: float, most: float) -> float:
    """Where a value is between two others, from 0 to 1."""
    return min(max((value - least) / (most - least), 0.0), 1.0)
