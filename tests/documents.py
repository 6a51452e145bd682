"""The code blocks of the documents, and the files and names that they speak of."""

from __future__ import annotations

import pickle
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from string import ascii_lowercase
from typing import NamedTuple

import h5py
import numpy as np
from onnx import helper

from tests.ctc_oracle import NaiveNgrams
from tests.models import model, value
from tests.transducers import transducer

ROOT = Path(__file__).parent.parent
TOKENS = ("_", *ascii_lowercase, " ")


class Block(NamedTuple):
    """A fenced block: its language, its text, and what the comment before it says that it needs."""

    language: str
    text: str
    needs: str


def documents() -> list[Path]:
    """What is written for readers; decisions and the generated list of ops have no code."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [path for path in found if path.is_file()]


def blocks(document: Path) -> Iterator[Block]:
    """The fenced blocks of a document, in order."""
    pattern = r"(?:<!-- needs ([^>]*?) -->\n)?^```(\w*)\n(.*?)^```$"
    for needs, language, text in re.findall(pattern, document.read_text(), re.DOTALL | re.MULTILINE):
        yield Block(language, text, needs)


def write_files(folder: Path, asset: Callable[[str], Path]) -> None:
    """Writes every file that a block reads."""
    draw = np.random.default_rng(0)
    shutil.copy(asset("silero-chunk"), folder / "vad.onnx")
    silence = np.zeros((1, 576), np.float32), np.zeros((2, 1, 128), np.float32)
    np.savez(folder / "feeds.npz", input=silence[0], state=silence[1], sr=np.array(16_000))
    folder.joinpath("encoder.onnx").write_bytes(_encoder(draw))
    folder.joinpath("decoder.onnx").write_bytes(_decoder(draw))
    np.savez(folder / "x.npz", x=draw.standard_normal((1, 12, 3)).astype(np.float32))
    logits = draw.standard_normal((20, len(TOKENS)))
    np.save(
        folder / "rows.npy",
        (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32),
    )
    folder.joinpath("tokens.txt").write_text("\n".join(TOKENS))
    folder.joinpath("serve.toml").write_text('[speech.vad]\nkind = "voice"\n')
    NaiveNgrams.random(["a", "b", "ab"], 2, draw).write(folder / "lm.arpa")
    transducer("stateless").save(folder / "transducer")
    _write_pt(folder / "encoder.pt", _weights(draw))
    with h5py.File(folder / "encoder.weights.h5", "w") as file:
        for name, shape in enumerate([(40, 12), (3, 12), (12,)]):
            file[f"layers/lstm/cell/vars/{name}"] = draw.standard_normal(shape).astype(np.float32)


def _gru(draw: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"w": (1, 12, 3), "r": (1, 12, 4), "b": (1, 24)}
    return {name: draw.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def _encoder(draw: np.random.Generator) -> bytes:
    """x [rows, frames, 3] to h_out [1, rows, 4]."""
    return model(
        [
            helper.make_node("Transpose", ["x"], ["frames_first"], perm=[1, 0, 2]),
            helper.make_node("GRU", ["frames_first", "w", "r", "b"], ["", "h_out"], hidden_size=4),
        ],
        [value("x", shape=("rows", "frames", 3))],
        [value("h_out", shape=(1, "rows", 4))],
        _gru(draw),
    )


def _decoder(draw: np.random.Generator) -> bytes:
    """token [rows, 1] and h [1, rows, 4] to logits [rows, 6] and h_next."""
    rest = {
        "table": draw.standard_normal((6, 3)).astype(np.float32),
        "head": draw.standard_normal((4, 6)).astype(np.float32),
        "axes": np.array([0, 1]),
    }
    return model(
        [
            helper.make_node("Gather", ["table", "token"], ["embedded"]),
            helper.make_node("Transpose", ["embedded"], ["x"], perm=[1, 0, 2]),
            helper.make_node("GRU", ["x", "w", "r", "b", "", "h"], ["y", "h_next"], hidden_size=4),
            helper.make_node("Squeeze", ["y", "axes"], ["rows_only"]),
            helper.make_node("MatMul", ["rows_only", "head"], ["logits"]),
        ],
        [value("token", np.int64, ("rows", 1)), value("h", shape=(1, "rows", 4))],
        [value("logits", shape=("rows", 6)), value("h_next", shape=(1, "rows", 4))],
        _gru(draw) | rest,
    )


def _weights(draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Those of an LSTM of 16 units over 40 features and a linear layer."""
    shapes = {
        "lstm.weight_ih_l0": (64, 40), "lstm.weight_hh_l0": (64, 16), "lstm.bias_ih_l0": (64,),
        "lstm.bias_hh_l0": (64,), "head.weight": (2, 16), "head.bias": (2,),
    }  # fmt: skip
    return {name: draw.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}


def _write_pt(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """A file as torch.save writes it, of float32 arrays in one storage."""

    def plain(given: object) -> bytes:
        return pickle.dumps(given, 2)[2:-1]

    storage = np.concatenate([array.ravel() for array in arrays.values()])
    pickled, offset = b"\x80\x02}(", 0
    for name, array in arrays.items():
        strides = tuple(stride // 4 for stride in array.strides)
        kept = plain("storage") + b"ctorch\nFloatStorage\n" + plain("0") + plain("cpu") + plain(storage.size)
        pickled += plain(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((" + kept + b"tQ"
        pickled += plain(offset) + plain(array.shape) + plain(strides) + b"tR"
        offset += array.size
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled + b"u.")
        archive.writestr("archive/data/0", storage.tobytes())
