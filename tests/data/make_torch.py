"""Makes the PyTorch fixtures: files in both formats and what PyTorch computes from them.

    pip install torch==2.13.0 && python tests/data/make_torch.py [resemblyzer's pretrained.pt]

With the path of resemblyzer's weights it also makes what its speech encoder gives.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).parent


def features(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(7).standard_normal(shape).astype(np.float32))


def layers() -> dict[str, nn.Module]:
    return {
        "lstm": nn.LSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True),
        "gru": nn.GRU(4, 3, num_layers=2),
        "rnn": nn.RNN(4, 3, bias=False),
        "cell": nn.LSTMCell(4, 3),
        "grucell": nn.GRUCell(4, 3),
        "linear": nn.Linear(4, 2),
        "embedding": nn.Embedding(5, 4),
        "conv": nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=1),
        "layer_norm": nn.LayerNorm(4),
        "batch_norm": nn.BatchNorm1d(4),
    }


def expected(made: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    x = features(2, 6, 4)
    results = {"x": x}
    lstm, (h, c) = made["lstm"](x)
    gru, state = made["gru"](x)
    cell = made["cell"](x[:, 0])
    return results | {
        "lstm": lstm, "lstm.h": h, "lstm.c": c, "gru": gru, "gru.h": state, "rnn": made["rnn"](x)[0],
        "cell.h": cell[0], "cell.c": cell[1], "grucell": made["grucell"](x[:, 0]),
        "linear": made["linear"](x), "embedding": made["embedding"](torch.arange(5)),
        "conv": made["conv"](x.transpose(1, 2)), "layer_norm": made["layer_norm"](x),
        "batch_norm": made["batch_norm"](x.transpose(1, 2)),
    }  # fmt: skip


def modules() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Live modules and the shapes that they are given; rows of words where an Embedding comes first."""
    return {
        "recurrent": (nn.Sequential(nn.Embedding(9, 4, padding_idx=0), nn.Linear(4, 5, bias=False), nn.Tanh(),
                      nn.RNN(5, 3, 2, nonlinearity="relu", bidirectional=True, batch_first=True)), (2, 6)),
        "gru": (nn.GRU(4, 3, 2, bias=False, bidirectional=True, dropout=0.5), (6, 2, 4)),
        "lstm": (nn.LSTM(4, 3, 3, batch_first=True), (2, 6, 4)),
        "lstm cell": (nn.LSTMCell(4, 3, bias=False), (2, 4)),
        "rnn cell": (nn.Sequential(nn.RNNCell(4, 3, nonlinearity="relu"), nn.GRUCell(3, 2)), (2, 4)),
        "frames": (nn.Sequential(nn.Conv1d(4, 6, 3, padding="same", dilation=2, groups=2), nn.BatchNorm1d(6),
                   nn.PReLU(6), nn.MaxPool1d(2, padding=1), nn.AvgPool1d(2, 1, padding=1), nn.Dropout1d(0.5),
                   nn.BatchNorm1d(6, affine=False), nn.AdaptiveAvgPool1d(1), nn.Flatten()), (2, 4, 9)),
        "picture": (nn.Sequential(nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0)), nn.BatchNorm2d(4),
                    nn.ReLU6(), nn.MaxPool2d((2, 1)), nn.AvgPool2d(2, count_include_pad=False, padding=1)),
                    (2, 2, 9, 6)),
        "activations": (nn.Sequential(nn.CELU(1.5), nn.Hardtanh(-2, 3), nn.Hardswish(), nn.Softplus(2.0),
                        nn.Mish(), nn.LogSigmoid(), nn.SELU(), nn.Softsign(),
                        nn.LayerNorm(4, elementwise_affine=False),
                        nn.LayerNorm((3, 4), bias=False), nn.LogSoftmax(-1)), (2, 3, 4)),
    }  # fmt: skip


