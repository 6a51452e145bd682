"""Admission: who may come in. Every limit that a worker as a whole has is checked here."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from tinyseq.serve.errors import DrainingError, FullError
from tinyseq.serve.metrics import LATENCY_EDGES

if TYPE_CHECKING:
    from tinyseq.serve.config import Limits
    from tinyseq.serve.metrics import Metrics

GUARD_SECONDS = 5.0
"""The guard looks at the chunks of the last 5 to 10 seconds."""


FEWEST = 2000
"""Chunks without which the guard looks at nothing: that the first of a kind are slow says little."""


class Admission:
    """Counts what is live in a worker, and refuses what would be too much."""

    def __init__(self, limits: Limits, metrics: Metrics, clock: Callable[[], float] = monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self.streams = 0
        self.requests = 0
        self.queued_bytes = 0
        self.draining = False
        self._recent = np.zeros(len(LATENCY_EDGES) + 1, np.int64)
        self._before = self._recent.copy()
        self._turn = 0.0
        metrics.gauges["streams_live"] = "Live streams of all models", lambda: self.streams
        metrics.gauges["requests_live"] = "Inference requests that are being answered", lambda: self.requests
        metrics.gauges["queued_bytes"] = "Bytes that wait for a step", lambda: self.queued_bytes
        metrics.gauges["guarded_seconds"] = "What the guard looks at: p99 lately", lambda: self.p99(clock())

    def open_stream(self) -> None:
        """Counts a stream in; ``close_stream`` counts it out.

        Raises:
            FullError: it would be too much.
        """
        self.check()
        self.streams += 1

    def check(self) -> None:
        """Raises what ``open_stream`` would."""
        limits = self._limits
        if self.draining:
            raise DrainingError("the server is about to end", limits.retry_after)
        if self.streams >= limits.streams:
            raise self._full(f"all {limits.streams} streams are taken", "streams")
        if self.queued_bytes >= limits.queued_bytes:
            raise self._full(f"{self.queued_bytes} bytes wait for a step", "bytes")
        if self.p99(self._clock()) * 1000 > limits.guard_ms:
            raise self._full(f"chunks take more than {limits.guard_ms:g} ms", "guard")

    def close_stream(self) -> None:
        """Counts a stream out."""
        self.streams -= 1

    def open_request(self) -> None:
        """Counts an inference request in; ``close_request`` counts it out.

        Raises:
            FullError: it would be too much.
        """
        if self.draining:
            raise DrainingError("the server is about to end", self._limits.retry_after)
        if self.requests >= self._limits.requests:
            raise self._full(f"all {self._limits.requests} requests are taken", "requests")
        self.requests += 1

    def close_request(self) -> None:
        """Counts an inference request out."""
        self.requests -= 1

    def took(self, now: float, counts: np.ndarray) -> None:
        """Tells the guard what the chunks of a step took, as counts between ``LATENCY_EDGES``."""
        if now >= self._turn:
            self._rotate(now)
        self._recent += counts

    def p99(self, now: float) -> float:
        """An edge that 99 of 100 chunks were quicker than lately, in seconds; 0 if there were few."""
        if now >= self._turn:
            self._rotate(now)
        counts = self._recent + self._before
        total = int(counts.sum())
        if total < FEWEST:
            return 0.0
        place = int(counts.cumsum().searchsorted(0.99 * total))
        return float(LATENCY_EDGES[min(place, len(LATENCY_EDGES) - 1)])

    def _rotate(self, now: float) -> None:
        long_ago = now >= self._turn + GUARD_SECONDS
        self._before = np.zeros_like(self._recent) if long_ago else self._recent
        self._recent = np.zeros_like(self._recent)
        self._turn = now + GUARD_SECONDS

    def _full(self, message: str, reason: str) -> FullError:
        return FullError(f"{message}; try again later", self._limits.retry_after, reason)
