"""Small models over frames, layer upon layer, for streams."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

import tinyseq

CHANNELS = 4

MOST_STRIDE = 12
"""Frames that a model may make one of."""


class Layers:
    """A model under construction: ``x`` [rows, frames, channels] is what the layers so far give."""

    def __init__(self, seed: int = 0, rows: int | str = "rows") -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = tinyseq.Graph()
        self.x = self.graph.input("x", [rows, "frames", CHANNELS])

    def weights(self, *shape: int) -> np.ndarray:
        return (self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    def then(self, op: str, *inputs, **attributes) -> Layers:
        self.x = self.graph.apply(op, self.x, *inputs, **attributes)
        return self

    def turned(self) -> Layers:
        """Channels before frames, and back."""
        return self.then("Transpose", perm=(0, 2, 1))

    def slid(self, op: str, *inputs, **attributes) -> Layers:
        return self.turned().then(op, *inputs, **attributes).turned()

    def conv(self, taps: int, group: int = 1, **attributes) -> Layers:
        weights = self.weights(CHANNELS, CHANNELS // group, taps), self.weights(CHANNELS)
        return self.slid("Conv", *weights, group=group, **attributes)

    def lstm(self, op: str = "LSTM") -> Layers:
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
        w, r = (self.weights(1, gates * CHANNELS, CHANNELS) for _ in range(2))
        x = self.graph.transpose(self.x, (1, 0, 2))
        y = self.graph.apply(op, x, w, r, self.weights(1, 2 * gates * CHANNELS), hidden_size=CHANNELS)
        self.x = self.graph.transpose(self.graph.squeeze(y, [1]), (1, 0, 2))
        return self

    def whole(self, factor: int = 9, dtype: str = "i8") -> Layers:
        """Whole numbers of either sign, times a factor."""
        self.then("Mul", np.float32(5)).then("Cast", to=np.dtype(dtype))
        return self.then("Mul", np.array(factor, dtype))

    def real(self) -> Layers:
        return self.then("Cast", to=np.dtype(np.float32))

    def cut(self, start: int, end: int = 2**62, step: int = 1) -> Layers:
        return self.then("Slice", *(np.array([n]) for n in (start, end, 1, step)))

    def beside(self, layer: Callable[[Layers], object], op: str = "Add", **attributes) -> Layers:
        """What a layer makes of x, and x itself, put together."""
        x = self.x
        layer(self)
        self.x = self.graph.apply(op, x, self.x, **attributes)
        return self

    def model(self, device: str = "cpu") -> tinyseq.Session:
        self.graph.output("y", self.graph.apply("Identity", self.x))
        return tinyseq.load(self.graph, device=device)


def _pads(draw, reach: int) -> tuple[int, int]:
    before = draw(st.integers(0, reach - 1))
    return before, draw(st.sampled_from([0, reach - 1 - before]))


def _window(draw) -> tuple[dict, int]:
    """The attributes of a window along the frames, and its stride."""
    taps, dilation = draw(st.sampled_from([(1, 1), (2, 1), (3, 1), (3, 2), (5, 1)]))
    stride = draw(st.sampled_from([1, 1, 1, 2, 3]))
    pads = _pads(draw, (taps - 1) * dilation + 1)
    return {"kernel_shape": (taps,), "dilations": (dilation,), "strides": (stride,), "pads": pads}, stride


def _conv(draw, layers: Layers) -> int:
    window, stride = _window(draw)
    layers.conv(window["kernel_shape"][0], draw(st.sampled_from([1, 2, CHANNELS])), **window)
    return stride


def _max_pool(draw, layers: Layers) -> int:
    window, stride = _window(draw)
    layers.slid("MaxPool", ceil_mode=draw(st.integers(0, 1)), **window)
    return stride


def _mean_pool(draw, layers: Layers) -> int:
    window, stride = _window(draw)
    layers.slid("AveragePool", count_include_pad=1, **window)
    return stride


def _spread(draw, layers: Layers) -> int:
    taps, stride = draw(st.sampled_from([(2, 1), (3, 1), (2, 2), (4, 2), (5, 2), (3, 3)]))
    after = draw(st.integers(0, taps - stride))
    attributes = {"strides": (stride,), "pads": (draw(st.integers(0, 2)), after)}
    layers.slid("ConvTranspose", layers.weights(CHANNELS, CHANNELS, taps), **attributes)
    return 1


def _cut(draw, layers: Layers) -> int:
    step = draw(st.sampled_from([1, 1, 2]))
    end = -draw(st.integers(0, 2)) if step == 1 else 0
    layers.cut(draw(st.integers(0, 2)), end or 2**62, step)
    return step


def _padded(draw, layers: Layers) -> int:
    """Padding by itself before a convolution, as exporters write it."""
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    layers.then("Pad", np.array([0, before, 0, 0, after, 0]))
    layers.conv(3)
    return 1


def _beside(draw, layers: Layers) -> int:
    """A convolution that keeps the number of frames, beside what it is of."""
    before = draw(st.integers(0, 2))
    layers.beside(lambda own: own.conv(3, pads=(before, 2 - before)))
    return 1


def _each(draw, layers: Layers) -> int:
    op = draw(st.sampled_from(["Tanh", "Relu", "MatMul", "Softmax"]))
    layers.then(op, *([layers.weights(CHANNELS, CHANNELS)] if op == "MatMul" else []))
    return 1


def _recurrent(draw, layers: Layers) -> int:
    layers.lstm(draw(st.sampled_from(["LSTM", "GRU", "RNN"])))
    return 1


def _places(draw, layers: Layers) -> int:
    """The numbers of the frames, added to them."""
    graph = layers.graph
    size = graph.apply("Squeeze", graph.apply("Shape", layers.x, start=1, end=2))
    places = graph.apply("Range", np.array(0), size, np.array(1))
    places = graph.unsqueeze(graph.apply("Cast", places, to=np.dtype("f4")), [1])
    layers.x = graph.add(layers.x, graph.mul(places, np.float32(0.125)))
    return 1


def _waiting(draw, layers: Layers) -> int:
    """Whole numbers beside those that come late."""
    before = draw(st.integers(0, 2))
    layers.whole().beside(lambda own: own.real().conv(3, pads=(before, 2 - before)).whole()).real()
    layers.then("Tanh")
    return 1


def _whole(draw, layers: Layers) -> int:
    """Whole numbers or truth values on their way."""
    layers.then("Greater", np.float32(0)) if draw(st.booleans()) else layers.whole()
    if draw(st.booleans()):
        layers.cut(draw(st.integers(0, 2)), -draw(st.integers(1, 2)))
    else:
        layers.then("Cast", to=np.dtype("i8")).then("CumSum", np.array(1))
    layers.real().then("Tanh")
    return 1


def _summed(draw, layers: Layers) -> int:
    layers.then("CumSum", np.array(1), exclusive=draw(st.integers(0, 1))).then("Tanh")
    return 1


LAYERS = (
    *(_conv, _conv, _max_pool, _mean_pool, _spread, _cut, _padded),
    *(_beside, _each, _each, _recurrent, _recurrent, _summed, _whole, _waiting, _places),
)


ENDS = {
    "mean": "ReduceMean", "sum": "ReduceSum", "greatest": "ReduceMax", "product": "ReduceProd",
    "length": "ReduceL2",
}  # fmt: skip
"""What can be told of all frames at the end."""


@st.composite
def layered(draw, rows: int | str = "rows") -> Layers:
    """One to five layers."""
    layers, stride = Layers(draw(st.integers(0, 2**16)), rows), 1
    for _ in range(draw(st.integers(1, 5))):
        stride *= draw(st.sampled_from(LAYERS))(draw, layers)
        if stride > MOST_STRIDE:
            break
    return layers
