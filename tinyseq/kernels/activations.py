"""The activations of the general recurrent layers: of a number, with alpha and beta."""

from __future__ import annotations

from tinyseq.kernels.intrinsics import compiled
from tinyseq.kernels.math import ONE, ZERO, exp, relu, sigmoid, softplus, tanh


@compiled()
def _sigmoid(x, alpha, beta):
    return sigmoid(x)


@compiled()
def _tanh(x, alpha, beta):
    return tanh(x)


@compiled()
def _relu(x, alpha, beta):
    return relu(x)


@compiled()
def _affine(x, alpha, beta):
    return alpha * x + beta


@compiled()
def _leaky_relu(x, alpha, beta):
    return alpha * x if x < ZERO else x


@compiled()
def _thresholded_relu(x, alpha, beta):
    return x if x > alpha else ZERO


@compiled()
def _scaled_tanh(x, alpha, beta):
    return alpha * tanh(beta * x)


@compiled()
def _hard_sigmoid(x, alpha, beta):
    y = alpha * x + beta
    y = ZERO if y < ZERO else y
    return ONE if y > ONE else y


@compiled()
def _elu(x, alpha, beta):
    return alpha * (exp(x) - ONE) if x < ZERO else x


@compiled()
def _softsign(x, alpha, beta):
    return x / (ONE + abs(x))


@compiled()
def _softplus(x, alpha, beta):
    return softplus(x)


ACTIVATIONS_IN_ORDER = (
    *(_sigmoid, _tanh, _relu, _affine, _leaky_relu, _thresholded_relu),
    *(_scaled_tanh, _hard_sigmoid, _elu, _softsign, _softplus),
)
"""As ``ACTIVATIONS`` names them."""
