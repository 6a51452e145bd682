"""How busy a worker is, and how long steps wait for more streams because of it."""

from __future__ import annotations

from time import monotonic, thread_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinyseq.serve.config import Limits

PERIOD = 0.1
"""Seconds between two looks."""

IDLE, BUSY = 0.15, 0.5
"""Shares of a core: up to the one nothing waits, from the other on steps wait for the whole window."""


class Load:
    """The share of its core that the thread of the event loop takes, smoothed over a second or so.

    Waiting makes steps larger and so cheaper: what is waited follows the load, and settles where both fit.
    """

    def __init__(self, limits: Limits) -> None:
        self._longest = limits.window_ms / 1000
        self.share = 0.0
        self.window = 0.0
        """Seconds that a step waits."""
        self._looked, self._used = monotonic(), thread_time()

    def turned(self) -> None:
        """A step is done."""
        now = monotonic()
        passed = now - self._looked
        if passed < PERIOD:
            return
        used = thread_time()
        weight = min(passed, 1.0)
        self.share += weight * ((used - self._used) / passed - self.share)
        self._looked, self._used = now, used
        self.window = self._longest * min(max((self.share - IDLE) / (BUSY - IDLE), 0.0), 1.0)
