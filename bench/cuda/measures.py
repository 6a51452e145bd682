"""What is measured: parity with the CPU, then time on the device."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

import tinyseq
from bench.cuda import models
from bench.cuda.torch_layers import TorchLayer
from tinyseq import backends, passes

PARITY = 1e-4
"""The most that results on the device may differ from the CPU's, relative above 1."""

EXCHANGE = 0.5e-6
"""Seconds in which the blocks of a cluster can tell each other a state: no step is faster."""

LANES = 128
"""Multiply-adds of float32 that a multiprocessor does in a cycle."""

BUDGET = 0.2
"""Seconds for which one figure is measured."""


class Row(NamedTuple):
    """One figure. ``against`` are others' in the same unit; ``share`` is the floor's of it."""

    case: str
    value: float
    unit: str
    share: float | None = None
    against: Mapping[str, float] = MappingProxyType({})


class Effort(NamedTuple):
    """How much is measured."""

    cells: tuple[int, ...] = (64, 200)
    hidden: tuple[int, ...] = (64, 128, 160, 192, 256, 512, 768, 1024)
    rows: tuple[int, ...] = (1, 4, 16, 44, 64, 256)
    frames: tuple[int, ...] = (1, 512)
    streams: tuple[int, ...] = (1, 64, 1024)
    rounds: int = 7


QUICK = Effort((16,), (64, 256), (1, 16), (1, 64), (1, 16), 3)


def difference(subject: models.Subject) -> float:
    """How far the device's results are from the CPU's: the largest of all outputs and three runs."""
    ours = tinyseq.load(subject.model, device="cuda")
    expected = tinyseq.load(subject.model).run(subject.feeds)
    worst = 0.0
    for _ in range(3):
        for name, array in ours.run(subject.feeds).items():
            a, b = array.astype(np.float64), expected[name].astype(np.float64)
            worst = max(worst, float(np.max(np.abs(a - b) / np.maximum(1, np.abs(b)), initial=0)))
    return worst


def floor(device, kind: str, hidden: int, rows: int) -> float:
    """Seconds below which no step of a layer comes: the exchange of h, or its arithmetic at the peak."""
    multiply_adds = models.GATES[kind] * hidden * hidden * rows
    return EXCHANGE + multiply_adds / (LANES * device.multiprocessors * device.clock)


def layers(effort: Effort, device) -> Iterator[Row]:
    """Microseconds a step of a layer, on the device alone; torch's float32 and float16 beside it."""
    for kind in ("LSTM", "GRU"):
        for hidden in effort.hidden:
            layer = models.layer(kind, hidden)
            backend = backends.create("cuda", passes.simplify(layer.model.model()), None)
            torch = TorchLayer.of(layer)
            for frames in effort.frames:
                for rows in effort.rows:
                    case = f"{kind.lower()} H={hidden} N={rows} T={frames}"
                    feeds = models.layer_feeds(kind, hidden, frames, rows)
                    yield _layer_row(case, backend, torch, feeds, floor(device, kind, hidden, rows), effort)


def _layer_row(case: str, backend, torch, feeds, least: float, effort: Effort) -> Row:
    frames = len(feeds["x"])
    results = backend.run(feeds)
    against = {}
    if torch is not None:
        torch.check(feeds, results["y"], PARITY)
        against = {
            name: seconds / frames * 1e6 for name, seconds in torch.seconds(feeds, effort.rounds).items()
        }
    _, executor = backend.ready(feeds)
    once = executor.seconds(1)
    repeats = max(1, round(BUDGET / effort.rounds / max(once, 1e-6)))
    seconds = median(executor.seconds(repeats) for _ in range(effort.rounds)) / frames
    return Row(case, seconds * 1e6, "us a step on the device", least / seconds, against)


def launching(device, effort: Effort) -> Iterator[Row]:
    """What a step costs beyond the device's work: a stream of the smallest model, copies included."""
    graph = tinyseq.Graph()
    x, total = graph.input("x", [1]), graph.input("sum", [1])
    graph.output("next", graph.add(x, total), carries="sum")
    stream = tinyseq.load(graph, device="cuda").stream()
    feeds, out = {"x": np.ones(1, np.float32)}, {}
    yield Row("one addition", _wall(lambda: stream.step(feeds, out), effort) * 1e6, "us a step, all in all")


def live(effort: Effort, paths: list[Path]) -> Iterator[Row]:
    """How many live streams the device keeps up with, all of them stepped together."""
    yield from _live("silero", models.DEMO, {"input": (576,)}, {"sr": np.array(16000)}, 0.032, effort)
    for path in paths:
        if "gtcrn" in path.name:
            yield from _single("gtcrn", path, 0.016, effort)


def _live(name, path, parts, fixed, chunk: float, effort: Effort) -> Iterator[Row]:
    session = tinyseq.load(path, device="cuda")
    for count in effort.streams:
        pool = session.pool(count)
        rows = [pool.open() for _ in range(count)]
        feeds = {key: np.zeros((count, *shape), np.float32) for key, shape in parts.items()} | fixed
        seconds = _wall(partial(pool.step, rows, feeds), effort)
        yield Row(f"{name}, {count} together", count * chunk / seconds, "streams in real time")


def _single(name: str, path: Path, chunk: float, effort: Effort) -> Iterator[Row]:
    session = tinyseq.load(path, device="cuda")
    stream = session.stream()
    carried = {pair.input for pair in session.state}
    feeds = {
        value.name: np.zeros([1 if isinstance(n, str) else n for n in value.shape], value.dtype)
        for value in session.stream_inputs
        if value.name not in carried
    }
    seconds = _wall(lambda: stream.step(feeds), effort)
    yield Row(f"{name}, alone", chunk / seconds, "streams in real time")


def _wall(call, effort: Effort) -> float:
    """Seconds of a call as the caller feels it."""
    for _ in range(3):
        call()
    start = time.perf_counter()
    call()
    repeats = max(1, round(BUDGET / effort.rounds / max(time.perf_counter() - start, 1e-6)))
    rounds = []
    for _ in range(effort.rounds):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        rounds.append((time.perf_counter() - start) / repeats)
    return median(rounds)
