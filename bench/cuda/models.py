"""What is compared and timed: layers built in Python, and models that are at hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tinyseq

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEMO = Path(tinyseq.__file__).parent / "speech" / "data" / "silero_vad_16k.tinyseq"


class Subject(NamedTuple):
    """A model with inputs."""

    name: str
    model: tinyseq.Graph | Path
    feeds: dict[str, np.ndarray]


class Layer(NamedTuple):
    """One layer's weights in ONNX's layout; ``model`` carries its state."""

    kind: str
    model: tinyseq.Graph
    w: np.ndarray
    r: np.ndarray
    b: np.ndarray


def layer(kind: str, hidden: int, rows: int | str = "rows", frames: int | str = "frames") -> Layer:
    """A layer of equal input and hidden size over x[T, N, H], its state h, and c of an LSTM, in rows."""
    rng = np.random.default_rng(hidden)
    gates = GATES[kind] * hidden
    bound = hidden**-0.5
    w, r = (rng.uniform(-bound, bound, (1, gates, hidden)).astype(np.float32) for _ in range(2))
    b = rng.uniform(-bound, bound, (1, 2 * gates)).astype(np.float32)
    graph = tinyseq.Graph()
    x = graph.input("x", [frames, rows, hidden])
    names = ["h", "c"] if kind == "LSTM" else ["h"]
    states = [graph.input(name, [1, rows, hidden]) for name in names]
    attributes = {"linear_before_reset": 1} if kind == "GRU" else {}
    y, *finals = graph.apply(
        kind, x, w, r, b, None, *states, outputs=1 + len(states), hidden_size=hidden, **attributes
    )
    graph.output("y", y)
    for name, final in zip(names, finals):
        graph.output(f"next_{name}", final, carries=name)
    return Layer(kind, graph, w, r, b)


def layer_feeds(kind: str, hidden: int, frames: int, rows: int) -> dict[str, np.ndarray]:
    """Inputs of ``layer``."""
    rng = np.random.default_rng(frames)
    feeds = {"x": rng.standard_normal((frames, rows, hidden)).astype(np.float32)}
    for name in ("h", "c") if kind == "LSTM" else ("h",):
        feeds[name] = rng.uniform(-1, 1, (1, rows, hidden)).astype(np.float32)
    return feeds


def addition() -> tinyseq.Graph:
    """The smallest model with a state: sum + x."""
    graph = tinyseq.Graph()
    x, total = graph.input("x", [1]), graph.input("sum", [1])
    graph.output("next", graph.add(x, total), carries="sum")
    return graph


def product(k: int, n: int) -> tinyseq.Graph:
    """x[rows, k] times a matrix of numbers that are not trained."""
    graph = tinyseq.Graph()
    w = np.random.default_rng(n).uniform(-1, 1, (k, n)).astype(np.float32)
    graph.output("y", graph.dense(graph.input("x", ["rows", k]), w / np.float32(k**0.5)))
    return graph


class LanguageModel(NamedTuple):
    """An LSTM between a table of tokens and scores of the next one; weights in torch's layout."""

    graph: tinyseq.Graph
    table: np.ndarray
    cell: list[np.ndarray]
    out: np.ndarray

    @classmethod
    def of(cls, hidden: int, vocabulary: int) -> LanguageModel:
        """One whose likeliest token is clear enough for rounding not to choose it."""
        rng = np.random.default_rng(0)

        def weights(*shape: int, scale: float) -> np.ndarray:
            return (scale * rng.uniform(-1, 1, shape)).astype(np.float32)

        small = hidden**-0.5
        table, out = weights(vocabulary, hidden, scale=2), weights(hidden, vocabulary, scale=1)
        shapes = (4 * hidden, hidden), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,)
        cell = [weights(*shape, scale=small) for shape in shapes]
        graph = tinyseq.Graph()
        token = graph.input("token", ["rows"], np.int64)
        h, c = (graph.input(name, [1, "rows", hidden]) for name in ("h", "c"))
        x = graph.unsqueeze(graph.embedding(token, table), [0])
        y, next_h, next_c = graph.lstm(x, cell, layout="torch", h=h, c=c)
        graph.output("next_h", next_h, carries="h")
        graph.output("next_c", next_c, carries="c")
        graph.output("logits", graph.dense(graph.squeeze(y, [0]), out))
        return cls(graph, table, cell, out)

    def feeds(self, rows: int) -> dict[str, np.ndarray]:
        """Where so many rows begin."""
        rng = np.random.default_rng(1)
        shape = 1, rows, self.table.shape[1]
        return {name: rng.uniform(-1, 1, shape).astype(np.float32) for name in ("h", "c")}


