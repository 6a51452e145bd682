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
import onnxruntime

import tinyseq
from bench import cases
from bench.measures import Row, Task
from bench.rivals import one_thread
from tinyseq.ir.narrow import EXACT, PRECISIONS

HIDDEN, SMALL = 2048, 8
"""Units of the layer, and of one that is loaded before, so that all is imported that loading takes."""

ONNXRUNTIME = onnxruntime.__name__


def tasks() -> Iterator[Task]:
    yield Task(f"memory of lstm H={HIDDEN}", sessions)


def sessions() -> list[Row]:
    """Megabytes of a session that has run and streamed, and the most while it was loaded; of precisions, from
    ONNX and from a file of their own."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for which in (ONNXRUNTIME, EXACT, *PRECISIONS):
            for form in ("onnx", "tinyseq") if which != ONNXRUNTIME else ("onnx",):
                files = [_file(which, hidden, Path(folder, f"{hidden}.{form}")) for hidden in (HIDDEN, SMALL)]
                command = [sys.executable, "-m", __name__, which, *files]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
                held, most = json.loads(done.stdout)
                name = f"memory of lstm H={HIDDEN}, .{form}"
                rows += [Row(name, which, held, "MB"), Row(f"{name}, at most", which, most, "MB")]
    return rows


def _file(which: str, hidden: int, path: Path) -> Path:
    case = cases.recurrent("LSTM", hidden, 1, 1)
    if path.suffix == ".onnx":
        path.write_bytes(case.model)
    else:
        tinyseq.load(case.model, precision=which, state=case.state).save(path)
    return path


def _held(which: str, path: str, small: str) -> list[float]:
    """The megabytes that the session of a file takes, and the most at a time; ``small`` is loaded before."""
    kept = [_used(which, small, SMALL)]
    before = _megabytes("VmRSS")
    kept.append(_used(which, path, HIDDEN))
    return [_megabytes("VmRSS") - before, _megabytes("VmHWM") - before]


def _used(which: str, path: str, hidden: int) -> object:
    """What is held of a model that has run and streamed."""
    feeds = {name: np.zeros((1, 1, hidden), np.float32) for name in ("x", "h0", "c0")}
    if which == ONNXRUNTIME:
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
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:")) * 1024e-6


if __name__ == "__main__":
    print(json.dumps(_held(*sys.argv[1:])))
