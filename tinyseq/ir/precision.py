"""Floating-point numbers of other precision, brought to float32, in which tinyseq computes."""

from __future__ import annotations

import numpy as np

from tinyseq.errors import ModelError


def narrowed(array: np.ndarray, where: str) -> np.ndarray:
    """An array of floats as float32; ``where`` names it in errors.

    Raises:
        ModelError: a number is too large for float32.
    """
    with np.errstate(over="ignore"):
        converted = array.astype(np.float32)
    if not np.array_equal(np.isfinite(converted), np.isfinite(array)):
        raise ModelError(f"{where}: {array.dtype} numbers are too large for float32; rescale the model")
    return converted
