"""What is measured: tasks, each of which gives rows."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

import tinyseq
from bench import cases, generation, timing
from bench.cases import Case
from bench.rivals import OnnxRuntime, Rival, TinyseqRun, TinyseqStream, installed
from tests import assets

CHECKED_CALLS = 8
WARM_CALLS = 1000
TRACED_CALLS = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. ``ratio`` is the yardstick's over this one, onnxruntime's if not said otherwise: how many
    times as good. ``error`` is the largest difference from its results, and ``tolerance`` what is allowed.
    ``spread``: half of the rounds' ratios lie within so much of the median, as a share of it. ``flops`` and
    ``bytes`` are the work of a layer, see ``cases.Work``."""

    case: str
    rival: str
    value: float
    unit: str
    ratio: float | None = None
    error: float | None = None
    tolerance: float | None = None
    spread: float | None = None
    flops: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """Something to measure by itself."""

    name: str
    measure: Callable[[], list[Row]]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured, and how often."""

    hidden: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    shapes: tuple[tuple[int, int], ...] = ((1, 1), (1, 8), (1, 64), (100, 1), (100, 8), (25, 64))
    rows: tuple[int, ...] = (1, 8)
    rounds: int = 15
    lengths: int = 20
    processes: int = 20
    steps: int = 100_000


QUICK = Effort((32, 128), ((1, 1), (100, 1)), rows=(1,), rounds=3, lengths=5, processes=3, steps=5_000)

MINUTE = Effort((32, 128, 512), ((1, 1), (1, 8)), rounds=5)
MINUTES = ("limits", "silero chunk", "gtcrn", "lstm H", "gru H")
"""What a minute is enough for: the beginnings of the names of tasks."""

LENGTHS = range(100, 4100, 100)
"""Frames of recordings that are run one after the other."""

FRAMES = {"gtcrn": 1e-4, "dtln-1": 1e-4, "dtln-2": 1e-4}
"""Models of which a frame is timed, and their tolerances."""


SPECTRA = (256, 512, 1024)
"""Lengths of transforms."""

WHOLE = {
    "turns of speakers": ("smart-turn", cases.ROUNDED, (1, 80, 800)),
    "direction of a line of text": ("rapidocr-direction", 1e-5, (1, 3, 48, 192)),
    "a line of text": ("rapidocr-text", 1e-4, (1, 3, 48, 320)),
    "kinds of files": ("magika", 1e-5, (1, 2048)),
    "diacritics of Hebrew": ("piper-hebrew", 1e-4, np.arange(1, 61, dtype=np.float32)[None] % 30),
    "notes of two seconds": ("notes", 1e-4, (1, 43844, 1)),
    "pitch of five seconds": ("pitch", 1e-4, (1, 80_000), np.float32(46.875), np.float32(2093.75)),
    "spindles of half a minute": ("spindles", 1e-4, (1, 1, 7500), (1, 15, 7500)),
    "sense of 32 words": ("sentences", 1e-4, (1, 32), np.ones((1, 32), np.int64)),
    "sense of 128 words": ("sentences", 1e-4, (1, 128), np.ones((1, 128), np.int64)),
}
"""Models of which one run is timed: their assets, tolerances and, for each input, its shape or itself."""


def tasks(effort: Effort) -> Iterator[Task]:
    """Everything there is to measure."""

    def speed_task(name: str, make: Callable[[], Case]) -> Task:
        return Task(name, lambda: speed(name, make(), effort.rounds))

    yield speed_task("silero chunk", cases.silero_chunk)
    yield speed_task("silero 937 frames", partial(cases.silero_sequence, 937))
    for name, tolerance in FRAMES.items():
        yield speed_task(f"{name} frame", partial(cases.frame, name, tolerance))
    for name, given in WHOLE.items():
        yield speed_task(name, partial(cases.whole, *given))
    for kind in cases.GATES:
        for hidden in effort.hidden:
            for frames, rows in effort.shapes:
                name = f"{kind.lower()} H={hidden} T={frames} N={rows}"
                yield speed_task(name, partial(cases.recurrent, kind, hidden, frames, rows))
    for hidden in effort.hidden:
        for frames in (1, 100):
            name = f"lstm int8 H={hidden} T={frames} N=1"
            yield speed_task(name, partial(cases.quantised, hidden, frames, 1))
    for length in SPECTRA:
        for frames in (1, 100):
            yield speed_task(f"spectra N={length} T={frames}", partial(cases.spectra, length, frames))
    yield speed_task("diacritics of 100 letters", partial(cases.diacritics, 100))
    yield speed_task("letters of a picture", partial(cases.letters, 200))
    yield Task("bind silero frames", lambda: binding("frames", cases.silero_sequence, effort.lengths))
    yield Task("bind silero rows", lambda: binding("rows", cases.silero_chunk, effort.lengths))
    for name, make in {
        "300 characters, H=64": partial(generation.characters, 64, 300),
        "300 characters, H=256": partial(generation.characters, 256, 300),
        "spelling": partial(generation.spelling, 4),
        "transliterating, beam 3": partial(generation.transliterating, 3),
        "romanizing, beam 2": partial(generation.romanizing, 2, 20),
        "romanizing, beam 5": partial(generation.romanizing, 5, 20),
    }.items():
        yield Task(f"generate {name}", lambda name=name, make=make: generating(name, make(), effort.rounds))
    for rows in effort.rows:
        yield Task(f"search N={rows}", lambda rows=rows: share_of_search(rows, effort.rounds))
    yield Task("start import", lambda: start_import(effort.processes))
    yield Task("start first chunk", lambda: start_first_chunk(effort.processes))
    yield Task("memory of a step", memory_of_a_step)
    yield Task(f"memory after {len(LENGTHS)} lengths", memory_of_lengths)
    yield Task(f"memory after {effort.steps} steps", lambda: memory_growth(effort.steps))


def speed(name: str, case: Case, rounds: int) -> list[Row]:
    """Microseconds a call of every rival, once its outputs are found right."""
    rivals = {rival.name: rival(case) for rival in installed() if rival.takes(case)}
    errors = _errors(name, rivals, case.tolerance)
    seconds = timing.interleaved({name: rival.call for name, rival in rivals.items()}, rounds)
    yardstick = seconds[OnnxRuntime.name]
    return [
        Row(
            name,
            rival,
            median(s) * 1e6,
            "us",
            timing.median_ratio(yardstick, s),
            errors[rival],
            case.tolerance,
            timing.spread(yardstick, s),
            case.work and case.work.flops,
            case.work and case.work.bytes,
        )
        for rival, s in seconds.items()
    ]


def _errors(name: str, rivals: dict[str, Rival], tolerance: float) -> dict[str, float]:
    """Each rival's largest difference from onnxruntime after some calls.

    Raises:
        ValueError: one is above the tolerance.
    """
    for rival in rivals.values():
        for _ in range(CHECKED_CALLS):
            rival.call()
    right = rivals[OnnxRuntime.name].outputs()
    errors = {}
    for which, rival in rivals.items():
        outputs = rival.outputs()
        allowed = max(tolerance, cases.ROUNDED) if rival.rounds else tolerance
        errors[which] = max(_difference(outputs[key], array) for key, array in right.items())
        if not errors[which] <= allowed:
            raise ValueError(f"{name}: {which} is off by {errors[which]:.1e}, more than {allowed}")
    return errors


def _difference(found: np.ndarray, right: np.ndarray) -> float:
    return float((np.abs(found - right) / np.maximum(np.abs(right), 1)).max())


def generating(name: str, calls: dict[str, Callable[[], object]], rounds: int) -> list[Row]:
    """Milliseconds of the package's own loop and of tinyseq; ratios are to the package."""
    seconds = timing.interleaved(calls, rounds)
    yardstick = seconds["package"]
    return [
        Row(f"generate {name}", who, median(s) * 1e3, "ms", timing.median_ratio(yardstick, s))
        for who, s in seconds.items()
    ]


