"""Recurrent layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinyseq.kernels.activations import ACTIVATIONS
from tinyseq.reference.common import defines
from tinyseq.reference.elementwise import (
    elu,
    hard_sigmoid,
    leaky_relu,
    relu,
    sigmoid,
    softplus,
    softsign,
    tanh,
    thresholded_relu,
)

FORMULAS: dict[str, Callable] = {
    "Relu": relu,
    "Tanh": tanh,
    "Sigmoid": sigmoid,
    "Softsign": softsign,
    "Softplus": softplus,
    "Affine": lambda x, alpha, beta: alpha * x + beta,
    "LeakyRelu": leaky_relu,
    # The table of cells has x >= alpha; the op of this name, and onnxruntime's cells, have x > alpha.
    "ThresholdedRelu": thresholded_relu,
    "ScaledTanh": lambda x, alpha, beta: alpha * tanh(beta * x),
    "HardSigmoid": hard_sigmoid,
    "Elu": elu,
}
"""The activations of ``kernels/activations.py``, which has their parameters, by name."""


class LayerAttributes(NamedTuple):
    """What the attributes of a recurrent layer say."""

    hidden_size: int
    direction: str
    layout: int
    clip: float | None
    activation_alpha: tuple[float, ...] | None
    activation_beta: tuple[float, ...] | None
    activations: tuple[str, ...] | None

    def check(self, units: int) -> None:
        """Refuses recurrent weights for another number of units."""
        if units != self.hidden_size:
            raise ValueError(f"hidden_size {self.hidden_size} but recurrent weights for {units} units")

    def functions(self, *usual: str) -> list[list[Callable]]:
        """For each direction the cell's functions, each clipping what it is given.

        ``usual`` are the names where the model gives none. Parameters are taken from their lists in
        order by the functions that have one.
        """
        names = self.activations or usual * (2 if self.direction == "bidirectional" else 1)
        lists = {"alpha": list(self.activation_alpha or ()), "beta": list(self.activation_beta or ())}
        functions = [self._function(name, lists) for name in names]
        if any(lists.values()) or len(names) % len(usual):
            raise ValueError(f"{len(names)} activations and their parameters do not fit each other")
        return [functions[i : i + len(usual)] for i in range(0, len(names), len(usual))]

    def _function(self, name: str, lists: dict[str, list[float]]) -> Callable:
        function, defaults = FORMULAS[name], ACTIVATIONS[name].parameters
        parameters = {key: lists[key].pop(0) if lists[key] else value for key, value in defaults.items()}
        if None in parameters.values():
            raise ValueError(f"{name} has no default parameters")
        limit = np.inf if self.clip is None else self.clip
        return lambda x: function(np.clip(x, -limit, limit), **parameters)


def _run_direction(x, lengths, state, step):
    """Runs ``step`` over the frames of one direction; frames past a row's length leave it alone.

    To the step, a row is zero once the frame before was past its length, as its output is.
    """
    outputs = np.zeros((len(x), *state[0].shape), state[0].dtype)
    for t in range(len(x)):
        valid = (t < lengths)[:, None]
        following = step(x[t], *(np.where((t <= lengths)[:, None], old, 0) for old in state))
        state = tuple(np.where(valid, new, old) for new, old in zip(following, state))
        outputs[t] = np.where(valid, state[0], 0)
    return outputs, state


def _reverse(x, lengths):
    """The valid frames of each row in reverse order, the rest in place."""
    y = x.copy()
    for n, length in enumerate(lengths):
        y[:length, n] = x[:length, n][::-1]
    return y


def run_layer(x, lengths, initials, layer: LayerAttributes, steps: list[Callable], units: int | None = None):
    """All directions of a layer, ``steps`` being the cell of each.

    ``step(x, *state)`` takes one frame of all rows and gives the next state, its output first, which is of
    ``units`` numbers, as many as the layer has if that is not given.
    """
    if layer.layout:
        x = x.transpose(1, 0, 2)
        initials = [None if initial is None else initial.transpose(1, 0, 2) for initial in initials]
    frames, rows, _ = x.shape
    lengths = np.full(rows, frames) if lengths is None else lengths
    if len(lengths) != rows or np.any(lengths < 0) or np.any(lengths > frames):
        raise ValueError(f"lengths {lengths.tolist()} are not of {rows} rows of up to {frames} frames")
    sizes = [units or layer.hidden_size, *[layer.hidden_size] * (len(initials) - 1)]
    zeros = [np.zeros((len(steps), rows, size), x.dtype) for size in sizes]
    initials = [zero if initial is None else initial for zero, initial in zip(zeros, initials)]
    outputs, finals = [], []
    for d, step in enumerate(steps):
        backward = layer.direction == "reverse" or d == 1
        run = _reverse(x, lengths) if backward else x
        y, final = _run_direction(run, lengths, tuple(initial[d] for initial in initials), step)
        outputs.append(_reverse(y, lengths) if backward else y)
        finals.append(final)
    if layer.layout:
        return np.stack(outputs, axis=2).transpose(1, 0, 2, 3), *(np.stack(s, axis=1) for s in zip(*finals))
    return np.stack(outputs, axis=1), *(np.stack(states) for states in zip(*finals))


def biases_of(b, gates: int, directions: int, hidden: int, dtype) -> np.ndarray:
    """For each direction its biases of the input and of the recurrent side, [D, 2, G*H]."""
    b = np.zeros((directions, 2 * gates * hidden), dtype) if b is None else b
    return b.reshape(directions, 2, gates * hidden)


@defines("RNN")
def rnn(x, w, r, b=None, lengths=None, initial_h=None, **attributes):
    layer = LayerAttributes(**attributes)
    layer.check(r.shape[-1])

    def cell(w, r, b, function):
        return lambda x, h: (function(x @ w.T + h @ r.T + b[0] + b[1]),)

    biases = biases_of(b, 1, len(w), layer.hidden_size, x.dtype)
    steps = [cell(*parts, f) for *parts, (f,) in zip(w, r, biases, layer.functions("Tanh"))]
    return run_layer(x, lengths, [initial_h], layer, steps)


@defines("GRU")
def gru(x, w, r, b=None, lengths=None, initial_h=None, *, linear_before_reset, **attributes):
    layer = LayerAttributes(**attributes)
    layer.check(r.shape[-1])

    def cell(w, r, b, f, g):
        wz, wr, wh = np.split(w, 3)
        rz, rr, rh = np.split(r, 3)
        (wbz, wbr, wbh), (rbz, rbr, rbh) = (np.split(side, 3) for side in b)

        def step(x, h):
            z = f(x @ wz.T + h @ rz.T + wbz + rbz)
            reset = f(x @ wr.T + h @ rr.T + wbr + rbr)
            if linear_before_reset:
                candidate = g(x @ wh.T + reset * (h @ rh.T + rbh) + wbh)
            else:
                candidate = g(x @ wh.T + (reset * h) @ rh.T + rbh + wbh)
            return ((1 - z) * candidate + z * h,)

        return step

    biases = biases_of(b, 3, len(w), layer.hidden_size, x.dtype)
    functions = layer.functions("Sigmoid", "Tanh")
    steps = [cell(*parts, *own) for *parts, own in zip(w, r, biases, functions)]
    return run_layer(x, lengths, [initial_h], layer, steps)


def lstm_steps(
    layer: LayerAttributes, products: list[Callable], biases, p, input_forget: int, projection=None
) -> list[Callable]:
    """The LSTM cell of each direction. ``product(x, h)`` is what x and h add to the gates i, o, f, c.

    With ``projection`` [D, P, H], h is projected to P numbers: Sak et al., "Long short-term memory based
    recurrent neural network architectures for large vocabulary speech recognition", 2014.
    """
    projections = [None] * len(products) if projection is None else projection
    p = np.zeros((len(products), 3 * layer.hidden_size), biases.dtype) if p is None else p

    def cell(product, b, p, projection, f, g, h_function):
        pi, po, pf = np.split(p, 3)

        def step(x, h, c):
            i, o, forget, new = np.split(product(x, h) + b[0] + b[1], 4, axis=-1)
            i = f(i + pi * c)
            forget = 1 - i if input_forget else f(forget + pf * c)
            c = forget * c + i * g(new)
            h = f(o + po * c) * h_function(c)
            return h if projection is None else h @ projection.T, c

        return step

    functions = layer.functions("Sigmoid", "Tanh", "Tanh")
    return [cell(*parts, *own) for *parts, own in zip(products, biases, p, projections, functions)]


@defines("LSTM")
def lstm(
    x, w, r, b=None, lengths=None, initial_h=None, initial_c=None, p=None, projection=None, *,
    input_forget, **attributes,
):  # fmt: skip
    layer = LayerAttributes(**attributes)
    layer.check(r.shape[-1] if projection is None else projection.shape[-1])

    def product(w, r):
        return lambda x, h: x @ w.T + h @ r.T

    biases = biases_of(b, 4, len(w), layer.hidden_size, x.dtype)
    products = [product(*parts) for parts in zip(w, r)]
    steps = lstm_steps(layer, products, biases, p, input_forget, projection)
    return run_layer(x, lengths, [initial_h, initial_c], layer, steps, r.shape[-1])
