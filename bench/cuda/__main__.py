"""Measures tinyseq on a CUDA device against the CPU's results and, where it is installed, torch (cuDNN).

First every kernel that the run needs is compiled, then cells and models are compared with the CPU for some
seconds, then all is timed: calls, steps of one frame, whole models, generation, products, layers. Figures are
medians; in brackets how many times as good as the other (above 1: better). Needs no network. Exit 1 if
results differ or a figure cannot be had, 2 without a device.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import sys
import time
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.cuda import models, parity, plot, rehearsal, rivals
from bench.cuda.measures import QUICK, TASKS, Bench, Sizes
from bench.cuda.rows import Row
from bench.cuda.timing import Effort
from tinyseq.errors import DeviceError, MissingPackageError
from tinyseq.kernels.cuda import driver

PACKAGES = ("tinyseq", "numpy", "numba", "numba-cuda", "cuda-core", "cuda-bindings", "torch")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    given = sys.argv[1:] if arguments is None else arguments
    options, tasks = _options(given)
    try:
        device = driver.open_device()
    except DeviceError as error:
        print(error, file=sys.stderr)
        return 2
    start = time.perf_counter()
    _say(options, environment(device))
    _say(options, {"compiled": rehearsal.compile_all(device, given)})
    failed = _compare(options)
    rows: list[Row] = []
    bench = Bench(_sizes(options), device, rivals.at_hand(), options.models)
    for name in [] if failed else tasks:
        try:
            for row in TASKS[name](bench):
                rows.append(row)
                _say(options, row.entry(), row.line())
        except Exception as error:  # What can be measured is, and what cannot be told.
            failed.append(name)
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    _say(options, {"seconds": round(time.perf_counter() - start, 1)})
    if options.plot is not None:
        _plot(options.plot, rows, device.name)
    return 1 if failed else 0


def rehearse(arguments: list[str]) -> None:
    """Goes through a run once without a word, for the sake of what it asks of the device."""
    options, tasks = _options(arguments)
    sizes = _sizes(options)._replace(effort=Effort(0, 1), tokens=3)
    bench = Bench(sizes, driver.open_device(), False, options.models)
    with contextlib.redirect_stderr(None), contextlib.redirect_stdout(None):
        runs = [partial(parity.results_of, subject) for subject in _subjects(options)]
        runs += [partial(list, TASKS[name](bench)) for name in tasks]
        for run in runs:
            with contextlib.suppress(Exception):
                run()


def _plot(path: Path, rows: list[Row], title: str) -> None:
    try:
        path.write_bytes(plot.draw(rows, title))
    except (MissingPackageError, OSError, ValueError) as error:
        print(f"no picture: {error}", file=sys.stderr)


def _compare(options: argparse.Namespace) -> list[str]:
    """The names of what differs from the CPU."""
    subjects = _subjects(options)
    found = parity.differences(subjects, _sizes(options).parity)
    failed = [name for name, difference in found.items() if not difference <= parity.ALLOWED]
    worst = max(found.values(), key=lambda difference: (difference != difference, difference))
    text = f"parity: {len(found) - len(failed)} of {len(found)} agree, the worst by {worst:.3g}"
    text += f"; {len(subjects) - len(found)} were left out" * (len(found) < len(subjects))
    _say(options, {"parity": found, "failed": failed}, "\n  ".join([text, *failed]))
    return failed


def _subjects(options: argparse.Namespace) -> list[models.Subject]:
    return [*models.cells(_sizes(options).cells), *models.models(options.models)]


def _sizes(options: argparse.Namespace) -> Sizes:
    return QUICK if options.quick else Sizes()


def environment(device) -> dict[str, object]:
    """What the figures depend on."""
    return {
        "device": device.name,
        "capability": device.capability,
        "multiprocessors": device.multiprocessors,
        "driver": device.driver_version,
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _say(options: argparse.Namespace, entry: dict[str, object], text: str | None = None) -> None:
    """One line on the screen, and one of JSON in the file if there is one."""
    print(json.dumps(entry) if text is None else text, flush=True)
    if options.json is not None:
        with options.json.open("a") as file:
            print(json.dumps(entry), file=file)


def _options(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the tasks that they choose."""
    parser = argparse.ArgumentParser("python -m bench.cuda", description=__doc__)
    parser.add_argument("models", nargs="*", type=Path, help="further model files, such as gtcrn's")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds, for a first look")
    parser.add_argument(
        "--tasks", metavar="NAMES", help=f"only these, with commas between: {', '.join(TASKS)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also append JSON lines")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="also draw layers beside torch, as a .png file"
    )
    options = parser.parse_args(arguments)
    tasks = list(TASKS) if options.tasks is None else options.tasks.split(",")
    unknown = [name for name in tasks if name not in TASKS]
    if unknown:
        parser.error(f"no task is called {', '.join(unknown)}; there are {', '.join(TASKS)}")
    return options, tasks


if __name__ == "__main__":
    sys.exit(main())
