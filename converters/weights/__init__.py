"""Weights without a model: read from files by name, and handed out to layers."""

from tinyseq.converters.weights.weights import Weights, as_float32, from_bfloat16, read

__all__ = ["Weights", "as_float32", "from_bfloat16", "read"]
