"""What nobody holds any more is freed at once: nothing waits until Python looks for cycles."""

from __future__ import annotations

import gc
import tracemalloc
import warnings
from collections.abc import Callable

import numpy as np
import pytest

import tinyseq
from tests.models import recurrent
from tests.test_narrow_memory import CASES, N, drawn
from tinyseq.ir.narrow import PRECISIONS

LARGE = 2**16
"""Bytes of what counts as left behind; all weights here are as large."""

X = drawn(1, 1, N)


def lstm(**options) -> tinyseq.Session:
    return tinyseq.load(recurrent("LSTM", 3, 1, N, N).model, **options)


def ran() -> None:
    session = lstm()
    session.run({"x": drawn(3, 1, N)})
    session.run({"x": drawn(5, 1, N)})


def streamed() -> None:
    session = lstm()
    stream = session.stream()
    stream.step({"x": X})
    other = stream.fork()
    other.restore(stream.snapshot())
    other.step({"x": drawn(2, 1, N)})
    session.with_any_state().stream().step({"x": X})


def bound() -> None:
    stream = lstm().stream()
    stream.bind({"x": X})()


def pooled() -> None:
    pool = lstm().pool(3)
    rows = pool.open(), pool.open()
    pool.step(rows, {"x": np.repeat(X, 2, 1)})


def refused_to_run() -> None:
    with pytest.raises(tinyseq.FeedError):
        lstm().run({"x": drawn(3, 1, 5)})


def refused_to_step() -> None:
    with pytest.raises(tinyseq.FeedError):
        lstm().stream().step({"x": np.full((1, 1, N), np.nan, np.float32)})


def refused_to_stream() -> None:
    g = tinyseq.Graph()
    x = g.input("x", ["frames", N])
    g.output("y", g.apply("CumSum", g.apply("MatMul", x, drawn(N, N)), np.array(0), reverse=1))
    session = tinyseq.load(g)
    with pytest.raises(tinyseq.ModelError, match="cannot be streamed"):
        session.stream()
    session.run({"x": drawn(3, N)})


def looked_at() -> None:
    session = lstm()
    assert str(session) and session.fingerprint and session.outputs


def rounded() -> None:
    tinyseq.load(recurrent("GRU", 3, 1, N, N).model, precision="int8").stream().step({"x": X})


def shared_by_threads() -> None:
    lstm(threads=2).run({"x": X})


def by_the_reference() -> None:
    lstm(device="reference").run({"x": X})


def by_onnxruntime() -> None:
    tinyseq.InferenceSession(recurrent("LSTM", 3, 1, N, N).model).run(None, {"x": drawn(3, 1, N)})


def generated() -> None:
    g = tinyseq.Graph()
    token, h = g.input("token", ["rows"], np.int64), g.input("h", [1, "rows", N])
    x = g.apply("Unsqueeze", g.apply("Gather", drawn(20, N), token), np.array([0]))
    y, final = g.apply("RNN", x, drawn(1, N, N), drawn(1, N, N), None, None, h, outputs=2, hidden_size=N)
    g.output("scores", g.apply("MatMul", g.apply("Reshape", y, np.array([-1, N])), drawn(N, 20)))
    g.output("next_h", final, carries="h")
    said = {"decoder_start_token_id": 1, "eos_token_id": 0, "max_new_tokens": 3}
    tinyseq.generate(tinyseq.load(g), {}, tinyseq.Greedy(**said))
    tinyseq.generate(tinyseq.load(g), {}, tinyseq.Beam(num_beams=2, **said))


USES: list[Callable[[], None]] = [
    ran,
    streamed,
    bound,
    pooled,
    refused_to_run,
    refused_to_step,
    refused_to_stream,
    looked_at,
    rounded,
    shared_by_threads,
    by_the_reference,
    by_onnxruntime,
    generated,
]


def left_behind(use: Callable[[], None]) -> list[int]:
    """The sizes of what is left of a use, once all is imported that it needs."""
    use()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        use()
        return [trace.size for trace in tracemalloc.take_snapshot().traces if trace.size >= LARGE]
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_nothing_is_left_of_a_session(use):
    assert not left_behind(use)


@pytest.mark.parametrize("precision", [None, *PRECISIONS])
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_left_of_any_layer(name, precision):
    case = CASES[name]()

    def use() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            session = tinyseq.load(case.model, precision=precision)
            session.run(case.feeds)
            if session.streams:
                session.stream().step(case.feeds)

    assert not left_behind(use)


def test_what_a_cycle_keeps_is_found():
    def use() -> None:
        held: list[object] = [np.zeros(LARGE, np.uint8)]
        held.append(held)

    assert left_behind(use)
