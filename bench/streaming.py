"""What a chunk of a stream costs beside its share of a whole run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
from onnx import helper, numpy_helper

import tinyseq
from bench import cases, timing
from bench.measures import Effort, Row, Task
from tests import assets

WHOLE = 1024
"""Frames of a run of which a chunk has its share."""

CHUNKS = (1, 4, 16, 64)
"""Frames of a chunk."""

UNIT = "us a frame"
SHARE = "of a run"


@dataclass(frozen=True, slots=True)
class Case:
    """A model of frames, what makes so many of them, and the bytes of its weights."""

    model: bytes
    feeds: Callable[[int], dict[str, np.ndarray]]
    weights: int
    whole: int = WHOLE


def convolution(channels: int, taps: int, dilation: int = 1) -> Case:
    """A causal convolution of as many channels in as out, frames first."""
    rng = np.random.default_rng(0)
    shape = (channels, channels, taps)
    weights = (rng.standard_normal(shape) / np.sqrt(channels * taps)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["x"], ["channels"], perm=[0, 2, 1]),
        helper.make_node(
            "Conv", ["channels", "weights"], ["z"], pads=[(taps - 1) * dilation, 0], dilations=[dilation]
        ),
        helper.make_node("Transpose", ["z"], ["y"], perm=[0, 2, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("x", cases.TensorProto.FLOAT, [1, "frames", channels])],
        [helper.make_tensor_value_info("y", cases.TensorProto.FLOAT, [1, "frames", channels])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    def feeds(frames: int) -> dict[str, np.ndarray]:
        return {"x": rng.standard_normal((1, frames, channels)).astype(np.float32)}

    return Case(model.SerializeToString(), feeds, weights.nbytes)


def layer(kind: str, hidden: int) -> Case:
    """A recurrent layer of equal input and hidden size, which begins at zero."""
    own = cases.recurrent(kind, hidden, 2, 1)
    weights = sum(array.nbytes for name, array in own.layer.weights.items() if name != "B")

    def feeds(frames: int) -> dict[str, np.ndarray]:
        x = np.random.default_rng(0).standard_normal((frames, 1, hidden)).astype(np.float32)
        return {"x": x} | {name: own.feeds[name] for name in own.feeds if name != "x"}

    return Case(own.model, feeds, weights)


def silero() -> Case:
    """The voice detector; a frame is a chunk of 32 ms."""
    path = assets.fetch("silero-sequence")
    model = tinyseq.load(path)
    weights = sum(array.nbytes for array in model.model.graph.constants.values())
    return Case(path.read_bytes(), lambda frames: cases.silero_sequence(frames).feeds, weights, 128)


CASES: dict[str, Callable[[], Case]] = {
    **{
        f"conv {channels}, {taps}": partial(convolution, channels, taps)
        for channels, taps in ((16, 3), (64, 3), (64, 9), (256, 3), (512, 3))
    },
    "conv 64, 3 by 256": partial(convolution, 64, 3, 256),
    "lstm H=64": partial(layer, "LSTM", 64),
    "gru H=256": partial(layer, "GRU", 256),
    "silero": silero,
}
"""Of a convolution: channels, taps, and how many frames these are apart."""


def tasks(effort: Effort) -> Iterator[Task]:
    for name, make in CASES.items():
        yield Task(f"chunks of {name}", partial(chunks, name, make, effort.rounds))


def chunks(name: str, make: Callable[[], Case], rounds: int) -> list[Row]:
    """Microseconds a frame in a run and in chunks; how fast a program of one frame reads its weights, the
    call being left out."""
    case, calls, frames = make(), {}, {}
    session = tinyseq.load(case.model)
    carried = {pair.input for pair in session.state}
    feeds = case.feeds(case.whole)
    calls[SHARE], frames[SHARE] = partial(session.run, feeds), case.whole
    for count in CHUNKS:
        stream, chunk = session.stream(), case.feeds(count)
        chunk = {key: array for key, array in chunk.items() if key not in carried}
        who = f"in chunks of {count}"
        calls[who], frames[who] = partial(stream.step, chunk, stream.step(chunk)), count
        if count == 1:
            program, nothing = _native(stream, chunk)
    calls |= {"program": program, "nothing": nothing}
    seconds = timing.interleaved(calls, rounds)
    apart = [one - other for one, other in zip(seconds.pop("program"), seconds.pop("nothing"))]
    share = [one / case.whole for one in seconds[SHARE]]
    rows = [_row(name, who, [one / frames[who] for one in own], share) for who, own in seconds.items()]
    rows.append(_row(name, "program of 1", apart, share))
    return [*rows, Row(f"{name}: weights", "program of 1", case.weights / median(apart) / 1e9, "GB/s read")]


def _row(name: str, who: str, seconds: list[float], share: list[float]) -> Row:
    return Row(name, who, median(seconds) * 1e6, UNIT, timing.median_ratio(share, seconds))


def _native(stream: tinyseq.Stream, feeds: dict[str, np.ndarray]) -> tuple[Callable[[], object], ...]:
    """The native call of a step, and one of an empty program."""
    executor = stream._runner.bound(feeds)
    empty = stream.fork()._runner.bound(feeds)
    empty.context[1] = 0
    return executor.execute, empty.execute
