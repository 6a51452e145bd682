"""Measures the server: live streams in real time, 32 ms of sound a chunk, beside the same server around
onnxruntime.

Every answer is compared with a lone stream's: its bits, onnxruntime's within a tolerance. A chunk's time is
from when it was due until its outputs were there, so it has in it how much too late the generator sent it,
which is told too; ratios are to onnxruntime, above 1: better. CPU is that of the server's processes.
``--closed`` sends each chunk as soon as the one before it is answered: what the server can do.
``--unary`` instead asks for inference by HTTP, as Triton's client does; ``--soak`` lets clients misbehave for
a time, ``--fuzz`` sends frames and messages that are damaged.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bench import report
from bench.measures import Row
from bench.serving.fuzz import fuzz
from bench.serving.load import TAPES, Played, load
from bench.serving.processes import cpu_seconds
from bench.serving.soak import soak
from bench.serving.tapes import SECONDS, Tape
from bench.serving.unary import unary
from tests.serve.server import Server, serving

PROGRAMS = {"onnxruntime": ("bench.serving.rival",), "tinyseq": ("tinyseq", "serve")}
YARDSTICK = "onnxruntime"
TOLERANCE = 1e-4
"""By which onnxruntime's probabilities may differ."""

CONFIG = "[limits]\nstreams = 65536\nguard_ms = 1e6\n"
"""So that everybody is taken in, and what is too much shows in the figures."""


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    seed = random.randrange(2**32) if options.seed is None else options.seed
    if options.soak or options.fuzz:
        found = []
        with tempfile.TemporaryDirectory() as folder:
            if options.fuzz:
                found += fuzz(Path(folder), options.fuzz, seed)
            if options.soak:
                found += soak(Path(folder), options.soak, seed, options.workers)
        return 1 if found else 0
    counts = options.streams or ([16] if options.quick else [64, 128, 256, 512])
    seconds = options.seconds or (4 if options.quick else 20)
    rows: list[Row] = []
    with ExitStack() as stack:
        file = stack.enter_context(options.json.open("w")) if options.json else None
        environment = report.environment()
        if file:
            print(report.line(environment), file=file)
        for row in _chosen(counts, seconds, options):
            rows.append(row)
            if file:
                print(report.line(row), file=file, flush=True)
    print(report.line(environment), report.tables(rows), sep="\n\n")
    return 0


def _chosen(counts: list[int], seconds: float, options: argparse.Namespace) -> Iterator[Row]:
    if not options.unary:
        yield from _rows(counts, seconds, options)
        return
    programs = {name: own for name, own in PROGRAMS.items() if name != YARDSTICK or not options.alone}
    yield from unary(programs, 1000 if options.quick else 5000, options.filter)


def _rows(counts: list[int], seconds: float, options: argparse.Namespace) -> Iterator[Row]:
    tapes = [Tape(seed, round(seconds / SECONDS)) for seed in range(TAPES)]
    for tape in tapes:
        tape.frames, tape.outputs  # noqa: B018  # so that all processes have them
    for count in counts:
        case = f"{count} streams" + (f", {options.workers} workers" if options.workers > 1 else "")
        case += ", closed loop" if options.closed else ""
        if options.filter not in case:
            continue
        figures: dict[str, list[tuple[str, float]]] = {}
        for rival, program in PROGRAMS.items():
            if rival == YARDSTICK and (options.alone or options.workers > 1):
                continue
            figures[rival] = _measured(case, rival, program, tapes, count, seconds, options)
        yardstick = dict(figures.get(YARDSTICK, ()))
        for rival, found in figures.items():
            for unit, value in found:
                compared = unit in yardstick and unit not in NEUTRAL and value > 0
                ratio = yardstick[unit] / value if compared else None
                yield Row(case, rival, value, unit, ratio)


NEUTRAL = ("rows a step", "generator late, p99 ms")
"""Figures of which more is neither better nor worse."""


def _measured(
    case: str,
    rival: str,
    program: tuple[str, ...],
    tapes: list[Tape],
    count: int,
    seconds: float,
    options: argparse.Namespace,
) -> list[tuple[str, float]]:
    """Figures with their units."""
    tolerance = TOLERANCE if rival == YARDSTICK else None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = ["--workers", options.workers] if options.workers > 1 else []
        server = stack.enter_context(serving(folder, *workers, config=CONFIG, program=program))
        load(server.port, [tape.start(8) for tape in tapes], min(count, TAPES), 1, tolerance)
        label = f"{rival}, {case}"
        bar = tqdm(total=round(seconds), desc=label, unit="s", disable=not sys.stderr.isatty(), leave=False)
        stack.enter_context(bar)
        steps = _steps(server)
        before = cpu_seconds(server.process.pid)
        played = load(
            server.port,
            tapes,
            count,
            options.processes,
            tolerance,
            told=lambda at: bar.update(int(at) - bar.n),
            closed=options.closed,
        )
        used = cpu_seconds(server.process.pid) - before
        chunks, taken = (after - own for after, own in zip(_steps(server), steps))
    _check(label, played)
    p50, p99, p999 = np.percentile(played.latency, [50, 99, 99.9]) * 1000
    return [
        ("CPU us a chunk", used / len(played.latency) * 1e6),
        ("p50 ms", p50),
        ("p99 ms", p99),
        ("p99.9 ms", p999),
        ("rows a step", chunks / max(taken, 1)),
        ("generator late, p99 ms", float(np.percentile(played.late, 99)) * 1000),
    ]


def _steps(server: Server) -> tuple[float, float]:
    return server.metric("tinyseq_chunks_total"), server.metric("tinyseq_steps_total")


def _check(label: str, played: Played) -> None:
    """Nothing is told of a server that was wrong.

    Raises:
        ValueError: answers differ from a lone stream's, or are missing.
    """
    if played.different or played.missing or played.ended:
        ended = f"; ended: {', '.join(sorted(set(played.ended)))}" if played.ended else ""
        raise ValueError(
            f"{label}: {played.different} of {len(played.latency)} answers differ from a lone stream's, "
            f"{played.missing} are missing{ended}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench.serving", description=__doc__)
    parser.add_argument(
        "--streams", type=int, nargs="+", metavar="N", help="live streams (default 64 128 256 512)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="of sound in each stream (default 20)")
    parser.add_argument("--quick", action="store_true", help="16 streams of 4 seconds, for a first look")
    parser.add_argument("--closed", action="store_true", help="no real time: as fast as answers come")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only what has TEXT in its name")
    parser.add_argument("--alone", action="store_true", help="without onnxruntime")
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="of the server (more than one: without onnxruntime)",
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", help="of the generator (default one for 512 streams)"
    )
    parser.add_argument("--unary", action="store_true", help="requests for inference by HTTP, not streams")
    parser.add_argument("--soak", type=float, default=0, metavar="S", help="misbehave for so many seconds")
    parser.add_argument("--fuzz", type=int, default=0, metavar="N", help="send so many damaged messages")
    parser.add_argument("--seed", type=int, metavar="N", help="of soak and fuzz (default: another each time)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write JSON lines")
    return parser


if __name__ == "__main__":
    sys.exit(main())
