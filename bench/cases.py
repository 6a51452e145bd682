"""What is computed: models with inputs, the same for every rival."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

import tinyseq
from tests import assets

MICROSOFT = "com.microsoft"
GATES = {"LSTM": 4, "GRU": 3}
STATES = {"LSTM": ("h", "c"), "GRU": ("h",)}


@dataclass(frozen=True, slots=True)
class Layer:
    """One recurrent layer's weights in ONNX's layout, for rivals that read no ONNX."""

    kind: str
    weights: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Work:
    """What a call has to do at the least: floating-point operations, and bytes of weights to read, those of
    the recurrent product once a frame."""

    flops: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Case:
    """A model and what it is fed.

    ``state`` names the outputs that a call feeds back to inputs, ``{input: output}``; a case without it
    is the same call again and again. ``rows`` are how many streams it steps. ``tolerance`` is the largest
    difference from onnxruntime's outputs with which a call is timed at all: absolute, and relative for what
    is above 1.
    """

    model: bytes
    feeds: dict[str, np.ndarray]
    state: dict[str, str] = field(default_factory=dict)
    layer: Layer | None = None
    work: Work | None = None
    rows: int = 1
    tolerance: float = 1e-5


ROUNDED = 0.05
"""The tolerance of quantised models, where the last bit of a number decides between two bytes."""


def silero_chunk(rows: int = 1) -> Case:
    """32 ms of voice detection, the state fed back: what a live stream computes."""
    feeds = {
        "input": _uniform(_generator(), (rows, 576), 0.1),
        "state": np.zeros((2, rows, 128), np.float32),
        "sr": np.array(16000),
    }
    return Case(assets.fetch("silero-chunk").read_bytes(), feeds, {"state": "stateN"}, rows=rows)


def silero_sequence(frames: int) -> Case:
    """The same network over many chunks at once."""
    state = np.zeros((1, 1, 128), np.float32)
    feeds = {"input": _uniform(_generator(), (frames, 576), 0.1), "h": state, "c": state}
    return Case(assets.fetch("silero-sequence").read_bytes(), feeds)


def recurrent(kind: str, hidden: int, frames: int, rows: int) -> Case:
    """One layer of equal input and hidden size. A single frame is a step: its state is fed back."""
    generator = _generator()
    size, gates = (1, rows, hidden), GATES[kind] * hidden
    shapes = {"W": (1, gates, hidden), "R": (1, gates, hidden), "B": (1, 2 * gates)}
    weights = {name: _uniform(generator, shape, hidden**-0.5) for name, shape in shapes.items()}
    states = STATES[kind]
    feeds = {"x": _uniform(generator, (frames, rows, hidden), 1.0)}
    feeds |= {f"{name}0": _uniform(generator, size, 1.0) for name in states}
    outputs = {"y": (frames, 1, rows, hidden)} | {f"{name}n": size for name in states}
    state = {f"{name}0": f"{name}n" for name in states} if frames == 1 else {}
    model = _single_node(kind, weights, hidden, feeds, outputs)
    matrix = gates * hidden
    work = Work(2 * frames * rows * 2 * matrix, 4 * matrix * (1 + frames))
    return Case(model, feeds, state, Layer(kind, weights), work, rows)


def quantised(hidden: int, frames: int, rows: int) -> Case:
    """One layer of equal input and hidden size whose weights are bytes: onnxruntime's DynamicQuantizeLSTM."""
    generator = _generator()
    state, size = (1, rows, hidden), (1, hidden, 4 * hidden)
    scale, zero_point = np.full(1, hidden**-0.5 / 127, np.float32), np.zeros(1, np.int8)
    weights = {name: generator.integers(-127, 128, size).astype(np.int8) for name in ("W", "R")}
    weights |= {"B": _uniform(generator, (1, 8 * hidden), hidden**-0.5)}
    weights |= {"W_scale": scale, "W_zero": zero_point, "R_scale": scale, "R_zero": zero_point}
    feeds = {"x": _uniform(generator, (frames, rows, hidden), 1.0)}
    feeds |= {"h0": _uniform(generator, state, 1.0), "c0": _uniform(generator, state, 1.0)}
    outputs = {"y": (frames, 1, rows, hidden), "hn": state, "cn": state}
    inputs = ["x", "W", "R", "B", "", "h0", "c0", "", "W_scale", "W_zero", "R_scale", "R_zero"]
    node = helper.make_node(
        "DynamicQuantizeLSTM", inputs, list(outputs), domain=MICROSOFT, hidden_size=hidden
    )
    return Case(_model(node, weights, feeds, outputs), feeds, tolerance=ROUNDED)


