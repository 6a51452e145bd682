"""The memory that a session takes: of a layer in every precision, in a new process each.

``python -m bench.memory WHICH PATH SMALL`` is such a process; see ``_held``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import tinyseq
from bench import cases
from bench.measures import Row, Task, kilobytes
from bench.rivals import OnnxRuntime, one_thread
from tinyseq.ir.narrow import EXACT, PRECISIONS

HIDDEN, SMALL = 2048, 8
"""Units of the layer, and of one that is loaded before, so that all is imported that loading takes."""


def tasks() -> Iterator[Task]:
    yield Task(f"memory of lstm H={HIDDEN}", sessions)


def sessions() -> list[Row]:
    """Megabytes of a session that has run and streamed, and the most at a time on the way there; of
    precisions, from ONNX and from a file of their own."""
    layers = {hidden: cases.recurrent("LSTM", hidden, 1, 1) for hidden in (HIDDEN, SMALL)}
    with tempfile.TemporaryDirectory() as folder:
        onnx, own = ([Path(folder, f"{hidden}.{form}") for hidden in layers] for form in ("onnx", "tinyseq"))
        for path, case in zip(onnx, layers.values(), strict=True):
            path.write_bytes(case.model)
        rows = _rows(OnnxRuntime.package, *onnx)
        for which in (EXACT, *PRECISIONS):
            rows += _rows(which, *onnx)
            for path, case in zip(own, layers.values(), strict=True):
                tinyseq.load(case.model, precision=which, state=case.state).save(path)
            rows += _rows(which, *own)
    return rows


def _rows(which: str, path: Path, small: Path) -> list[Row]:
    """What a new process says of a session."""
    command = [sys.executable, "-m", __name__, which, path, small]
    held, most = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    name = f"memory of lstm H={HIDDEN}, {path.suffix}"
    return [Row(name, which, held, "MB"), Row(f"{name}, at most", which, most, "MB")]


def _held(which: str, path: str, small: str) -> list[float]:
    """The megabytes that the session of a file takes, and the most at a time; ``small`` is loaded before."""
    kept = [_used(which, small, SMALL)]
    before = _megabytes("VmRSS")
    kept.append(_used(which, path, HIDDEN))
    return [_megabytes("VmRSS") - before, _megabytes("VmHWM") - before]


def _used(which: str, path: str, hidden: int) -> object:
    """What is held of a model that has run and streamed."""
    feeds = {name: np.zeros((1, 1, hidden), np.float32) for name in ("x", "h0", "c0")}
    if which == OnnxRuntime.package:
        session = one_thread(Path(path))
        session.run(None, feeds)
        return session
    state = {"h0": "hn", "c0": "cn"}
    given = {"precision": which, "state": state} if path.endswith(".onnx") else {}
    model = tinyseq.load(path, **given)
    model.run(feeds)
    stream = model.stream()
    stream.step({"x": feeds["x"]})
    return stream


def _megabytes(which: str) -> float:
    return kilobytes(which) * 1024e-6


if __name__ == "__main__":
    print(json.dumps(_held(*sys.argv[1:])))