def described(module: nn.Module) -> dict:
    """The class, the plain settings and the children of a module."""
    plain = (int, float, str, tuple, type(None))
    settings = {
        key: value for key, value in vars(module).items() if key[0] != "_" and isinstance(value, plain)
    }
    children = {key: described(child) for key, child in module.named_children()}
    return {"kind": type(module).__name__, "settings": settings, "children": children}


def live() -> None:
    """Modules as they are described, their weights, inputs and results."""
    documents, arrays = {}, {}
    for name, (module, shape) in modules().items():
        for buffer in module.buffers():
            if buffer.dtype == torch.float32:
                buffer.copy_(features(*buffer.shape).abs())
        words = name == "recurrent"
        x = torch.arange(12).reshape(shape) % 9 if words else 2 * features(*shape)
        results = module.eval()(x)
        parts = results if isinstance(results, tuple) else (results,)
        parts = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
        if name == "lstm cell":
            parts = [parts[0], *parts]
        documents[name] = described(module)
        arrays |= {f"{name}.x": x} | {f"{name}.{place}": part for place, part in enumerate(parts)}
        arrays |= {f"{name}.weights.{key}": value for key, value in module.state_dict().items()}
    (HERE / "modules.json").write_text(json.dumps(documents, indent=1))
    save_npz("modules_expected.npz", arrays)


def packed() -> dict[str, torch.Tensor]:
    """A layer over sequences of different lengths."""
    lstm, x = nn.LSTM(4, 3, 2, bidirectional=True), features(6, 3, 4)
    lengths = torch.tensor([4, 6, 1])
    y, (h, c) = lstm(nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False))
    y, _ = nn.utils.rnn.pad_packed_sequence(y)
    weights = {f"weights.{key}": value for key, value in lstm.state_dict().items()}
    return {"x": x, "lengths": lengths.int(), "y": y, "h": h, "c": c} | weights


def odd_tensors() -> dict:
    """What files may hold beside plain float32: other types, views, numbers, words, nested lists."""
    base = torch.arange(12, dtype=torch.float32)
    return {
        "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
        "bfloat16": torch.tensor([0.5, -2.0], dtype=torch.bfloat16),
        "double": torch.tensor([0.1, -2.0], dtype=torch.float64),
        "words": torch.tensor([3, -1]),
        "flags": torch.tensor([True, False]),
        "views": {"base": base, "rows": base.view(3, 4).t(), "tail": base[5:9:2], "none": torch.zeros(0, 3)},
        "parameter": nn.Parameter(torch.tensor(2.5)),
        "history": [1, 2.5, {"loss": torch.tensor([0.25])}, "words", None, torch.float32, torch.Size([1])],
    }


def encoder(path: str) -> dict[str, torch.Tensor]:
    """Resemblyzer's speech encoder, as its paper and code have it."""
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    lstm, linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)
    for name, module in (("lstm", lstm), ("linear", linear)):
        start = f"{name}."
        module.load_state_dict({k.removeprefix(start): v for k, v in state.items() if k.startswith(start)})
    x = features(2, 20, 40).abs()
    raw = torch.relu(linear(lstm(x)[1][0][-1]))
    return {"embeddings": raw / raw.norm(dim=1, keepdim=True)}


def save_npz(name: str, arrays: dict[str, torch.Tensor]) -> None:
    np.savez_compressed(HERE / name, **{key: array.detach().numpy() for key, array in arrays.items()})


def main() -> None:
    torch.manual_seed(0)
    made = layers()
    made["batch_norm"].train()(features(8, 4, 3))
    for module in made.values():
        module.eval()
    content = {"epoch": 3, "layers": nn.ModuleDict(made).state_dict()}
    torch.save(content, HERE / "layers.pt")
    torch.save(content, HERE / "layers_legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(odd_tensors(), HERE / "odd.pt")
    save_npz("layers_expected.npz", expected(made))
    live()
    save_npz("packed_expected.npz", packed())
    if len(sys.argv) > 1:
        save_npz("resemblyzer_expected.npz", encoder(sys.argv[1]))


if __name__ == "__main__":
    main()