def spectra(length: int, frames: int) -> Case:
    """Windows of sound, a quarter of their length apart, through a Fourier transform that is a convolution:
    what models of sound begin with."""
    angles = 2 * np.pi / length * np.outer(np.arange(length // 2 + 1), np.arange(length))
    basis = np.concatenate([np.cos(angles), -np.sin(angles)]) * np.hanning(length + 1)[1:]
    feeds = {"x": _uniform(_generator(), (1, 1, length + length // 4 * (frames - 1)), 1.0)}
    outputs = {"y": (1, length + 2, frames)}
    node = helper.make_node("Conv", ["x", "W"], ["y"], strides=[length // 4])
    return Case(_model(node, {"W": basis[:, None].astype(np.float32)}, feeds, outputs), feeds)


def diacritics(letters: int) -> Case:
    """Two bidirectional layers of bytes over a line of Arabic."""
    feeds = {"input": _generator().integers(2, 40, (1, letters))}
    return Case(assets.fetch("tashkeel").read_bytes(), feeds, tolerance=ROUNDED)


def letters(width: int) -> Case:
    """A picture 64 high: convolutions of bytes, then a bidirectional layer of bytes."""
    feeds = {"input1": _uniform(_generator(), (1, 1, 64, width), 1.0)}
    return Case(assets.fetch("ocr").read_bytes(), feeds, tolerance=ROUNDED)


def whole(name: str, tolerance: float, *given: tuple[int, ...] | np.ndarray | np.generic) -> Case:
    """One run of a model without state; of each input, in order, the shape is given or the numbers are."""
    data = assets.fetch(name).read_bytes()
    generator, feeds = _generator(), {}
    for value, own in zip(tinyseq.load(data).inputs, given, strict=True):
        if not isinstance(own, tuple):
            feeds[value.name] = np.asarray(own)
        elif value.dtype.kind == "f":
            feeds[value.name] = _uniform(generator, own, 1.0).astype(value.dtype)
        else:
            feeds[value.name] = generator.integers(0, 256, own).astype(value.dtype)
    return Case(data, feeds, tolerance=tolerance)


def frame(name: str, tolerance: float) -> Case:
    """A frame of a model that carries its state in inputs and outputs, as a live stream computes it."""
    data = assets.fetch(name).read_bytes()
    session = tinyseq.load(data)
    state = {pair.input: pair.output for pair in session.state}
    generator = _generator()
    feeds = {
        value.name: np.zeros(shape, value.dtype) if value.name in state else _uniform(generator, shape, 0.1)
        for value in session.inputs
        for shape in [[size if isinstance(size, int) else 1 for size in value.shape or ()]]
    }
    return Case(data, feeds, state, tolerance=tolerance)


def _generator() -> np.random.Generator:
    return np.random.default_rng(0)


def _uniform(generator: np.random.Generator, shape: tuple[int, ...], bound: float) -> np.ndarray:
    return generator.uniform(-bound, bound, shape).astype(np.float32)


def _single_node(
    kind: str,
    weights: dict[str, np.ndarray],
    hidden: int,
    feeds: dict[str, np.ndarray],
    outputs: dict[str, tuple[int, ...]],
) -> bytes:
    attributes = {"hidden_size": hidden} | ({"linear_before_reset": 1} if kind == "GRU" else {})
    x, *states = feeds
    node = helper.make_node(kind, [x, *weights, "", *states], list(outputs), **attributes)
    return _model(node, weights, feeds, outputs)


def _model(
    node: NodeProto,
    weights: dict[str, np.ndarray],
    feeds: dict[str, np.ndarray],
    outputs: dict[str, tuple[int, ...]],
) -> bytes:
    graph = helper.make_graph(
        [node],
        node.op_type,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, a.shape) for name, a in feeds.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return model.SerializeToString()
