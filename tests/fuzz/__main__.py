"""Damages model files and uses them; whatever is not a result or a tinyseq error is a finding.

    python -m tests.fuzz 1000                  each format, 1000 files
    python -m tests.fuzz 1000 --only h5 pt     some formats
    python -m tests.fuzz 1 --only onnx --first 4711    one case again
    python -m tests.fuzz 1000 --only nodes     nodes of any types, beside guard pages and by the reference

Files are used in child processes with little memory, and watched: one that dies or takes too long is a
finding too, and so is anything run, written or read beside the file. Exit status 1 with findings.
"""

from __future__ import annotations

import argparse
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

from tinyseq.converters.keras import hdf5_reader

SECONDS = 90
"""More than any case takes a slow machine."""
MEMORY = 2**27
"""Bytes of address space beyond what a process has that has used the whole file."""

FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.remove", "os.rename", "os.mkdir",
    "subprocess.Popen", "socket.", "pickle.find_class", "shutil.", "pty.", "code.__new__", "webbrowser.",
)  # fmt: skip
"""Beginnings of audit events that no reading of a file causes."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("count", type=int, help="files of each format")
    parser.add_argument("--only", nargs="+", default=[], metavar="FORMAT")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        _work(args.only[0], args.first, args.count, args.seed)
        return 0
    from tests.fuzz.subjects import subjects

    findings = 0
    for name in args.only or subjects():
        started = time.monotonic()
        outcomes, bad = _watch(name, args.first, args.count, args.seed)
        findings += len(bad)
        told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        print(f"{name}: {told} in {time.monotonic() - started:.0f} s", flush=True)
        for number, what in bad:
            print(f"  case {number} of seed {args.seed}: {what}", flush=True)
    return 1 if findings else 0


def _watch(name: str, first: int, count: int, seed: int) -> tuple[Counter, list[tuple[int, str]]]:
    """Runs the cases in child processes, a new one after each that died."""
    outcomes: Counter = Counter()
    bad: list[tuple[int, str]] = []
    number = first
    while number < first + count:
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            str(first + count - number),
            "--worker",
            "--only",
            name,
        ]
        command += ["--first", str(number), "--seed", str(seed)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started = False
        while line := _line(child, SECONDS if started else 10 * SECONDS):
            started = True
            case, _, outcome = line.rstrip("\n").partition(" ")
            number = int(case) + 1
            kind, _, more = outcome.partition(" ")
            outcomes[kind] += 1
            if kind == "BAD":
                bad.append((number - 1, more))
        hung = child.poll() is None and number < first + count and line is None
        child.kill() if hung else None
        code = child.wait()
        if number < first + count:
            outcomes["BAD"] += 1
            bad.append((number, "took too long" if hung else f"ended the process ({_told(code)})"))
            number += 1
    return outcomes, bad


def _told(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"


def _line(child: subprocess.Popen, seconds: float) -> str | None:
    """The next line of a child; empty when it ended, None when it took too long."""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        return child.stdout.readline() if selector.select(seconds) else None


def _work(name: str, first: int, count: int, seed: int) -> None:
    """Prints a line for each case: its number and what came of it."""
    from tests.fuzz.subjects import subjects

    subject = subjects()[name]
    events: list[str] = []
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "models"
        folder.mkdir()
        (Path(outer) / "secret").write_bytes(bytes(4096))
        path, canary = folder / f"damaged{subject.suffix}", Path(outer) / "canary"
        path.write_bytes(subject.data)
        subject.use(path)
        _import_families()
        _limit()
        sys.addaudithook(lambda event, arguments: _audit(event, arguments, str(folder), events))
        for number in range(first, first + count):
            rng = Random(f"{seed} {name} {number}")
            path.write_bytes(subject.damage(rng, subject.data, str(canary)) or b"\0")
            events.clear()
            events.append("on")
            outcome = _outcome(subject.use, path)
            events.remove("on")
            if events:
                outcome = f"BAD {events[0]}"
            if canary.exists():
                outcome = "BAD ran code"
            print(number, outcome, flush=True)


def _import_families() -> None:
    """What tinyseq imports when a model needs it is no file that a model has opened."""
    from tinyseq import reference
    from tinyseq.ir.ops import OPS
    from tinyseq.passes import pairs, precision, probe, recognise, rows, state, time  # noqa: F401
    from tinyseq.plan.lower import lowering

    for op in OPS:
        reference.meaning(op)
        lowering(op)


def _outcome(use, path: Path) -> str:
    from tinyseq.errors import TinyseqError

    try:
        use(path)
    except TinyseqError as error:
        return "refused" if str(error) else "BAD says nothing"
    except BaseException as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "tests/fuzz" not in f.filename]
        places = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[:-5:-1])
        return f"BAD {type(error).__name__}: {' '.join(str(error).split())[:150]} at {places}"
    return "run"


def _limit() -> None:
    """No more memory than there is now and ``MEMORY``, no core dumps."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _audit(event: str, arguments: tuple, folder: str, events: list[str]) -> None:
    if "on" not in events:
        return
    own = event == "subprocess.Popen" and arguments[1][-1] == hdf5_reader.__file__
    if event.startswith(FORBIDDEN) and not own:
        events.append(f"{event} {arguments!r:.100}")
    elif event == "open" and isinstance(arguments[0], (str, bytes)):
        name = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode(errors="replace")
        writes = isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if writes or not (
            name.startswith((folder, sys.prefix, sys.base_prefix)) or name.endswith((".py", ".pyc"))
        ):
            events.append(f"opened {name}")


if __name__ == "__main__":
    sys.exit(main())
