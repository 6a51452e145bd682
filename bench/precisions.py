"""A live step in every precision: beside float32, weights warm and read from memory, and beside others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec

import numpy as np

import tinyseq
from bench import cases, timing
from bench.measures import Row, Task
from bench.rivals import OpenVinoAsItComes, one_thread
from tinyseq.ir.narrow import EXACT, PRECISIONS

NAMES = (EXACT, *PRECISIONS)

FRAMES = 100
"""Frames over which errors are measured."""

FLUSHED_BYTES = 2**28
"""More than the caches hold."""

SHORT_ROUNDS, TOGETHER, COLD_STEPS = 10, 8, 4
"""Turns for each round that is asked for, and steps in a row in one; steps whose weights are cold."""

SIGNAL = 1.0
"""The largest number of an input."""

HIDDEN, ROWS = (128, 256, 512, 1024), (1, 8)

BESIDE_OPENVINO = (1, 8, 64)
"""Rows of steps beside OpenVINO's."""


def tasks(rounds: int) -> Iterator[Task]:
    """All rows of precisions."""
    for size in HIDDEN:
        for count in ROWS:
            name = f"precision lstm H={size} N={count}"
            yield Task(name, partial(steps, name, size, count, rounds))
        name = f"precision cold lstm H={size} N=1"
        yield Task(name, partial(cold_steps, name, size, rounds))
        name = f"precision int8 lstm H={size} N=1"
        yield Task(name, partial(beside_onnxruntime, name, size, rounds))
        for count in BESIDE_OPENVINO if find_spec(OpenVinoAsItComes.package) else ():
            name = f"precision openvino lstm H={size} N={count}"
            yield Task(name, partial(beside_openvino, name, size, count, rounds))


def _models(hidden: int) -> dict[str, tinyseq.Session]:
    case = cases.recurrent("LSTM", hidden, 1, 1)
    return {name: tinyseq.load(layer(case), precision=name) for name in NAMES}


def layer(case: cases.Case) -> tinyseq.Graph:
    """The layer over any frames and rows, its state the stream's."""
    w = case.layer.weights
    graph, hidden = tinyseq.Graph(), w["R"].shape[-1]
    x = graph.input("x", ["frames", "rows", hidden])
    graph.output("y", graph.apply("LSTM", x, w["W"], w["R"], w["B"], hidden_size=hidden))
    return graph


def _errors(models: dict[str, tinyseq.Session], hidden: int) -> dict[str, float]:
    """The largest difference of each precision's outputs from float32's."""
    x = np.random.default_rng(1).uniform(-SIGNAL, SIGNAL, (FRAMES, 1, hidden)).astype(np.float32)
    outputs = {name: model.run({"x": x})["y"] for name, model in models.items()}
    return {name: float(np.abs(y - outputs[EXACT]).max()) for name, y in outputs.items()}


def calls_of(models: dict[str, tinyseq.Session], hidden: int, rows: int) -> dict[str, Callable[[], object]]:
    x = np.random.default_rng(2).uniform(-SIGNAL, SIGNAL, (1, rows, hidden)).astype(np.float32)
    found = {}
    for name, model in models.items():
        if rows == 1:
            found[name] = partial(model.stream().step, {"x": x})
            continue
        pool = model.pool(rows)
        members = [pool.open() for _ in range(rows)]
        found[name] = partial(pool.step, members, {"x": x})
    return found


def steps(name: str, hidden: int, rows: int, rounds: int) -> list[Row]:
    """Microseconds of a step; ratios are float32's over each."""
    models = _models(hidden)
    errors = _errors(models, hidden)
    return rows_of(name, timed(calls_of(models, hidden, rows), rounds), errors)


def cold_steps(name: str, hidden: int, rounds: int) -> list[Row]:
    """The same, of a step whose weights no cache holds."""
    models = _models(hidden)
    errors, calls = _errors(models, hidden), calls_of(models, hidden, 1)
    return rows_of(name, cold(calls, rounds), errors)


def cold(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each, the least, of what no cache of two cores holds."""
    others = [np.zeros(FLUSHED_BYTES // 8) for _ in range(2)]
    seconds: dict[str, list[float]] = {which: [] for which in calls}
    with ThreadPoolExecutor(len(others)) as pool:
        for _ in range(COLD_STEPS * rounds):
            for which, call in calls.items():
                call()
                list(pool.map(lambda other: np.add(other, 1.0, out=other), others))
                start = time.perf_counter()
                call()
                seconds[which].append(time.perf_counter() - start)
    return {which: min(own) for which, own in seconds.items()}


def beside_onnxruntime(name: str, hidden: int, rounds: int) -> list[Row]:
    """A step of onnxruntime's DynamicQuantizeLSTM, and one of the same size in int8."""
    case = cases.quantised(hidden, 1, 1)
    theirs = one_thread(case.model)
    model = _models(hidden)["int8"]
    calls = {
        "onnxruntime": partial(theirs.run, None, case.feeds),
        "int8": calls_of({"int8": model}, hidden, 1)["int8"],
    }
    return rows_of(name, timed(calls, rounds), {}, "onnxruntime")


def beside_openvino(name: str, hidden: int, rows: int, rounds: int) -> list[Row]:
    """A step of OpenVINO in its own choice of precision, and one in each of ours. Errors are the largest
    differences from float64's results with weights that nothing has rounded."""
    theirs, models = OpenVinoAsItComes(cases.recurrent("LSTM", hidden, 1, rows)), _models(hidden)
    calls = {theirs.name: theirs.call, **calls_of(models, hidden, rows)}
    return rows_of(name, timed(calls, rounds), _true_errors(models, hidden), theirs.name)


def _true_errors(models: dict[str, tinyseq.Session], hidden: int) -> dict[str, float]:
    """The largest differences from float64's outputs over some frames, OpenVINO's among them."""
    case = cases.recurrent("LSTM", hidden, FRAMES, 1)
    feeds = case.feeds | {name: np.zeros_like(case.feeds[name]) for name in ("h0", "c0")}
    theirs = OpenVinoAsItComes(case)
    theirs.feed(feeds)
    theirs.call()
    x = {"x": feeds["x"]}
    right = tinyseq.load(layer(case), device="reference").run(x)["y"]
    outputs = {theirs.name: theirs.outputs()["y"]} | {name: m.run(x)["y"] for name, m in models.items()}
    return {which: float(np.abs(y - right).max()) for which, y in outputs.items()}


def timed(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each: the least of many is what nothing has disturbed, and of some in a row those whose
    weights are as near as they fit."""
    seconds: dict[str, list[float]] = {which: [] for which in calls}
    for _ in range(SHORT_ROUNDS * rounds):
        for which, call in calls.items():
            seconds[which] += [timing.once(call) for _ in range(TOGETHER)]
    return {which: min(own) for which, own in seconds.items()}


def rows_of(
    name: str, seconds: dict[str, float], errors: dict[str, float], yardstick: str = EXACT
) -> list[Row]:
    own = seconds[yardstick]
    return [Row(name, which, s * 1e6, "us", own / s, errors.get(which)) for which, s in seconds.items()]
