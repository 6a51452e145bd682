"""PyTorch: weights from files, layers from weights, graphs from modules. PyTorch need not be installed.

A model of weights in a file:

    weights = Weights(torch.read("encoder.pt"))
    graph = tinyseq.Graph()
    x = graph.input("x", ["N", "T", 40])
    y, h, c = torch.lstm(graph, x, weights, "lstm", batch_first=True)
    graph.output("y", torch.linear(graph, y, weights, "head"))
    weights.finish()
    model = tinyseq.load(graph)
"""

from tinyseq.converters.torch.files import read
from tinyseq.converters.torch.layers import (
    batch_norm,
    conv1d,
    convolution,
    embedding,
    gru,
    gru_cell,
    layer_norm,
    linear,
    lstm,
    lstm_cell,
    rnn,
    rnn_cell,
)
from tinyseq.converters.torch.modules import from_module
from tinyseq.converters.weights import Weights

__all__ = [
    "Weights",
    "batch_norm",
    "conv1d",
    "convolution",
    "embedding",
    "from_module",
    "gru",
    "gru_cell",
    "layer_norm",
    "linear",
    "lstm",
    "lstm_cell",
    "read",
    "rnn",
    "rnn_cell",
]
