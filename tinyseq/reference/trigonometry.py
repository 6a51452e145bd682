"""Trigonometric and hyperbolic functions."""

from __future__ import annotations

import numpy as np

from tinyseq.reference.common import defines

FUNCTIONS_OF_NUMPY = {
    "Tan": np.tan,
    "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Asinh": np.arcsinh,
    "Acosh": np.arccosh,
    "Atanh": np.arctanh,
}


def _meaning(function):
    def compute(x):
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return function(x)

    return compute


for _name, _function in FUNCTIONS_OF_NUMPY.items():
    defines(_name)(_meaning(_function))