def share_of_search(rows: int, rounds: int) -> list[Row]:
    """Per cent that beam search adds to the time of the model's steps, and milliseconds for begin and end."""
    shares = generation.shares_of_search(rows, rounds)
    edges = f"search N={rows}, begin and end"
    return [
        *(Row(f"search N={rows}", name, share.choosing * 100, "%") for name, share in shares.items()),
        *(Row(edges, name, share.edges * 1e3, "ms") for name, share in shares.items()),
    ]


def binding(what: str, make: Callable[[int], Case], lengths: int) -> list[Row]:
    """Milliseconds by which the first call with a new shape takes longer than the second."""
    rivals = {rival.package: rival(make(1)) for rival in (OnnxRuntime, TinyseqRun)}
    extra: dict[str, list[float]] = {name: [] for name in rivals}
    for length in range(2, 2 + lengths):
        feeds = make(length).feeds
        for name, rival in rivals.items():
            rival.feed(feeds)
            extra[name].append(timing.once(rival.call) - timing.once(rival.call))
    return [Row(f"bind silero {what}", name, median(s) * 1e3, "ms") for name, s in extra.items()]


IMPORTS = {"onnxruntime": "import onnxruntime", "tinyseq": "import tinyseq"}


def start_import(processes: int) -> list[Row]:
    """Milliseconds that importing a runtime takes where NumPy is imported already."""
    return _in_fresh_processes("start import", IMPORTS, {}, processes)


