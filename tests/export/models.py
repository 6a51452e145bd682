"""Small models to build libraries of."""

from __future__ import annotations

import numpy as np

import tinyseq

HIDDEN = 8


def layer(
    op: str = "LSTM", hidden: int = HIDDEN, rows: int | str = 1, frames: int | str = 1
) -> tinyseq.Session:
    """A recurrent layer over [frames, rows, hidden]."""
    rng, gates = np.random.default_rng(0), {"LSTM": 4, "GRU": 3, "RNN": 1}[op]

    def weights(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(hidden)).astype(np.float32)

    graph = tinyseq.Graph()
    x = graph.input("x", [frames, rows, hidden])
    shapes = (1, gates * hidden, hidden), (1, gates * hidden, hidden), (1, 2 * gates * hidden)
    graph.output("y", graph.apply(op, x, *(weights(*shape) for shape in shapes), hidden_size=hidden))
    return tinyseq.load(graph)
