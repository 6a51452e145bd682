"""What is timed on the device: layers, products, whole models, generation; a task each, by its name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

import tinyseq
from bench.cuda import models, rivals
from bench.cuda.parity import ALLOWED
from bench.cuda.rows import Row, sized
from bench.cuda.timing import Effort, on_device, wall
from tinyseq import backends, passes
from tinyseq.backends.cuda_executor import CudaExecutor

LANES = 128
"""Multiply-adds of float32 that a multiprocessor does in a cycle."""

EXCHANGE = 0.5e-6
"""Seconds in which the blocks of a cluster can tell each other a state: no frame is faster."""

COMPARED = 64
"""Frames of which results are compared with float64's."""

CHUNK = 0.032
FRAME = 0.016
"""Seconds of sound that a step of silero takes, and one of GTCRN."""


class Sizes(NamedTuple):
    """What is measured, and how long each figure."""

    live_hidden: tuple[int, ...] = (64, 256, 512, 1024)
    live_rows: tuple[int, ...] = (1, 64)
    hidden: tuple[int, ...] = (64, 128, 192, 256, 512, 768, 1024)
    rows: tuple[int, ...] = (1, 16, 64)
    frames: int = 512
    products: tuple[tuple[int, int, int], ...] = ((64, 1024, 4096), (1024, 1024, 4096), (32768, 512, 2048))
    rounded: tuple[int, ...] = (256, 512, 1024)
    rounded_rows: tuple[int, ...] = (16, 64)
    streams: tuple[int, ...] = (1, 64, 1024, 8192)
    language: tuple[int, int] = (512, 500)
    texts: int = 64
    tokens: int = 300
    cells: tuple[int, ...] = (64, 200)
    parity: float = 25
    effort: Effort = Effort()


QUICK = Sizes(
    live_hidden=(64, 512), live_rows=(1,), hidden=(128, 512), rows=(1, 64),
    rounded=(256,), rounded_rows=(16,), streams=(1, 1024), cells=(16,), parity=5, effort=Effort(0.03, 3),
)  # fmt: skip


class Bench(NamedTuple):
    """What tasks are given: sizes, the device, whether torch is timed beside, and model files."""

    sizes: Sizes
    device: object
    torch: bool
    paths: list[Path]

    def rival(self, kind: Callable, *given: object):
        """Torch's way of the same, where it is timed."""
        return kind(*given) if self.torch else None

    def floor(self, multiply_adds: float) -> float:
        """Seconds that these take at the device's peak."""
        return multiply_adds / (LANES * self.device.multiprocessors * self.device.clock)


def live(bench: Bench) -> Iterator[Row]:
    """A step of one frame of a stream's layer, its state in place."""
    for kind in ("LSTM", "GRU"):
        for hidden in bench.sizes.live_hidden:
            for rows in bench.sizes.live_rows:
                layer = models.layer(kind, hidden, rows, 1)
                feeds = models.layer_feeds(kind, hidden, 1, rows)
                executor = _runner(layer.model).bound({"x": feeds["x"]})
                seconds = on_device(executor, bench.sizes.effort)
                against = _against(bench.rival(rivals.TorchLayer, layer), feeds, bench, 1)
                case, sizes = sized(H=hidden, N=rows, T=1)
                yield Row("live", f"{kind} {case}", sizes, seconds * 1e6, "us a step", against)


def _runner(graph: tinyseq.Graph):
    """What steps a model's stream on the device, of as many rows as the model is for."""
    streaming = tinyseq.load(graph).streaming.model
    return backends.create("cuda", passes.simplify(graph.model()), lambda: streaming).runner()


def layers(bench: Bench) -> Iterator[Row]:
    """A layer over many frames."""
    frames = bench.sizes.frames
    for kind in ("LSTM", "GRU"):
        for hidden in bench.sizes.hidden:
            layer = models.layer(kind, hidden)
            backend = backends.create("cuda", passes.simplify(layer.model.model()), None)
            rival = bench.rival(rivals.TorchLayer, layer)
            for rows in bench.sizes.rows:
                feeds = models.layer_feeds(kind, hidden, frames, rows)
                results = backend.run(feeds)
                if rival is not None:
                    rival.check(feeds, results["y"], ALLOWED)
                least = EXCHANGE + bench.floor(models.GATES[kind] * hidden * hidden * rows)
                row = _layer("layers", kind, backend, feeds, rival, bench)
                yield row._replace(floor=least * 1e6)


