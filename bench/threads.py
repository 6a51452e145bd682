"""A live step by two threads beside one: weights warm, and read from memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import tinyseq
from bench import cases, precisions
from bench.measures import Row, Task

ONE, TWO = "1 thread", "2 threads"

HIDDEN, ROWS, PRECISIONS = (128, 256, 512, 1024), (1, 64), ("float32", "int8")


def tasks(rounds: int) -> Iterator[Task]:
    """All rows of threads; none where there is one processor."""
    if os.cpu_count() == 1:
        return
    for size in HIDDEN:
        for precision in PRECISIONS:
            for count in ROWS:
                name = f"threads {precision} lstm H={size} N={count}"
                yield Task(name, partial(steps, name, size, precision, count, rounds))
        name = f"threads cold lstm H={size} N=1"
        yield Task(name, partial(cold_steps, name, size, rounds))


def _models(hidden: int, precision: str = "float32") -> dict[str, tinyseq.Session]:
    graph = precisions.layer(cases.recurrent("LSTM", hidden, 1, 1))
    loaded = partial(tinyseq.load, graph, precision=precision)
    return {ONE: loaded(), TWO: loaded(threads=2)}


def steps(name: str, hidden: int, precision: str, rows: int, rounds: int) -> list[Row]:
    """Microseconds of a step; ratios are one thread's over each."""
    calls = precisions.calls_of(_models(hidden, precision), hidden, rows)
    return precisions.rows_of(name, precisions.timed(calls, rounds), {}, ONE)


def cold_steps(name: str, hidden: int, rounds: int) -> list[Row]:
    """The same, of a step whose weights no cache holds."""
    calls = precisions.calls_of(_models(hidden), hidden, 1)
    return precisions.rows_of(name, precisions.cold(calls, rounds), {}, ONE)
