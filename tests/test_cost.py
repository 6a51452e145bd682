"""Operations and memory of a step, against the formulas that their docstrings give."""

from __future__ import annotations

import numpy as np
import pytest

import tinyseq
from tinyseq.tools.cost import memory, operations

T, N, F, H = 5, 2, 3, 4
X = np.zeros((T, N, F), np.float32)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def recurrent(kind: str, gates: int, directions: int) -> tinyseq.Graph:
    g = tinyseq.Graph()
    own = [zeros(gates * H, F), zeros(gates * H, H)]
    backward = own if directions == 2 else None
    g.output("y", getattr(g, kind)(g.input("x", ["T", "N", F]), own, layout="torch", backward=backward)[0])
    return g


def of(graph: tinyseq.Graph, **feeds: np.ndarray) -> int:
    return operations(graph.model(), feeds)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(("kind", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
def test_recurrent_layers(kind, gates, directions):
    assert of(recurrent(kind, gates, directions), x=X) == 2 * directions * T * N * (F + H) * gates * H


def test_products_and_convolutions():
    g = tinyseq.Graph()
    x = g.input("x", ["T", "N", F])
    g.output("dense", g.dense(x, zeros(F, 7), zeros(7)))
    rows = g.reshape(x, [-1, F])
    g.output("gemm", g.apply("Gemm", zeros(F, 6), rows, transA=1, transB=1))
    channels = g.transpose(x, [1, 2, 0])
    g.output("conv", g.conv1d(channels, zeros(6, 1, 2), groups=3))
    g.output("spread", g.apply("ConvTranspose", channels, zeros(F, 5, 2)))
    expected = T * N * F * 7 + 6 * T * N * F + N * 6 * (T - 1) * 2 + N * F * T * 5 * 2
    assert of(g, x=X) == 2 * expected


def test_everything_else_is_not_counted():
    g = tinyseq.Graph()
    g.output("y", g.tanh(g.add(g.input("x", ["T", "N", F]), 1)))
    assert of(g, x=X) == 0


def test_memory_of_fixed_rows_is_that_of_all_of_them():
    g = tinyseq.Graph()
    weights = [zeros(4 * H, F), zeros(4 * H, H)]
    g.output("y", g.lstm(g.input("x", ["T", 64, F]), weights, layout="torch")[0])
    whole = memory(tinyseq.load(g).model, {"x": zeros(1, 64, F)})
    one = memory(recurrent("lstm", 4, 1).model(), {"x": zeros(1, 1, F)})
    assert whole.state == 2 * 64 * H * 4 and whole.weights == one.weights and whole.arena > one.arena


def test_memory_is_that_of_a_stream():
    g = recurrent("lstm", 4, 1)
    session = tinyseq.load(g)
    found = memory(session.model, {"x": X[:1, :1]})
    snapshot = session.stream().snapshot()
    assert found.state >= sum(array.nbytes for array in snapshot.values()) > 0
    assert found.weights >= 4 * (4 * H * F + 4 * H * H)
    assert found.arena >= 4 * (F + H)
    longer = memory(session.model, {"x": np.zeros((100, 1, F), np.float32)})
    assert longer.arena > found.arena and longer.state == found.state


def test_what_cannot_be_run_is_refused():
    with pytest.raises(tinyseq.FeedError, match="missing 'x'"):
        operations(recurrent("gru", 3, 1).model(), {})