def _layer(task: str, kind: str, backend, feeds: dict[str, np.ndarray], rival, bench: Bench) -> Row:
    """A frame of a layer over many."""
    frames, rows, hidden = feeds["x"].shape
    _, executor = backend.ready(feeds)
    seconds = on_device(executor, bench.sizes.effort) / frames
    against = _against(rival, feeds, bench, frames)
    case, sizes = sized(H=hidden, N=rows, T=frames)
    return Row(task, f"{kind} {case}", sizes, seconds * 1e6, "us a frame", against)


def _against(rival, feeds, bench: Bench, frames: int) -> dict[str, float]:
    """Microseconds a frame that others take."""
    if rival is None:
        return {}
    return {name: 1e6 * each / frames for name, each in rival.seconds(feeds, bench.sizes.effort).items()}


def rounded(bench: Bench) -> Iterator[Row]:
    """A layer over many frames in bfloat16, and how far from float64's its results are."""
    frames = bench.sizes.frames
    for kind in ("LSTM", "GRU"):
        for hidden in bench.sizes.rounded:
            layer = models.layer(kind, hidden)
            graph = passes.simplify(layer.model.model())
            backend = backends.create("cuda", graph, None, precision="bfloat16")
            exact = backends.create("reference", graph, None)
            rival = bench.rival(rivals.TorchLayer, layer)
            for rows in bench.sizes.rounded_rows:
                few = models.layer_feeds(kind, hidden, min(frames, COMPARED), rows)
                error = float(np.abs(backend.run(few)["y"] - exact.run(few)["y"]).max())
                feeds = models.layer_feeds(kind, hidden, frames, rows)
                row = _layer("rounded", kind, backend, feeds, rival, bench)
                yield row
                yield Row("rounded", f"{row.case} error", {}, error, "at the most")


def products(bench: Bench) -> Iterator[Row]:
    """Matrix products by weights, in float32 and rounded."""
    for m, k, n in bench.sizes.products:
        rival = bench.rival(rivals.TorchProduct, m, k, n)
        taken = {} if rival is None else rival.seconds(bench.sizes.effort)
        work = 2e-12 * m * k * n
        against = {name: work / seconds for name, seconds in taken.items()}
        feeds = {"x": np.random.default_rng(m).standard_normal((m, k)).astype(np.float32)}
        graph = passes.simplify(models.product(k, n).model())
        for precision in ("float32", "tf32", "bfloat16"):
            backend = backends.create("cuda", graph, None, precision=precision)
            backend.run(feeds)
            _, executor = backend.ready(feeds)
            case, sizes = sized(m=m, k=k, n=n)
            value = work / on_device(executor, bench.sizes.effort)
            most = work / bench.floor(m * k * n) if precision == "float32" else None
            own = {name: other for name, other in against.items() if name.endswith(precision)}
            yield Row("products", f"{case} {precision}", sizes, value, "TFLOP/s", own, most)


def silero(bench: Bench) -> Iterator[Row]:
    """Live streams of the voice detector that tinyseq brings along: one, and many stepped together."""
    session, effort = tinyseq.load(models.DEMO, device="cuda"), bench.sizes.effort
    # Steps in a row begin with what the last one left of the inputs: their numbers mean nothing.
    timed = session.with_any_state()
    for count in bench.sizes.streams:
        feeds = {"input": np.zeros((count, 576), np.float32), "sr": np.array(16000)}
        if count == 1:
            call, executor = partial(session.stream().step, feeds), timed.stream()._runner.bound(feeds)
        else:
            call, executor = _pooled(session, count, feeds), _bound_rows(timed, count, feeds)
        seconds, on = wall(call, effort), on_device(executor, effort)
        case, sizes = sized(rows=count)
        yield Row("silero", f"{case} on the device", sizes, on * 1e6, "us a step")
        yield Row("silero", f"{case} all in all", sizes, seconds * 1e6, "us a step")
        yield Row("silero", f"{case} kept up with", sizes, count * CHUNK / seconds, "streams in real time")


