"""Keras: models from its files, and weights from those that hold no model, without Keras.

A layer of weights in a file:

    weights = Weights(read("encoder.weights.h5"))
    graph = tinyseq.Graph()
    x = graph.input("x", ["T", "N", 40])
    cell = weights.under("layers.lstm.cell.vars")
    y, h, c = graph.lstm(x, [cell.take(name) for name in "012"], layout="keras")
"""

from tinyseq.converters.keras.files import read
from tinyseq.converters.keras.models import load
from tinyseq.converters.weights import Weights

__all__ = ["Weights", "load", "read"]
