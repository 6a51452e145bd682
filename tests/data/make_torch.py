"""Makes the PyTorch fixtures: files in both formats and what PyTorch computes from them.

    pip install torch==2.13.0 && python tests/data/make_torch.py [resemblyzer's pretrained.pt]

With the path of resemblyzer's weights it also makes what its speech encoder gives.
"""

from __future__ import annotations

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
    if len(sys.argv) > 1:
        save_npz("resemblyzer_expected.npz", encoder(sys.argv[1]))


if __name__ == "__main__":
    main()