VARIANTS: dict[str, tuple[dict[str, object], ...]] = {
    "RNN": ({}, {"activations": ("Relu",)}, {"activations": ("Softsign",), "clip": 1.5}),
    "GRU": (
        {"linear_before_reset": 0},
        {"linear_before_reset": 1},
        {"linear_before_reset": 0, "activations": ("HardSigmoid", "Softsign")},
        {"linear_before_reset": 1, "clip": 0.7},
    ),
    "LSTM": (
        {},
        {"clip": 0.7},
        {"input_forget": 1},
        {"activations": ("HardSigmoid", "Elu", "Softsign")},
        {"peepholes": True},
        {"projection": True},
        {"projection": True, "peepholes": True, "clip": 0.9},
    ),
}
"""Attributes, and inputs beyond the plain ones, of the cells that are compared."""


def cells(sizes: tuple[int, ...]) -> Iterator[Subject]:
    """Every cell in every direction, with and without lengths."""
    directions = ("forward", "reverse", "bidirectional")
    for kind, direction, hidden in itertools.product(VARIANTS, directions, sizes):
        for variant in VARIANTS[kind]:
            for rows, lengths in ((1, False), (3, True)):
                yield _cell(kind, direction, hidden, rows, lengths, variant)


def _cell(
    kind: str, direction: str, hidden: int, rows: int, lengths: bool, variant: dict[str, object]
) -> Subject:
    rng = np.random.default_rng(0)
    attributes = dict(variant)
    count = 2 if direction == "bidirectional" else 1
    units = -(-hidden // 2) if attributes.pop("projection", False) else hidden

    def weights(*shape: int) -> np.ndarray:
        return rng.uniform(-0.3, 0.3, (count, *shape)).astype(np.float32)

    gates = GATES[kind] * hidden
    if "activations" in attributes:
        attributes["activations"] = attributes["activations"] * count
    graph = tinyseq.Graph()
    x = graph.input("x", ["frames", "rows", 24])
    feeds = {"x": rng.standard_normal((7, rows, 24)).astype(np.float32)}
    inputs = [x, weights(gates, 24), weights(gates, units), weights(2 * gates), None]
    if lengths:
        inputs[4] = graph.input("lengths", ["rows"], np.int32)
        feeds["lengths"] = np.array([7, 0, 4], np.int32)[:rows]
    if kind == "LSTM":
        inputs += [None, None, weights(3 * hidden) if attributes.pop("peepholes", False) else None]
        inputs += [weights(units, hidden)] if units != hidden else []
    y = graph.apply(kind, *inputs, hidden_size=hidden, direction=direction, **attributes)
    graph.output("y", y)
    said = ", ".join(f"{name}={value}" for name, value in variant.items())
    name = f"{kind.lower()} {direction} H={hidden} N={rows}{' lengths' if lengths else ''} {said}".strip()
    return Subject(name, graph, feeds)


def models(paths: list[Path]) -> Iterator[Subject]:
    """The voice detector that tinyseq brings along, then models that were named, on random inputs."""
    from tinyseq.tools.verify import random_feeds

    rng = np.random.default_rng(0)
    feeds = {
        "input": rng.uniform(-0.1, 0.1, (2, 576)).astype(np.float32),
        "state": np.zeros((2, 2, 128), np.float32),
        "sr": np.array(16000),
    }
    yield Subject("silero", DEMO, feeds)
    for path in paths:
        yield Subject(path.name, path, random_feeds(tinyseq.load(path), {}, {}, 0))
