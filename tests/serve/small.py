"""Small models of each way in which live streams are stepped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tinyseq

WIDTH = 4


def _weights(draw: np.random.Generator, *shape: int) -> np.ndarray:
    return draw.uniform(-0.6, 0.6, shape).astype(np.float32)


def _gru(graph: tinyseq.Graph, x: str, draw: np.random.Generator) -> str:
    w, r = _weights(draw, 1, 15, WIDTH), _weights(draw, 1, 15, 5)
    return graph.squeeze(graph.apply("GRU", x, w, r, hidden_size=5), [1])


def framed(seed: int = 0) -> tinyseq.Session:
    """x [frames, rows, 4] to y [frames, rows, 5]: any number of frames in a chunk."""
    graph = tinyseq.Graph()
    x = graph.input("x", ["frames", "rows", WIDTH])
    graph.output("y", _gru(graph, x, np.random.default_rng(seed)))
    return tinyseq.load(graph)


def late() -> tinyseq.Session:
    """x [rows, 4, frames] to y: the convolution looks two frames ahead."""
    draw, graph = np.random.default_rng(1), tinyseq.Graph()
    x = graph.input("x", ["rows", WIDTH, "frames"])
    seen = graph.conv1d(x, _weights(draw, WIDTH, WIDTH, 5), padding=2)
    graph.output("y", _gru(graph, graph.transpose(seen, [2, 0, 1]), draw))
    return tinyseq.load(graph)


def of_one_row() -> tinyseq.Session:
    """x [1, 4] and h [1, 4] to y [1, 4]: exported for one row."""
    draw, graph = np.random.default_rng(2), tinyseq.Graph()
    x, h = graph.input("x", [1, WIDTH]), graph.input("h", [1, WIDTH])
    new = graph.tanh(graph.add(graph.dense(h, _weights(draw, WIDTH, WIDTH)), x))
    graph.output("y", graph.mul(new, x))
    graph.output("hn", new, carries="h")
    return tinyseq.load(graph)


def large(size: int = 2**20) -> tinyseq.Session:
    """x [rows, 1] to y [rows, 1] by a state of 4 MiB."""
    graph = tinyseq.Graph()
    x, h = graph.input("x", ["rows", 1]), graph.input("h", ["rows", size])
    steps = np.linspace(0.1, 0.9, size, dtype=np.float32)
    new = graph.tanh(graph.add(graph.mul(h, graph.constant(steps)), x))
    graph.output("y", graph.apply("ReduceMean", new, graph.constant(np.array([1])), keepdims=1))
    graph.output("hn", new, carries="h")
    return tinyseq.load(graph)


def backward() -> tinyseq.Session:
    """A model that cannot be streamed."""
    draw, graph = np.random.default_rng(3), tinyseq.Graph()
    x = graph.input("x", ["frames", "rows", WIDTH])
    w, r = _weights(draw, 2, 15, WIDTH), _weights(draw, 2, 15, 5)
    y = graph.apply("GRU", x, w, r, hidden_size=5, direction="bidirectional")
    graph.output("y", y)
    return tinyseq.load(graph)


MODELS = {"framed": framed, "late": late, "of_one_row": of_one_row, "backward": backward}


def save_all(folder: Path) -> None:
    """Each as a file of a repository."""
    folder.mkdir(exist_ok=True)
    for name, make in MODELS.items():
        make().save(folder / f"{name}.tinyseq")
