"""The activations of recurrent layers: one table, for kernels, shapes, passes and converters alike.

A new activation is one row here, and its definition for the reference in ``reference/recurrent.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NONE: Mapping[str, float | None] = MappingProxyType({})


class Activation(NamedTuple):
    """One row of the table.

    ``name`` is ONNX's. ``formula`` is an expression of a float32 ``x`` and the parameters, in the functions
    of ``math.py``. ``parameters`` are alpha and beta with their defaults, None where there is none. ``keras``
    is Keras' name, if it has it, and ``keras_parameters`` are what the parameters are there.
    """

    name: str
    formula: str
    parameters: Mapping[str, float | None] = NONE
    keras: str | None = None
    keras_parameters: Mapping[str, float] = NONE


ACTIVATIONS = {
    row.name: row
    for row in (
        Activation("Sigmoid", "sigmoid(x)", keras="sigmoid"),
        Activation("Tanh", "tanh(x)", keras="tanh"),
        Activation("Relu", "relu(x)", keras="relu"),
        Activation("Affine", "alpha * x + beta", {"alpha": 1.0, "beta": 0.0}, "linear"),
        Activation(
            "LeakyRelu", "alpha * x if x < ZERO else x", {"alpha": 0.01}, "leaky_relu", {"alpha": 0.2}
        ),
        # The specification's table of cells has x >= alpha; its op of this name has x > alpha.
        Activation("ThresholdedRelu", "x if x > alpha else ZERO", {"alpha": 1.0}),
        Activation("ScaledTanh", "alpha * tanh(beta * x)", {"alpha": None, "beta": None}),
        Activation(
            "HardSigmoid", "bounded(alpha * x + beta, ZERO, ONE)", {"alpha": 0.2, "beta": 0.5}, "hard_sigmoid"
        ),
        Activation("Elu", "alpha * (exp(x) - ONE) if x < ZERO else x", {"alpha": 1.0}, "elu"),
        Activation("Softsign", "x / (ONE + abs(x))", keras="softsign"),
        Activation("Softplus", "softplus(x)", keras="softplus"),
    )
}
"""By name; kernels know them by their place here."""

CODES = {name: code for code, name in enumerate(ACTIVATIONS)}
