"""What a chunk of a stream costs beside its share of a whole run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

import tinyseq
from bench import cases, timing
from bench.measures import Effort, Row, Task
from tests import assets

WHOLE = 256
"""Frames of a run of which a chunk has its share."""

CHUNKS = (1, 4, 16, 64)
"""Frames of a chunk."""

SHORT_ROUNDS, SHORT_SECONDS = 10, 0.002
"""Blocks for each round that is asked for, and how long one takes."""

UNIT = "us a frame"
SHARE = "of a run"


class Case(NamedTuple):
    """A model of frames, what makes so many of them, the bytes of its weights, and the frames of a run."""

    model: bytes
    feeds: Callable[[int], dict[str, np.ndarray]]
    weights: int
    whole: int = WHOLE


def convolution(channels: int, taps: int, dilation: int = 1) -> Case:
    """A causal convolution of as many channels in as out, frames first."""
    attributes = {"pads": [(taps - 1) * dilation, 0], "dilations": [dilation]}
    nodes = [
        helper.make_node("Transpose", ["x"], ["channels"], perm=[1, 2, 0]),
        helper.make_node("Conv", ["channels", "weights"], ["z"], **attributes),
        helper.make_node("Transpose", ["z"], ["y"], perm=[2, 0, 1]),
    ]
    # Taps that meet nothing but padding cost nothing: a run is long beside it.
    whole = max(WHOLE, 4 * taps * dilation)
    return _case(nodes, channels, {"weights": (channels, channels, taps)})._replace(whole=whole)


def layer(kind: str, hidden: int) -> Case:
    """A recurrent layer of equal input and hidden size, which begins at zero."""
    shape = (1, cases.GATES[kind] * hidden, hidden)
    node = helper.make_node(kind, ["x", "w", "r"], ["y"], hidden_size=hidden)
    return _case([node], hidden, {"w": shape, "r": shape})


def _case(nodes: list[NodeProto], width: int, shapes: dict[str, tuple[int, ...]]) -> Case:
    """x[frames, 1, width] in, y out."""
    rng = np.random.default_rng(0)
    weights = {
        name: (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["frames", 1, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

    def feeds(frames: int) -> dict[str, np.ndarray]:
        return {"x": rng.standard_normal((frames, 1, width)).astype(np.float32)}

    return Case(model.SerializeToString(), feeds, sum(array.nbytes for array in weights.values()))


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
            calls["program"], calls["nothing"] = _native(session.stream(), chunk)
    # Parts of microseconds count: the least of many short blocks is what nothing has disturbed.
    found = timing.interleaved(calls, SHORT_ROUNDS * rounds, SHORT_SECONDS)
    seconds = {who: min(own) for who, own in found.items()}
    program = seconds.pop("program") - seconds.pop("nothing")
    share = seconds[SHARE] / case.whole
    rows = [(who, own / frames[who]) for who, own in seconds.items()] + [("program of 1", program)]
    return [
        *(Row(name, who, own * 1e6, UNIT, share / own) for who, own in rows),
        Row(f"{name}: weights", "program of 1", case.weights / program / 1e9, "GB/s read"),
    ]


def _native(stream: tinyseq.Stream, feeds: dict[str, np.ndarray]) -> list[Callable[[], object]]:
    """The native call of a step, and one of an empty program, fed alike."""
    executors = [one._runner.bound(feeds) for one in (stream, stream.fork())]
    executors[1].context[1] = 0

    def call(executor) -> None:
        executor.take(feeds)
        executor.execute()

    return [partial(call, executor) for executor in executors]
