"""Metrics: plain counters that cost nothing on the way of a chunk, shown in Prometheus's format."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tinyseq.serve.config import Limits

LATENCY_EDGES = np.array([1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 200, 500, 1000, 5000]) / 1000
"""Seconds that a chunk took, from its arrival to its outputs."""

ROWS_EDGES = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512], np.float64)


class Histogram:
    """Counts of numbers by edges, the last one infinity."""

    def __init__(self, edges: np.ndarray) -> None:
        self.edges = edges
        self.counts = np.zeros(len(edges) + 1, np.int64)
        self.total = 0.0

    def add(self, values: np.ndarray) -> np.ndarray:
        """Counts some numbers; gives their counts by edges."""
        counts = np.bincount(self.edges.searchsorted(values), minlength=len(self.counts))
        self.counts += counts
        self.total += float(values.sum())
        return counts

    def add_one(self, value: float) -> None:
        """Counts a number."""
        self.counts[self.edges.searchsorted(value)] += 1
        self.total += value


class ModelMetrics:
    """What is counted of a model."""

    def __init__(self) -> None:
        self.streams = 0
        self.opened = 0
        self.chunks = 0
        self.steps = 0
        self.step_seconds = 0.0
        self.refused_chunks = 0
        self.requests = 0
        self.latency = Histogram(LATENCY_EDGES)
        self.rows = Histogram(ROWS_EDGES)


class Metrics:
    """What is counted in a worker. Counters are plain attributes; who counts adds to them."""

    def __init__(self) -> None:
        self.started = time.time()
        self.models: dict[tuple[str, str], ModelMetrics] = {}
        self.refused: dict[str, int] = defaultdict(int)
        self.ended: dict[str, int] = defaultdict(int)
        self.connections = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        """Further numbers: what is said of them, and what gives them."""

    def of_model(self, name: str, version: str) -> ModelMetrics:
        """What is counted of a model."""
        found = self.models.get((name, version))
        if found is None:
            found = self.models[name, version] = ModelMetrics()
        return found


class Family:
    """Samples of one name: labels and values; of a histogram edges, counts and the sum."""

    def __init__(self, kind: str, name: str, text: str) -> None:
        self.kind, self.name, self.text = kind, name, text
        self.samples: list[tuple[dict[str, str], Any]] = []

    def add(self, value: Any, **labels: str) -> Family:
        self.samples.append((labels, value))
        return self


def families(metrics: Metrics, limits: Limits) -> Iterator[Family]:
    """All that is shown of a worker."""
    yield Family("gauge", "tinyseq_connections", "Websockets that stand").add(metrics.connections)
    yield Family("counter", "tinyseq_received_bytes", "By websockets").add(metrics.received_bytes)
    yield Family("counter", "tinyseq_sent_bytes", "By websockets").add(metrics.sent_bytes)
    for kind, name, text, counts in (
        ("counter", "tinyseq_refused", "Requests and streams that were refused", metrics.refused),
        ("counter", "tinyseq_ended", "Streams that have ended", metrics.ended),
    ):
        family = Family(kind, name, text)
        for reason, count in sorted(counts.items()):
            family.add(count, reason=reason)
        yield family
    for name, (text, read) in metrics.gauges.items():
        yield Family("gauge", f"tinyseq_{name}", text).add(read())
    limit = Family("gauge", "tinyseq_limit", "Every limit of the configuration")
    for each in fields(limits):
        limit.add(getattr(limits, each.name), name=each.name)
    yield limit
    yield from _of_models(metrics)


_PLAIN = (
    ("gauge", "streams", "Live streams"),
    ("counter", "opened", "Streams that were opened"),
    ("counter", "chunks", "Chunks that were stepped"),
    ("counter", "steps", "Steps, each of chunks of many streams"),
    ("counter", "step_seconds", "Spent in steps"),
    ("counter", "refused_chunks", "Chunks that the model refused"),
    ("counter", "requests", "Inference requests"),
)


def _of_models(metrics: Metrics) -> Iterator[Family]:
    for kind, name, text in _PLAIN:
        family = Family(kind, f"tinyseq_{name}", text)
        for (model, version), own in metrics.models.items():
            family.add(getattr(own, name), model=model, version=version)
        yield family
    for name, text in (
        ("latency", "Seconds from a chunk's arrival to its outputs"),
        ("rows", "Streams in a step"),
    ):
        family = Family("histogram", f"tinyseq_{name}", text)
        for (model, version), own in metrics.models.items():
            histogram = getattr(own, name)
            value = [histogram.edges.tolist(), histogram.counts.tolist(), histogram.total]
            family.add(value, model=model, version=version)
        yield family


def exposition(workers: Mapping[str, Sequence[Family]]) -> tuple[bytes, str]:
    """The families of all workers in Prometheus's text format, and its content type."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    kinds = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
    }
    made: dict[str, Any] = {}
    for worker, found in workers.items():
        for family in found:
            names = [*(family.samples[0][0] if family.samples else ()), "worker"]
            whole = made.get(family.name)
            if whole is None:
                whole = made[family.name] = kinds[family.kind](family.name, family.text, labels=names)
            if len(whole._labelnames) < len(names):
                whole._labelnames = tuple(names)
            for labels, value in family.samples:
                labels = [*labels.values(), worker]
                if family.kind == "histogram":
                    edges, counts, total = value
                    summed = np.cumsum(counts).tolist()
                    buckets = [(f"{edge:g}", count) for edge, count in zip([*edges, np.inf], summed)]
                    buckets[-1] = ("+Inf", summed[-1])
                    whole.add_metric(labels, buckets, total)
                else:
                    whole.add_metric(labels, value)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(made.values())))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Collected:
    def __init__(self, made: list[Any]) -> None:
        self._made = made

    def collect(self) -> list[Any]:
        return self._made
