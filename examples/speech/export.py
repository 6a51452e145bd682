"""From the trained network to what ships: ``python -m examples.speech.export WEIGHTS``."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import torch

import tinyseq

from .. import audio
from . import language_model
from .network import CHUNK, TAIL, Net, Recogniser, beginning
from .recognizer import CLIP, LANGUAGE_MODEL, MODEL

PRECISION = "int8"
STATES = ("tail", "context", "hidden")


def onnx_model(net: Net) -> bytes:
    """The network with its front end, as ONNX by torch's own exporter; a step of one stream."""
    recogniser = Recogniser(net).eval()
    inputs = (torch.zeros(1, CHUNK), torch.zeros(1, TAIL), *beginning(1))
    file = io.BytesIO()
    torch.onnx.export(
        recogniser,
        inputs,
        file,
        input_names=["samples", *STATES],
        output_names=["logp", *(f"{name}_out" for name in STATES)],
        dynamo=False,
        opset_version=17,
    )
    return file.getvalue()


def write(net: Net, path: Path, precision: str) -> tinyseq.Session:
    """Writes the model with narrow weights; gives it as it was read again."""
    state = {name: f"{name}_out" for name in STATES}
    tinyseq.load(onnx_model(net), state=state, precision=precision).save(path)
    return tinyseq.load(path)


def expected(net: Net, samples: np.ndarray) -> np.ndarray:
    """What torch gives for sound, [frames, tokens], step by step."""
    recogniser, rows = Recogniser(net).eval(), []
    state = (torch.zeros(1, TAIL), *beginning(1))
    with torch.no_grad():
        for chunk in samples[: len(samples) // CHUNK * CHUNK].reshape(-1, 1, CHUNK):
            row, *state = recogniser(torch.from_numpy(chunk), *state)
            rows.append(row[0].numpy())
    return np.concatenate(rows)


def ship(net: Net, precision: str = PRECISION, model: Path = MODEL, expected_at: Path | None = None) -> None:
    """Writes the model, the language model and, where wanted, what torch gives for the clip; says how large
    they are, and how far the model is from torch."""
    clip = audio.read(CLIP).samples[: 120 * CHUNK]
    rows, session = expected(net, clip), write(net, model, precision)
    stream = session.stream()
    own = [stream.step({"samples": chunk[None]})["logp"][0] for chunk in clip.reshape(-1, CHUNK)]
    worst = np.abs(np.exp(np.concatenate(own)) - np.exp(rows)).max()
    print(f"{model.name}: {model.stat().st_size} bytes, {precision}; probabilities within {worst:.2g}")
    language_model.write(LANGUAGE_MODEL)
    print(f"{LANGUAGE_MODEL.name}: {LANGUAGE_MODEL.stat().st_size} bytes")
    if expected_at is not None:
        np.savez_compressed(expected_at, logp=rows.astype(np.float16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument(
        "--precision", default=PRECISION, help="float32, int16 or int8 (default: %(default)s)"
    )
    parser.add_argument("--model", type=Path, default=MODEL, help="where to write it (default: beside this)")
    parser.add_argument("--expected", type=Path, help="where to write what torch gives for the clip, as .npz")
    args = parser.parse_args()
    net = Net()
    net.load_state_dict(torch.load(args.weights))
    ship(net, args.precision, args.model, args.expected)


if __name__ == "__main__":
    main()
