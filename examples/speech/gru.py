"""The GRU's sums in compiled loops over time, for training: of batches as small as these, PyTorch's own spend
most of their time between its calls."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit

ONE, HALF = np.float32(1), np.float32(0.5)
LIMIT = np.float32(7.9)
ABOVE = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08)
ABOVE = tuple(map(np.float32, (*ABOVE, 1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03)))
BELOW = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
BELOW = tuple(map(np.float32, BELOW))


@njit(inline="always")
def tanh(x):
    """A ratio of polynomials, within 4e-7; a loop over it is vectorised, one over np.tanh is not."""
    x = min(LIMIT, max(-LIMIT, x))
    s, a, b = x * x, ABOVE, BELOW
    above = x * ((((((a[0] * s + a[1]) * s + a[2]) * s + a[3]) * s + a[4]) * s + a[5]) * s + a[6])
    return above / (((b[0] * s + b[1]) * s + b[2]) * s + b[3])


@njit(inline="always")
def sigmoid(x):
    return HALF + HALF * tanh(HALF * x)


@njit(cache=True, fastmath=True)
def _forward(inputs, weights, bias, state):
    """Inputs [T, B, 3H], weights [3, H, H], bias [3, H], state [B, H] to states [T, B, H], gates [T, B, 4H].

    Three small products take less time than one of the same sums: OpenBLAS packs what is larger.
    """
    steps, batch, width = inputs.shape[0], inputs.shape[1], inputs.shape[2] // 3
    states = np.empty((steps, batch, width), np.float32)
    gates = np.empty((steps, batch, 4 * width), np.float32)
    sums = np.empty((3, batch, width), np.float32)
    before = state
    for t in range(steps):
        for gate in range(3):
            np.dot(before, weights[gate], sums[gate])
        for i in range(batch):
            x, g, old, new = inputs[t, i], gates[t, i], before[i], states[t, i]
            for gate in range(2):
                h, b, at = sums[gate, i], bias[gate], gate * width
                for j in range(width):
                    g[at + j] = sigmoid(x[at + j] + h[j] + b[j])
            h, b, at = sums[2, i], bias[2], 2 * width
            for j in range(width):
                own = h[j] + b[j]
                g[at + width + j] = own
                g[at + j] = tanh(x[at + j] + g[j] * own)
            for j in range(width):
                new[j] = g[at + j] + g[width + j] * (old[j] - g[at + j])
        before = states[t]
    return states, gates


@njit(cache=True, fastmath=True)
def _backward(gradient, states, gates, weights, state):
    """Gradient of the states, with weights [3, H, H] the other way, to those of the inputs [T, B, 3H], of
    what the state is multiplied to [3, T, B, H], and of the state."""
    steps, batch, width = states.shape
    inputs = np.empty((steps, batch, 3 * width), np.float32)
    sums = np.empty((3, steps, batch, width), np.float32)
    later, product = np.zeros((batch, width), np.float32), np.empty((batch, width), np.float32)
    for back in range(steps):
        t = steps - 1 - back
        before = states[t - 1] if t > 0 else state
        for i in range(batch):
            d, g, old, own, left = gradient[t, i], gates[t, i], before[i], inputs[t, i], later[i]
            to_r, to_z, to_n = sums[0, t, i], sums[1, t, i], sums[2, t, i]
            for j in range(width):
                r, z, n = g[j], g[width + j], g[2 * width + j]
                whole = d[j] + left[j]
                dn = whole * (ONE - z) * (ONE - n * n)
                dz = whole * (old[j] - n) * z * (ONE - z)
                dr = dn * g[3 * width + j] * r * (ONE - r)
                own[j], own[width + j], own[2 * width + j] = dr, dz, dn
                to_r[j], to_z[j], to_n[j] = dr, dz, dn * r
                left[j] = whole * z
        for gate in range(3):
            np.dot(sums[gate, t], weights[gate], product)
            later += product
    return inputs, sums, later


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs, weights, bias, state):
        width = state.shape[1]
        weights, state = weights.numpy().reshape(3, width, width), np.ascontiguousarray(state.numpy())
        to = np.ascontiguousarray(weights.transpose(0, 2, 1))
        states, gates = _forward(inputs.numpy(), to, bias.numpy().reshape(3, width), state)
        ctx.past = states, gates, weights, state
        return torch.from_numpy(states)

    @staticmethod
    def backward(ctx, gradient):
        states, *_, state = ctx.past
        inputs, sums, first = _backward(np.ascontiguousarray(gradient.numpy()), *ctx.past)
        before = np.concatenate([state[None], states[:-1]]).reshape(-1, state.shape[1])
        flat = sums.reshape(3, -1, state.shape[1])
        weights = np.concatenate([gate.T @ before for gate in flat])
        return tuple(map(torch.from_numpy, (inputs, weights, flat.sum(1).ravel(), first)))


def gru(layer: torch.nn.GRU, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As ``layer(x, state)`` of one with ``batch_first``: [B, T, in] and [1, B, H] to [B, T, H] and, without
    a gradient, [1, B, H]."""
    inputs = torch.nn.functional.linear(x.transpose(0, 1), layer.weight_ih_l0, layer.bias_ih_l0)
    states = _Sums.apply(inputs.contiguous(), layer.weight_hh_l0, layer.bias_hh_l0, state[0])
    return states.transpose(0, 1), states[-1:].detach()
