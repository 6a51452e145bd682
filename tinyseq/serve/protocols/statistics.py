"""Statistics of requests, as the Open Inference Protocol reports them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyseq.serve.metrics import ModelMetrics

PARTS = ("success", "fail", "compute_input", "compute_infer", "compute_output")


class Statistics:
    """What is counted of the requests to one model, in nanoseconds; of this worker, since it started."""

    def __init__(self) -> None:
        self.last = 0
        self.answers = self.refusals = 0
        self.times = dict.fromkeys(PARTS, 0)

    def answered(self, begun: int, read: int, run: int) -> None:
        """Counts a request that was answered, from when (``perf_counter_ns``) it had come, was read, and
        when its outputs were there."""
        end = time.perf_counter_ns()
        self.last = time.time_ns() // 1_000_000
        self.answers += 1
        times = self.times
        times["success"] += end - begun
        times["compute_input"] += read - begun
        times["compute_infer"] += run - read
        times["compute_output"] += end - run

    def refused(self, begun: int) -> None:
        """Counts a request that was refused."""
        self.refusals += 1
        self.times["fail"] += time.perf_counter_ns() - begun

    def described(self, name: str, version: str, metrics: ModelMetrics) -> dict[str, Any]:
        """All that was counted. What a request waits for its step is part of ``compute_infer``."""
        spans: dict[str, Any] = {
            part: {"count": self.refusals if part == "fail" else self.answers, "ns": spent}
            for part, spent in self.times.items()
        }
        return {
            "name": name,
            "version": version,
            "last_inference": self.last,
            "inference_count": self.answers,
            "execution_count": metrics.steps,
            "inference_stats": spans,
            "batch_stats": [],
        }
