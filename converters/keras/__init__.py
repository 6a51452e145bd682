"""Keras: models from its files, without Keras."""

from tinyseq.converters.keras.models import load

__all__ = ["load"]
