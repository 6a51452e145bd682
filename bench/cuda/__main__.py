"""Measures tinyseq on a CUDA device against the CPU's results, torch (cuDNN) and the estimated floor.

First parity: every cell and model, three runs each, must agree with the CPU. Then the time of a step on the
device alone (medians of events; torch's float32 and float16 beside it where torch is installed), what a step
costs all in all, and how many live streams are kept up with. Needs no network. Exit 1 if parity fails, 2
without a device.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tqdm import tqdm

from bench.cuda import measures, models
from tinyseq.errors import DeviceError
from tinyseq.kernels.cuda import driver

PACKAGES = ("tinyseq", "numpy", "numba", "numba-cuda", "cuda-core", "cuda-bindings", "torch")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    effort = measures.QUICK if options.quick else measures.Effort()
    try:
        device = driver.open_device()
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 2
    _say(options, environment(device))
    failed = parity(options, effort)
    tasks = (
        measures.layers(effort, device),
        measures.launching(device, effort),
        measures.live(effort, options.models),
    )
    for task in [] if failed else tasks:
        for row in task:
            _say(options, row._asdict(), _line(row))
    return 1 if failed else 0


def parity(options: argparse.Namespace, effort: measures.Effort) -> list[str]:
    """The names of what differs from the CPU."""
    subjects = [*models.cells(effort.cells), *models.models(options.models)]
    differences = {}
    for subject in tqdm(subjects, desc="parity", leave=False, disable=None):
        try:
            differences[subject.name] = measures.difference(subject)
        except Exception as error:  # A device's first run: all that fails is to be told, not the first.
            differences[subject.name] = float("nan")
            print(f"{subject.name}: {type(error).__name__}: {error}", file=sys.stderr)
    failed = [name for name, found in differences.items() if not found <= measures.PARITY]
    worst = max(differences.values(), key=lambda found: (found != found, found))
    text = f"parity: {len(differences) - len(failed)} of {len(differences)} agree, the worst by {worst:.3g}"
    _say(options, {"parity": differences, "failed": failed}, "\n  ".join([text, *failed]))
    return failed


def environment(device) -> dict[str, object]:
    """What the figures depend on."""
    return {
        "device": device.name,
        "capability": device.capability,
        "multiprocessors": device.multiprocessors,
        "driver": device.driver_version,
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _line(row: measures.Row) -> str:
    share = "" if row.share is None else f"{100 * row.share:6.0f} % of the floor"
    others = [f"  {name} {value:.2f} ({value / row.value:.2f}x)" for name, value in row.against.items()]
    return "".join([f"{row.case:28}{row.value:12.2f} {row.unit}", share, *others])


def _say(options: argparse.Namespace, entry: dict[str, object], text: str | None = None) -> None:
    """One line on the screen, and one of JSON in the file if there is one."""
    print(json.dumps(entry) if text is None else text, flush=True)
    if options.json is not None:
        with options.json.open("a") as file:
            print(json.dumps(entry), file=file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench.cuda", description=__doc__)
    parser.add_argument("models", nargs="*", type=Path, help="further model files, such as gtcrn's")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also append JSON lines")
    return parser


if __name__ == "__main__":
    sys.exit(main())