FIRST_CHUNKS = {
    "onnxruntime": "import onnxruntime as ort; options = ort.SessionOptions();"
    "options.intra_op_num_threads = options.inter_op_num_threads = 1;"
    "session = ort.InferenceSession(path, options, providers=['CPUExecutionProvider']);"
    "session.run(None, {'input': chunk, 'state': np.zeros((2, 1, 128), np.float32), 'sr': sr})",
    "tinyseq": "import tinyseq; tinyseq.load(path).stream().step({'input': chunk, 'sr': sr})",
}


def start_first_chunk(processes: int) -> list[Row]:
    """Milliseconds from there to the first chunk: import, load and run.

    tinyseq loads its own format.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "silero.tinyseq")
        path = assets.fetch("silero-chunk")
        tinyseq.load(path).save(saved)
        models = {"onnxruntime": str(path), "tinyseq": str(saved)}
        return _in_fresh_processes("start first chunk", FIRST_CHUNKS, models, processes)


TIMED = """
import sys, time
import numpy as np
path = sys.argv[1]
chunk, sr = np.zeros((1, 576), np.float32), np.array(16000)
start = time.perf_counter()
{program}
print(time.perf_counter() - start)
"""


def _in_fresh_processes(
    name: str, programs: dict[str, str], models: dict[str, str], processes: int
) -> list[Row]:
    """Rows of the time that programs take, once a process. Bytecode is kept, as of installed packages."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    seconds: dict[str, list[float]] = {which: [] for which in programs}
    for round_ in range(processes + 1):
        for which, program in programs.items():
            command = [sys.executable, "-c", TIMED.format(program=program), models.get(which, "")]
            done = subprocess.run(command, check=True, env=environment, capture_output=True)
            # The first round writes bytecode and fills the system's caches.
            if round_:
                seconds[which].append(float(done.stdout))
    medians = {which: median(times) for which, times in seconds.items()}
    return [
        Row(name, which, value * 1e3, "ms", medians["onnxruntime"] / value)
        for which, value in medians.items()
    ]


def memory_of_a_step() -> list[Row]:
    """The most bytes of Python objects that exist during a call and not before it."""
    return [
        Row("memory of a step", rival.package, _traced(rival(cases.silero_chunk())), "bytes")
        for rival in (OnnxRuntime, TinyseqStream)
    ]


def _traced(rival: Rival) -> float:
    peaks = [0] * TRACED_CALLS
    tracemalloc.start()
    try:
        for index in range(TRACED_CALLS):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            rival.call()
            _, peak = tracemalloc.get_traced_memory()
            peaks[index] = peak - before
    finally:
        tracemalloc.stop()
    return median(peaks)


def memory_of_lengths() -> list[Row]:
    """Kilobytes by which the process has grown after runs of recordings of different lengths."""
    rows = []
    for rival in (OnnxRuntime, TinyseqRun):
        one = rival(cases.silero_sequence(1))
        one.call()
        before = _resident_kilobytes()
        for frames in LENGTHS:
            one.feed(cases.silero_sequence(frames).feeds)
            one.call()
        rows.append(
            Row(f"memory after {len(LENGTHS)} lengths", rival.package, _resident_kilobytes() - before, "kB")
        )
    return rows


def memory_growth(steps: int) -> list[Row]:
    """Kilobytes by which the process has grown after many calls."""
    return [
        Row(f"memory after {steps} steps", rival.package, _growth(rival(cases.silero_chunk()), steps), "kB")
        for rival in (OnnxRuntime, TinyseqStream)
    ]


def _growth(rival: Rival, steps: int) -> float:
    for _ in range(WARM_CALLS):
        rival.call()
    before = _resident_kilobytes()
    for _ in range(steps):
        rival.call()
    return _resident_kilobytes() - before


def _resident_kilobytes() -> int:
    return kilobytes("VmRSS")


def kilobytes(which: str) -> int:
    """What Linux calls so of this process' memory: ``VmRSS`` is resident, ``VmHWM`` the most that was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:"))
