"""Measures C libraries that tinyseq makes: their sizes, a step, and how soon a program has its first result.

Times are medians of interleaved blocks of steps in one process. Where the folder of RTNeural's sources or
onnx2c's program is given, the same layers are measured as they make them; nothing is timed whose first
outputs differ from tinyseq's.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median

import numpy as np

from bench.edge import rivals
from bench.edge.models import Case, cases
from tinyseq.plan.packing import aligned

ISAS = {"avx2": ["avx2"], "avx2 + avx512vnni": ["avx2", "avx512vnni"]}
BLOCK_SECONDS = 2e-4
"""Short, so that many blocks are whole even where other programs run besides."""

TOLERANCE = 1e-4
STARTS = 200


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        clock = _clock(Path(scratch))
        for case in cases():
            if options.filter in case.name:
                for row in measured(case, clock, options, Path(scratch, case.name)):
                    print(json.dumps(row) if options.json else _line(row), flush=True)


def measured(case: Case, clock: ctypes.CDLL, options: argparse.Namespace, folder: Path) -> Iterator[dict]:
    """A row for everyone who makes code of a model."""
    folder.mkdir()
    rows, calls = {}, {}
    x, y = (aligned(4 * count).view(np.float32) for count in case.floats)
    x[:] = np.random.default_rng(0).uniform(-1, 1, x.size)
    expected = None
    for name, made, figures in _makers(case, options, folder):
        step = ctypes.CDLL(str(made)).bench_step
        clock.steps(step, _at(x), _at(y), 1)
        expected = y.copy() if expected is None else expected
        if np.abs(y - expected).max() > TOLERANCE:
            raise SystemExit(f"{name} computes something else in {case.name}")
        rows[name] = {"case": case.name, "by": name} | figures
        calls[name] = _call(clock, step, x, y)
    seconds = _interleaved(calls, options.rounds)
    for name, row in rows.items():
        once = folder / name / "once"
        starts = [clock.started(str(once).encode()) for _ in range(STARTS)] if once.exists() else []
        yield (
            row
            | {
                "step_us": median(seconds[name]) * 1e6,
                "best_us": min(seconds[name]) * 1e6,
            }
            | ({"exec_ms": median(starts) * 1e3} if starts else {})
        )


def _makers(case: Case, options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path, dict]]:
    for name, isas in ISAS.items():
        path, built = rivals.own(case, isas, folder / name)
        sizes = {kind: built.files[kind].stat().st_size for kind in ("object", "shared")}
        figures = {"code_bytes": sizes["object"] - built.weight_bytes, "library_bytes": sizes["shared"]}
        yield name, path, figures
    if options.rtneural:
        for processor in ("haswell", "native"):
            name = f"RTNeural {processor}"
            if path := rivals.rtneural(case, options.rtneural, processor, folder / name):
                yield name, path, {}
    if options.onnx2c:
        for flags in ("-O3", "-O3 -march=native", "-O3 -march=native -ffast-math"):
            name = f"onnx2c {flags}"
            if path := rivals.onnx2c(case, options.onnx2c, flags.split(), folder / name):
                yield name, path, {}


def _call(clock: ctypes.CDLL, step: object, x: np.ndarray, y: np.ndarray) -> Callable[[int], float]:
    given, taken = _at(x), _at(y)
    return lambda count: clock.steps(step, given, taken, count)


def _interleaved(calls: Mapping[str, Callable[[int], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of a step of each, for every round of a block of each."""
    counts = {name: max(1, round(BLOCK_SECONDS / (call(10) / 10))) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(call(counts[name]) / counts[name])
    return seconds


def _at(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _clock(folder: Path) -> ctypes.CDLL:
    path = folder / "clock.so"
    rivals.run("cc", "-O2", "-shared", "-fPIC", "-o", path, Path(__file__).with_name("clock.c"))
    clock = ctypes.CDLL(str(path))
    clock.steps.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64]
    clock.started.argtypes = [ctypes.c_char_p]
    clock.steps.restype = clock.started.restype = ctypes.c_double
    return clock


def _line(row: dict) -> str:
    text = f"{row['case']:10} {row['by']:36} {row['step_us']:8.3f} us (best {row['best_us']:.3f})"
    if "code_bytes" in row:
        text += f", code {row['code_bytes'] / 1e3:.1f} kB, library {row['library_bytes'] / 1e3:,.0f} kB"
    return text + (f", exec to first result {row['exec_ms']:.2f} ms" if "exec_ms" in row else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench.edge", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=1000, metavar="N", help="blocks of steps (default 1000)"
    )
    parser.add_argument("--filter", default="", metavar="TEXT", help="only models with TEXT in their names")
    parser.add_argument(
        "--rtneural", type=Path, metavar="FOLDER", help="RTNeural's sources, to measure beside"
    )
    parser.add_argument("--onnx2c", type=Path, metavar="PROGRAM", help="onnx2c, to measure beside")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each row")
    return parser


if __name__ == "__main__":
    main()
