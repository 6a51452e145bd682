"""What is compared and timed: layers built in Python, and models that are at hand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
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


def layer(kind: str, hidden: int) -> Layer:
    """A layer of equal input and hidden size over x[T, N, H], its state h, and c of an LSTM, in rows."""
    rng = np.random.default_rng(hidden)
    gates = GATES[kind] * hidden
    bound = hidden**-0.5
    w, r = (rng.uniform(-bound, bound, (1, gates, hidden)).astype(np.float32) for _ in range(2))
    b = rng.uniform(-bound, bound, (1, 2 * gates)).astype(np.float32)
    graph = tinyseq.Graph()
    x = graph.input("x", ["frames", "rows", hidden])
    names = ["h", "c"] if kind == "LSTM" else ["h"]
    states = [graph.input(name, [1, "rows", hidden]) for name in names]
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
    for kind, direction, hidden in product(VARIANTS, directions, sizes):
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