def _pooled(session, count: int, feeds: dict) -> Callable[[], object]:
    """A step of all rows of a pool."""
    pool = session.pool(count)
    return partial(pool.step, [pool.open() for _ in range(count)], feeds)


def _bound_rows(session, count: int, feeds: dict):
    """What runs such a step."""
    pool = session.pool(count)
    numbers = np.array([pool.open() for _ in range(count)])
    return pool._runner.bound(pool._addressed(numbers, feeds))


def gtcrn(bench: Bench) -> Iterator[Row]:
    """A frame of each model file that is named so."""
    for path in (path for path in bench.paths if "gtcrn" in path.name):
        session, effort = tinyseq.load(path, device="cuda"), bench.sizes.effort
        stream, carried = session.stream(), {pair.input for pair in session.state}
        feeds = {
            value.name: np.zeros([1 if isinstance(n, str) else n for n in value.shape], value.dtype)
            for value in session.stream_inputs
            if value.name not in carried
        }
        seconds = wall(partial(stream.step, feeds), effort)
        on = on_device(session.with_any_state().stream()._runner.bound(feeds), effort)
        yield Row("gtcrn", f"{path.stem} on the device", {}, on * 1e3, "ms a frame")
        yield Row("gtcrn", f"{path.stem} all in all", {}, seconds * 1e3, "ms a frame")
        yield Row("gtcrn", f"{path.stem} kept up with", {}, FRAME / seconds, "streams in real time")


@contextmanager
def choosing_on_the_host() -> Iterator[None]:
    """Searches ask the device for the scores of each token, as where a function of the host changes them."""
    joins = CudaExecutor.joins
    CudaExecutor.joins = False  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        CudaExecutor.joins = joins  # type: ignore[method-assign]


def generation(bench: Bench) -> Iterator[Row]:
    """Texts of a language model, token by token, all in all; tinyseq's CPU beside."""
    model = models.LanguageModel.of(*bench.sizes.language)
    count, most = bench.sizes.texts, bench.sizes.tokens
    effort = Effort(0, min(3, bench.sizes.effort.rounds))
    feeds, given = model.feeds(count), {"decoder_start_token_id": 1, "max_new_tokens": most}
    devices = {"cuda": "cuda", "host": "cuda", "cpu": "cpu"}
    decoders = {
        name: tinyseq.Decoder(tinyseq.load(model.graph, device=device)) for name, device in devices.items()
    }
    for name, options in {
        "greedy": tinyseq.Greedy(**given),
        "beam 4": tinyseq.Beam(num_beams=4, **given),
    }.items():

        def texts(where: str, options=options) -> list[list[list[int]]]:
            found = tinyseq.generate(decoders[where], feeds, options)
            return [[hypothesis.tokens for hypothesis in own] for own in found]

        start = time.perf_counter()
        wanted = texts("cpu")
        against = {"the CPU": (time.perf_counter() - start)}
        same = sum(ours == theirs for ours, theirs in zip(texts("cuda"), wanted, strict=True))
        seconds = wall(partial(texts, "cuda"), effort)
        with choosing_on_the_host():
            against["chosen on the host"] = wall(partial(texts, "host"), Effort(0, 1))
        if name == "greedy" and bench.torch:
            against["torch float32"] = rivals.TorchText(model, feeds, most).seconds(effort)
        against = {name: 1e6 * each / most for name, each in against.items()}
        sizes = {"texts": count, "tokens": most}
        yield Row("generation", name, sizes, 1e6 * seconds / most, "us a token", against)
        yield Row("generation", f"{name} as on the CPU", sizes, same, f"texts of {count}")


def calls(bench: Bench) -> Iterator[Row]:
    """What a step costs beyond the device's work: a stream of the smallest model, copies included."""
    stream = tinyseq.load(models.addition(), device="cuda").stream()
    feeds = {"x": np.ones(1, np.float32)}
    seconds = wall(partial(stream.step, feeds), bench.sizes.effort)
    on = on_device(stream._runner.bound(feeds), bench.sizes.effort)
    yield Row("calls", "one addition, on the device", {}, on * 1e6, "us a step")
    yield Row("calls", "one addition, all in all", {}, seconds * 1e6, "us a step")


TASKS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    task.__name__: task for task in (calls, live, silero, gtcrn, generation, products, layers, rounded)
}
"""In the order in which they are measured."""
