"""The files that are damaged, by format, and what is done with them afterwards."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save
from tinyseq.converters import torch
from tinyseq.converters.weights import npz, safetensors

import tinyseq
from tests.fuzz import damage, nodes
from tests.models import lstm_with_state, recogniser

DATA = Path(__file__).parent.parent / "data"
MOST = 1e5
"""Elements of an input beyond which a damaged model is not run: it would only take long."""


class Subject(NamedTuple):
    """A whole file, ways to damage it, and what a user would do with it."""

    suffix: str
    data: bytes
    damage: Callable[[Random, bytes, str], bytes]
    use: Callable[[Path], object]


def run(path: Path | bytes) -> None:
    """Loads a model, runs it and steps a stream of it on small inputs, sees what it says of itself."""
    session = tinyseq.load(path)
    str(session)
    feeds = {}
    for value in session.inputs:
        sizes = [size if isinstance(size, int) else 2 for size in value.shape or ()]
        if np.prod(sizes, dtype=float) > MOST:
            return
        feeds[value.name] = np.ones(sizes, value.dtype)
    session.run(feeds)
    if session.state:
        carried = {pair.input for pair in session.state}
        rows = [v for v in session.stream_inputs if v.name not in carried]
        sizes = {v.name: [size if isinstance(size, int) else 1 for size in v.shape or ()] for v in rows}
        session.stream().step({v.name: np.ones(sizes[v.name], v.dtype) for v in rows})


def layers_of(read: Callable[[Path], dict[str, np.ndarray]], prefix: str = "") -> Callable[[Path], None]:
    """Reads weights, builds the LSTM among them and runs it; without a prefix nothing else may be there."""

    def use(path: Path) -> None:
        weights = torch.Weights(read(path), str(path))
        own = weights.under(prefix) if prefix else weights
        graph = tinyseq.Graph()
        x = graph.input("x", ["rows", "frames", 4])
        y, *_ = torch.lstm(graph, x, own, "lstm", batch_first=True)
        graph.output("y", y)
        if not prefix:
            weights.finish()
        tinyseq.load(graph).run({"x": np.ones((2, 3, 4), np.float32)})

    return use


def _either(*ways: Callable[[Random, bytes], bytes]) -> Callable[[Random, bytes, str], bytes]:
    return lambda rng, data, canary: rng.choice(ways)(rng, data)


def _archive(rng: Random, data: bytes, canary: str) -> bytes:
    return damage.of_archive(rng, data, canary) if rng.random() < 0.6 else damage.of_bytes(rng, data)


def _pickled(rng: Random, data: bytes, canary: str) -> bytes:
    if rng.random() < 0.05:
        return damage.hostile_pickle(rng, canary)
    return damage.of_bytes(rng, data)


def _own() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.tinyseq"
        tinyseq.load(lstm_with_state()).save(path)
        return path.read_bytes()


def _lstm() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (20, 4), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)}
    return {f"lstm.{name}": rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **_lstm())
    return stream.getvalue()


def subjects() -> dict[str, Subject]:
    """All of them, by name."""
    warnings.simplefilter("ignore")
    onnx = _either(damage.of_bytes, damage.of_onnx, damage.of_onnx)
    header = _either(damage.of_bytes, damage.of_header)
    return {
        "onnx": Subject(".onnx", recogniser(), onnx, run),
        "tinyseq": Subject(".tinyseq", _own(), header, run),
        "nodes": Subject(".onnx", nodes.whole(), lambda rng, data, canary: nodes.node(rng), nodes.run),
        "headers": Subject(".tinyseq", _own(), lambda rng, data, canary: damage.of_header(rng, data), run),
        "safetensors": Subject(".safetensors", save(_lstm()), header, layers_of(safetensors.read)),
        "npz": Subject(".npz", _npz(), _archive, layers_of(npz.read)),
        "pt": Subject(".pt", (DATA / "layers.pt").read_bytes(), _archive, layers_of(torch.read, "layers")),
        "pth": Subject(
            ".pth", (DATA / "layers_legacy.pt").read_bytes(), _pickled, layers_of(torch.read, "layers")
        ),
        "keras": Subject(".keras", (DATA / "hard.keras").read_bytes(), _archive, run),
        "h5": Subject(".h5", (DATA / "sequence.h5").read_bytes(), _either(damage.of_bytes), run),
    }
