"""Layers written out in float64, frame by frame, and the files that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import NodeProto, helper

from tests.models import model, value

Weights = Mapping[str, np.ndarray]
Shapes = Mapping[str, Sequence[int | str]]


def node(op: str, inputs: str, outputs: str, **attributes) -> NodeProto:
    """A node; ``_`` stands for an absent input or output."""
    names = [["" if name == "_" else name for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, name=f"{op}_{names[1][-1]}", **attributes)


def file(nodes: Sequence[NodeProto], inputs: Shapes, outputs: Shapes, constants: Weights, **types) -> bytes:
    """An ONNX file; ``types`` are those of inputs that are not float32."""
    return model(
        nodes,
        [value(name, types.get(name, np.float32), shape) for name, shape in inputs.items()],
        [value(name, shape=shape) for name, shape in outputs.items()],
        constants,
    )


def drawn(seed: int = 0, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Random weights by name."""
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal(shape) * 0.4).astype(np.float32) for name, shape in shapes.items()}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(x: np.ndarray, w: np.ndarray, r: np.ndarray, h=0.0, c=0.0) -> tuple[np.ndarray, ...]:
    """x[frames, rows, features] -> y[frames, rows, units], h and c[rows, units] of the last frame."""
    ys = []
    h, c = np.broadcast_to(h, (x.shape[1], r.shape[-1])), c
    for frame in np.float64(x):
        i, o, f, g = np.split(frame @ np.float64(w[0]).T + h @ np.float64(r[0]).T, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h)
    return np.stack(ys), h, c


def gru(x: np.ndarray, w: np.ndarray, r: np.ndarray) -> np.ndarray:
    """x[frames, rows, features] -> y[frames, rows, units]."""
    h, ys = np.zeros((x.shape[1], r.shape[-1])), []
    wz, wr, wh = np.split(np.float64(w[0]), 3)
    rz, rr, rh = np.split(np.float64(r[0]), 3)
    for frame in np.float64(x):
        z, reset = sigmoid(frame @ wz.T + h @ rz.T), sigmoid(frame @ wr.T + h @ rr.T)
        h = (1 - z) * np.tanh(frame @ wh.T + (reset * h) @ rh.T) + z * h
        ys.append(h)
    return np.stack(ys)


def conv(x: np.ndarray, w: np.ndarray, before: int, after: int = 0, stride: int = 1, dilation: int = 1):
    """x[frames, channels] -> y[windows, filters], zeros standing before and after the frames."""
    x = np.pad(np.float64(x), ((before, after), (0, 0)))
    reach = (w.shape[2] - 1) * dilation
    return np.stack(
        [
            sum(w[:, :, tap].astype(np.float64) @ x[start + tap * dilation] for tap in range(w.shape[2]))
            for start in range(0, len(x) - reach, stride)
        ]
    )
