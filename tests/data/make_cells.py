"""Writes cells/: recurrent cells as both of PyTorch's exporters take them apart. Needs torch and onnxscript.

``<cell>_script.onnx`` is of the exporter by TorchScript, ``<cell>_dynamo.onnx`` of the one by torch.export.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import nn

FOLDER = Path(__file__).parent / "cells"
FEATURES, HIDDEN, FRAMES = 5, 6, 4


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(FEATURES, HIDDEN)

    def forward(self, x, h, c):
        return self.cell(x, (h, c))


class LstmOverFrames(Lstm):
    def forward(self, x, h, c):
        outputs = []
        for t in range(FRAMES):
            h, c = self.cell(x[t], (h, c))
            outputs.append(h)
        return torch.stack(outputs), h, c


class GruBackward(nn.Module):
    """Over rows of frames from the last to the first, its state zeros made from the number of rows."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(FEATURES, HIDDEN)

    def forward(self, x):
        h, outputs = torch.zeros(x.shape[0], HIDDEN), []
        for t in reversed(range(FRAMES)):
            h = self.cell(x[:, t], h)
            outputs.insert(0, h)
        return torch.stack(outputs, 1)


class Decoder(nn.Module):
    """A cell whose next input is what it put out: no layer can run its frames at once."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.GRUCell(FEATURES, HIDDEN), nn.Linear(HIDDEN, FEATURES)

    def forward(self, x, h):
        for _ in range(FRAMES):
            h = self.cell(x, h)
            x = self.out(h)
        return x, h


class ResetBefore(nn.Module):
    """A GRU by hand: a linear layer for each gate, input and state side by side."""

    def __init__(self):
        super().__init__()
        self.z, self.r, self.n = (nn.Linear(FEATURES + HIDDEN, HIDDEN) for _ in "zrn")

    def forward(self, x, h):
        both = torch.cat([x, h], -1)
        z, r = torch.sigmoid(self.z(both)), torch.sigmoid(self.r(both))
        n = torch.tanh(self.n(torch.cat([x, r * h], -1)))
        return (1 - z) * h + z * n


class Chunked(nn.Module):
    """An LSTM by hand: one linear layer, its gates cut by ``chunk``."""

    def __init__(self):
        super().__init__()
        self.gates = nn.Linear(FEATURES + HIDDEN, 4 * HIDDEN)

    def forward(self, x, h, c):
        g, o, i, f = self.gates(torch.cat([h, x], -1)).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class GateByGate(nn.Module):
    """An LSTM by hand: two linear layers for each gate."""

    def __init__(self):
        super().__init__()
        self.w = nn.ModuleList(nn.Linear(FEATURES, HIDDEN) for _ in range(4))
        self.u = nn.ModuleList(nn.Linear(HIDDEN, HIDDEN, bias=False) for _ in range(4))

    def forward(self, x, h, c):
        i, f, g, o = (w(x) + u(h) for w, u in zip(self.w, self.u))
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


def export(name: str, module: nn.Module, *shapes: tuple[int, ...], rows: int = 0) -> None:
    """Both exports of a module whose inputs have these shapes, axis ``rows`` being open."""
    inputs = tuple(torch.randn(shape) for shape in shapes)
    names = ["x", "h", "c"][: len(inputs)]
    axes = {given: {rows if given == "x" else 0: "N"} for given in names}
    module.eval()
    for exporter in ("script", "dynamo"):
        path = FOLDER / f"{name}_{exporter}.onnx"
        if exporter == "script":
            torch.onnx.export(module, inputs, path, dynamo=False, input_names=names, dynamic_axes=axes)
        else:
            torch.onnx.export(
                module, inputs, path, dynamo=True, input_names=names, external_data=False,
                dynamic_shapes=tuple(axes.values()),
            )  # fmt: skip
        slim(path)


def slim(path: Path) -> None:
    """Leaves out what exporters write for debugging."""
    model = onnx.load(path)
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    del model.functions[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.save(model, path)


def main() -> None:
    torch.manual_seed(0)
    FOLDER.mkdir(exist_ok=True)
    x, h = (2, FEATURES), (2, HIDDEN)
    export("lstm", Lstm(), x, h, h)
    export("lstm_frames", LstmOverFrames(), (FRAMES, *x), h, h, rows=1)
    export("gru", nn.GRUCell(FEATURES, HIDDEN), x, h)
    export("gru_backward", GruBackward(), (2, FRAMES, FEATURES))
    export("gru_decoder", Decoder(), x, h)
    export("gru_reset_before", ResetBefore(), x, h)
    export("lstm_chunked", Chunked(), x, h, h)
    export("lstm_gate_by_gate", GateByGate(), x, h, h)
    export("rnn", nn.RNNCell(FEATURES, HIDDEN), x, h)
    export("rnn_relu", nn.RNNCell(FEATURES, HIDDEN, nonlinearity="relu"), x, h)


if __name__ == "__main__":
    main()
