"""The activations of recurrent layers: one table, for kernels, shapes, passes and converters alike.

A new activation is one row here, and its definition for the reference in ``reference/recurrent.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

NONE: Mapping[str, float | None] = MappingProxyType({})


class Activation:
    """One row of the table.

    ``name`` is ONNX's. ``formula`` is an expression of a float32 ``x`` and the parameters, in the functions
    of ``math.py``. ``parameters`` are alpha and beta with their defaults, None where there is none. ``keras``
    and ``torch`` are the names in Keras and in PyTorch's recurrent layers, if they have it.
    ``keras_parameters`` are what the parameters are in Keras, and in Keras 2 where ``keras2_parameters`` are
    none.
    """

    __slots__ = (
        "formula", "keras", "keras2_parameters", "keras_parameters", "name", "parameters", "torch",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        formula: str,
        parameters: Mapping[str, float | None] = NONE,
        keras: str | None = None,
        keras_parameters: Mapping[str, float] = NONE,
        keras2_parameters: Mapping[str, float] | None = None,
        torch: str | None = None,
    ) -> None:
        self.name = name
        self.formula = formula
        self.parameters = parameters
        self.keras = keras
        self.keras_parameters = keras_parameters
        self.keras2_parameters = keras2_parameters
        self.torch = torch

    def parameters_in_keras(self, version: int) -> dict[str, float | None]:
        """The parameters that the function has in a version of Keras."""
        second = version == 2 and self.keras2_parameters is not None
        return {**self.parameters, **(self.keras2_parameters if second else self.keras_parameters)}


ACTIVATIONS = {
    row.name: row
    for row in (
        Activation("Sigmoid", "sigmoid(x)", keras="sigmoid"),
        Activation("Tanh", "tanh(x)", keras="tanh", torch="tanh"),
        Activation("Relu", "relu(x)", keras="relu", torch="relu"),
        Activation("Affine", "alpha * x + beta", {"alpha": 1.0, "beta": 0.0}, "linear"),
        Activation(
            "LeakyRelu", "alpha * x if x < ZERO else x", {"alpha": 0.01}, "leaky_relu", {"alpha": 0.2}
        ),
        # The specification's table of cells has x >= alpha; its op of this name has x > alpha.
        Activation("ThresholdedRelu", "x if x > alpha else ZERO", {"alpha": 1.0}),
        Activation("ScaledTanh", "alpha * tanh(beta * x)", {"alpha": None, "beta": None}),
        # Keras 3 has relu6(x + 3) / 6.
        Activation(
            "HardSigmoid",
            "bounded(alpha * x + beta, ZERO, ONE)",
            {"alpha": 0.2, "beta": 0.5},
            "hard_sigmoid",
            {"alpha": 1 / 6},
            {},
        ),
        Activation("Elu", "alpha * (exp(x) - ONE) if x < ZERO else x", {"alpha": 1.0}, "elu"),
        Activation("Softsign", "x / (ONE + abs(x))", keras="softsign"),
        Activation("Softplus", "softplus(x)", keras="softplus"),
    )
}
"""By name; kernels know them by their place here."""

BY_KERAS_NAME = {row.keras: row for row in ACTIVATIONS.values() if row.keras}
BY_TORCH_NAME = {row.torch: row for row in ACTIVATIONS.values() if row.torch}

CODES = {name: code for code, name in enumerate(ACTIVATIONS)}
