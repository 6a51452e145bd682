"""Time in streams: what streams gives in chunks what a run gives at once, and the rest is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.models import graph, model, value
from tests.strategies.streams import CHANNELS, ENDS, Layers, layered

FRAMES = 40

DATA = Path(__file__).parent / "data"


def signal(frames: int = FRAMES, rows: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, frames, CHANNELS)).astype(np.float32)


def in_chunks(session: tinyseq.Session, x: np.ndarray, cuts: Sequence[int]) -> np.ndarray:
    stream = session.stream()
    parts = [stream.step({"x": part})["y"] for part in np.split(x, cuts, 1)]
    return np.concatenate([*parts, *stream.finish().values()], 1)


@settings(max_examples=max(200, settings.default.max_examples))
@given(data=st.data(), layers=layered())
def test_layers_give_in_chunks_what_they_give_at_once(data, layers):
    session = layers.model()
    x = signal(data.draw(st.integers(1, FRAMES)))
    try:
        stream = session.stream()
    except tinyseq.ModelError as error:
        assert "some come late and some do not" in str(error)
        return
    try:
        whole = session.run({"x": x})["y"]
    except tinyseq.FeedError:  # Fewer frames than a window of the run needs.
        whole = None
    cuts = data.draw(st.lists(st.integers(0, x.shape[1]), max_size=6).map(sorted))
    if session.steps_alike:
        cuts = sorted(set(cuts) - {0, x.shape[1]})
    y = in_chunks(session, x, cuts)
    assert whole is None or np.array_equal(y, whole, equal_nan=True)
    assert stream.latency == session.latency


@settings(max_examples=max(60, settings.default.max_examples // 2))
@given(data=st.data(), layers=layered(), op=st.sampled_from(sorted(ENDS.values())))
def test_what_is_of_all_frames_of_layers_is_at_the_end_that_of_a_run(data, layers, op):
    session = layers.then(op, np.array([1])).model()
    x = signal(data.draw(st.integers(1, FRAMES)))
    try:
        stream, whole = session.stream(), session.run({"x": x})["y"]
    except (tinyseq.ModelError, tinyseq.FeedError):
        return
    cuts = sorted(data.draw(st.sets(st.integers(1, FRAMES - 1), max_size=6)))
    for part in np.split(x, [cut for cut in cuts if cut < x.shape[1]], 1):
        y = stream.step({"x": part})["y"]
    y = stream.finish().get("y", y)
    np.testing.assert_array_equal(y, whole)


# What streams, and how late.


def frame_count(own: Layers) -> str:
    return own.graph.apply("Shape", own.x, start=1, end=2)


def placed(own: Layers) -> None:
    """x and the number of each frame."""
    size = own.graph.apply("Squeeze", frame_count(own))
    end = own.graph.add(own.graph.mul(size, np.array(2)), np.array(3))
    places = own.graph.apply("Range", np.array(3), end, np.array(2))
    own.x = own.graph.add(own.x, own.graph.unsqueeze(own.graph.apply("Cast", places, to=np.dtype("f4")), [1]))


def embedded(own: Layers) -> None:
    """x and what is learned of each place."""
    size = own.graph.apply("Squeeze", frame_count(own))
    places = own.graph.apply("Range", np.array(0), size, np.array(1))
    own.x = own.graph.add(own.x, own.graph.apply("Gather", own.weights(FRAMES, CHANNELS), places))


def with_table(own: Layers) -> None:
    """x and a table of as many frames."""
    table = own.weights(1, FRAMES, CHANNELS)
    own.x = own.graph.add(
        own.x, own.graph.apply("Slice", table, np.array([0]), frame_count(own), np.array([1]))
    )


def delta(own: Layers) -> None:
    x = own.x
    later, own.x = own.cut(1).x, x
    own.x = own.graph.apply("Sub", later, own.cut(0, -1).x)


IN_TIME = {
    "a causal convolution": (lambda own: own.conv(3, pads=(2, 0)), 0),
    "one that is padded by another op": (
        lambda own: own.then("Pad", np.array([0, 2, 0, 0, 0, 0])).conv(3),
        0,
    ),
    "one behind constant frames": (
        lambda own: setattr(own, "x", own.graph.concat([np.zeros((1, 2, 4), "f4"), own.x], 1)) or own.conv(3),
        0,
    ),
    "one that is padded at both ends and cut": (lambda own: own.conv(3, pads=(2, 2)).cut(0, -2), 0),
    "one channel by channel": (lambda own: own.conv(3, 4, pads=(2, 0)), 0),
    "one of frames far apart": (lambda own: own.conv(3, dilations=(4,), pads=(8, 0)), 0),
    "one every second frame": (lambda own: own.conv(3, strides=(2,), pads=(2, 0)), 0),
    "a centred convolution": (lambda own: own.conv(3, pads=(1, 1)), 1),
    "one with auto_pad": (lambda own: own.conv(4, auto_pad="SAME_LOWER"), 1),
    "two of them": (lambda own: own.conv(5, pads=(2, 2)).conv(3, pads=(1, 1)), 3),
    "one beside what it is of": (lambda own: own.beside(lambda own: own.conv(3, pads=(1, 1))), 1),
    "one joined with what it is of": (
        lambda own: own.beside(lambda own: own.conv(3, pads=(1, 1)), "Concat", axis=2),
        1,
    ),
    "a convolution without padding": (lambda own: own.conv(3), 2),
    "a pool of pairs": (lambda own: own.slid("MaxPool", kernel_shape=(2,), strides=(2,)), 0),
    "a pool of the past": (lambda own: own.slid("MaxPool", kernel_shape=(3,), pads=(2, 0)), 0),
    "a pool whose last window is cut": (
        lambda own: own.slid("MaxPool", kernel_shape=(4,), strides=(3,), ceil_mode=1),
        1,
    ),
    "a mean of pairs": (lambda own: own.slid("AveragePool", kernel_shape=(2,), strides=(2,)), 0),
    "a transposed convolution": (
        lambda own: own.slid("ConvTranspose", own.weights(4, 4, 4), strides=(2,)),
        0,
    ),
    "frames less the first": (lambda own: own.cut(1), 1),
    "frames less the last two": (lambda own: own.cut(0, -2), 2),
    "every third frame": (lambda own: own.cut(0, step=3), 0),
    "the change from frame to frame": (lambda own: delta(own), 1),
    "a running sum": (lambda own: own.then("CumSum", np.array(1)), 0),
    "a running sum of those before": (lambda own: own.then("CumSum", np.array(1), exclusive=1), 0),
    "a running sum of whole numbers": (lambda own: own.whole().then("CumSum", np.array(1)).real(), 0),
    "one of great ones": (
        lambda own: own.whole(2**61).then("CumSum", np.array(1)).then("Div", np.array(2**40)).real(),
        0,
    ),
    "numbers of tokens seen": (
        lambda own: (
            own.then("Greater", np.float32(0))
            .then("Cast", to=np.dtype("i4"))
            .then("CumSum", np.array(1))
            .real()
        ),
        0,
    ),
    "whole numbers beside what comes late": (
        lambda own: own.beside(lambda own: own.conv(3, pads=(1, 1)).whole().real()),
        1,
    ),
    "whole numbers that wait for those that come late": (
        lambda own: own.whole().beside(lambda own: own.real().conv(3, pads=(1, 1)).whole()).real(),
        1,
    ),
    "truth values that wait": (
        lambda own: (
            own.then("Greater", np.float32(0))
            .beside(lambda own: own.real().conv(3, pads=(1, 1)).then("Greater", np.float32(0)), "And")
            .real()
        ),
        1,
    ),
    "whole numbers less the last": (lambda own: own.whole(-(2**40)).cut(0, -2).real(), 2),
    "numbers of frames": (placed, 0),
    "numbers of frames that come late": (lambda own: placed(own.conv(3, pads=(1, 1))), 1),
    "numbers of fewer frames": (lambda own: placed(own.conv(3)), 2),
    "numbers of every second frame": (lambda own: placed(own.conv(3, strides=(2,), pads=(2, 0))), 0),
    "learned positions": (embedded, 0),
    "a table of positions": (with_table, 0),
    "a convolution of frames and features": (
        lambda own: (
            own.then("Unsqueeze", np.array([1]))
            .then("Conv", own.weights(1, 1, 3, 3), pads=(2, 1, 0, 1))
            .then("Squeeze", np.array([1]))
        ),
        0,
    ),
    "frames of a signal, and the signal again": (
        lambda own: own.conv(16, strides=(8,)).slid("ConvTranspose", own.weights(4, 4, 16), strides=(8,)),
        15,
    ),
    "frames put together in pairs": (
        lambda own: own.then("Reshape", np.array([0, -1, 2 * CHANNELS])).then(
            "MatMul", own.weights(2 * CHANNELS, CHANNELS)
        ),
        0,
    ),
    "frames laid flat": (
        lambda own: (
            own.then("Reshape", np.array([-1, CHANNELS]))
            .then("MatMul", own.weights(CHANNELS, CHANNELS))
            .then("Reshape", np.array([1, -1, CHANNELS]))
        ),
        0,
    ),
    "layers of all kinds": (
        lambda own: (
            own.conv(3, pads=(1, 1)).lstm().conv(3, strides=(2,), pads=(1, 1)).then("Relu").lstm("GRU")
        ),
        1,
    ),
}


def built(make, rows: int | str = "rows", device: str = "cpu") -> tinyseq.Session:
    layers = Layers(rows=rows)
    make(layers)
    return layers.model(device)


@pytest.mark.parametrize(("make", "latency"), IN_TIME.values(), ids=IN_TIME)
def test_it_gives_frame_by_frame_what_it_gives_at_once(make, latency):
    session, x = built(make, rows=1), signal()
    whole = session.run({"x": x})["y"]
    for cuts in (range(1, FRAMES), range(7, FRAMES, 7), [1, 2, 39], []):
        np.testing.assert_array_equal(in_chunks(session, x, cuts), whole)
    assert session.latency == session.stream().latency == latency
    assert (f"latency y {latency} frames" in str(session)) == (latency > 0)
    report = tinyseq.check_stream(built(make), trials=5)
    assert report.passed, report


def last(own: Layers) -> Layers:
    """The last frame alone, for every frame."""
    x = own.x
    own.x = own.graph.add(x, own.cut(-1).x)
    return own


def backward(own: Layers) -> None:
    own.cut(-1, -(2**62), -1).lstm().cut(-1, -(2**62), -1)


def counted(own: Layers) -> None:
    """x by the number of its frames."""
    size = own.graph.apply("Cast", own.graph.apply("Shape", own.x, start=1, end=2), to=np.dtype("f4"))
    own.x = own.graph.apply("Div", own.x, size)


def found_places(own: Layers) -> None:
    """x and the number of each frame, told by what is looked up in ones."""
    size = own.graph.apply("Shape", own.x, start=1, end=2)
    ones = own.graph.apply("ConstantOfShape", size, value=np.ones(1, np.float32))
    places = own.graph.apply("Cast", own.graph.apply("NonZero", ones), to=np.dtype(np.float32))
    own.x = own.graph.add(own.x, own.graph.transpose(places, [1, 0]))


def with_shifted_table(own: Layers) -> None:
    """x and a table of as many frames, from its second on."""
    table, end = own.weights(1, 40_000, CHANNELS), own.graph.add(frame_count(own), np.array([1]))
    own.x = own.graph.add(own.x, own.graph.apply("Slice", table, np.array([1]), end, np.array([1])))


def made_even(own: Layers) -> None:
    """One more frame where their number is odd."""
    odd = own.graph.apply("Mod", frame_count(own), np.array([2]))
    nothing = np.array([0])
    own.then("Pad", own.graph.concat([nothing, nothing, nothing, nothing, odd, nothing], 0)).conv(2)


def cut_even(own: Layers) -> None:
    """Without the first frame where their number is odd."""
    odd = own.graph.apply("Mod", frame_count(own), np.array([2]))
    own.then("Slice", odd, np.array([2**62]), np.array([1]))


def scaled_few(own: Layers) -> None:
    """x twice where there are fewer than three frames."""
    few = own.graph.apply("Less", frame_count(own), np.array([3]))
    own.x = own.graph.apply("Where", few, own.graph.mul(own.x, np.float32(2)), own.x)


def attending(own: Layers) -> None:
    scores = own.graph.apply("MatMul", own.x, own.graph.transpose(own.x, (0, 2, 1)))
    own.x = own.graph.apply("MatMul", own.graph.softmax(scores), own.x)


REFUSED = {
    "Softmax": (lambda own: own.then("Softmax", axis=1), "normalised over all frames"),
    "ReduceMean": (lambda own: own.then("ReduceMean", np.array([1, 2])), "over all frames and more"),
    "ReduceLogSumExp": (lambda own: own.then("ReduceLogSumExp", np.array([1])), "looks at all frames"),
    "Sub": (
        lambda own: own.beside(lambda own: own.then("ReduceMean", np.array([1])), "Sub"),
        "known after the last frame",
    ),
    "InstanceNormalization": (
        lambda own: own.slid("InstanceNormalization", own.weights(4), own.weights(4)),
        "normalised over all frames",
    ),
    "LayerNormalization": (
        lambda own: own.then("LayerNormalization", np.ones(4, "f4"), axis=1),
        "normalised over all frames",
    ),
    "LpNormalization": (lambda own: own.then("LpNormalization", axis=1), "normalised over all frames"),
    "Hardmax": (lambda own: own.then("Hardmax", axis=1), "normalised over all frames"),
    "ArgMax": (lambda own: own.then("ArgMax", axis=1), "looks at all frames"),
    "CumSum": (lambda own: own.then("CumSum", np.array(1), reverse=1), "from the last frame on"),
    "MatMul": (attending, "every frame against every other"),
    "Slice": (backward, "turns the frames round"),
    "Add": (last, "known after the last frame"),
    "Div": (counted, "how many frames there are in all"),
    "NonZero": (found_places, "looks at all frames"),
    "Slice of a table": (with_shifted_table, "chunks would make anew"),
    "Gather": (lambda own: own.then("Gather", np.array([0, 1]), axis=1), "by their places"),
    "Split": (lambda own: own.then("Split", num_outputs=2, axis=1), "looks at all frames"),
    "Tile": (lambda own: own.then("Tile", np.array([1, 2, 1])), "looks at all frames"),
    "Pad": (
        lambda own: own.then("Pad", np.array([0, 2, 0, 0, 0, 0]), mode="reflect").conv(3),
        "repeats frames",
    ),
    "LSTM": (lambda own: own.then("Pad", np.array([0, 2, 0, 0, 0, 0])).lstm(), "padded in time"),
    "AveragePool whose last window is cut": (
        lambda own: own.slid("AveragePool", kernel_shape=(3,), strides=(2,), ceil_mode=1),
        "ceil_mode=1",
    ),
    "AveragePool": (
        lambda own: own.slid("AveragePool", kernel_shape=(3,), pads=(2, 0)),
        "count_include_pad=0",
    ),
    "Conv": (
        lambda own: own.conv(3, strides=(2,), auto_pad="SAME_UPPER"),
        "as much as the number of frames asks for",
    ),
    "ConvTranspose": (
        lambda own: own.slid("ConvTranspose", own.weights(4, 4, 2), strides=(3,)),
        "cuts off more than its last frame adds",
    ),
    "Squeeze": (
        lambda own: own.then("Unsqueeze", np.array([0])).then("Squeeze"),
        "drops all axes of one element",
    ),
    "Slice of so many": (lambda own: own.cut(0, 100_000), "by how many there are"),
    "Pad to an even number": (made_even, "by how many frames there are"),
    "Slice to an even number": (cut_even, "by how many frames there are"),
    "Less": (scaled_few, "decides by how many frames there are"),
    "Concat": (lambda own: own.beside(lambda own: own.then("Relu"), "Concat", axis=1), "one after the other"),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_needs_frames_to_come_is_refused_with_its_node(make, reason):
    session = built(make)
    with pytest.raises(tinyseq.ModelError) as raised:
        session.stream()
    message = str(raised.value)
    assert reason in message, message
    assert message.startswith("node '") and "give whole sequences to model.run" in message
    assert message in str(session)


def test_what_is_looked_along_must_be_one_size():
    graph = tinyseq.Graph()
    x = graph.input("x", ["rows", 1, "height", "width"])
    graph.output("y", graph.apply("Conv", x, np.ones((1, 1, 3, 3), np.float32)))
    with pytest.raises(tinyseq.ModelError, match="two open sizes"):
        tinyseq.load(graph).stream()


SO_FAR = {
    "the greatest": lambda own: own.then("ReduceMax", np.array([1])),
    "the least, of all channels": lambda own: own.then("ReduceMin", np.array([1, 2]), keepdims=0),
    "the sum": lambda own: own.then("ReduceSum", np.array([1]), keepdims=0),
    **{
        f"the {name}": lambda own, op=op: own.then(op, np.array([1]), keepdims=0)
        for name, op in {
            "mean": "ReduceMean",
            "product": "ReduceProd",
            "sum of magnitudes": "ReduceL1",
            "length": "ReduceL2",
            "sum of squares": "ReduceSumSquare",
        }.items()
    },
    "the logarithm of the sum": lambda own: own.then("Abs").then("ReduceLogSum", np.array([1])),
    "the mean, of channels": lambda own: own.slid("GlobalAveragePool"),
    "the greatest, of channels": lambda own: own.slid("GlobalMaxPool"),
    "the mean of what looks back": lambda own: own.conv(3, pads=(2, 0)).then("ReduceMean", np.array([1])),
    "the mean and what is made of it": lambda own: own.lstm().then("ReduceMean", np.array([1])).then("Tanh"),
    "the greatest whole number": lambda own: (
        own.then("Mul", np.float32(9)).then("Cast", to=np.dtype("i2")).then("ReduceMax", np.array([1]))
    ),
    "the last frame": lambda own: own.lstm().cut(-1),
    "the last frame alone": lambda own: own.lstm().then("Gather", np.array(-1), axis=1),
    "what is made of it": lambda own: own.lstm().cut(-1).then("MatMul", own.weights(4, 4)).then("Softmax"),
}


@pytest.mark.parametrize("make", SO_FAR.values(), ids=SO_FAR)
def test_what_is_of_all_frames_is_of_those_so_far(make):
    session, x = built(make), signal()
    stream, end = session.stream(), 0
    for part in np.split(x, [1, 3, 4, 20], 1):
        end += part.shape[1]
        y = stream.step({"x": part})["y"]
        np.testing.assert_array_equal(y, session.run({"x": x[:, :end]})["y"])
    assert session.latency == 0


@pytest.mark.parametrize("channels", [1, 17, 64])
def test_wide_convolutions_give_the_same_bits(isa, channels, monkeypatch):
    monkeypatch.setattr("tests.strategies.streams.CHANNELS", channels)
    session = built(lambda own: own.conv(5, pads=(2, 2)).conv(3, pads=(2, 0), dilations=(1,)))
    x = np.random.default_rng(0).standard_normal((1, 200, channels)).astype(np.float32)
    whole = session.run({"x": x})["y"]
    for cuts in (range(1, 200), [3, 70, 71, 150]):
        np.testing.assert_array_equal(in_chunks(session, x, cuts), whole)


BANDS = 6


def banded(direction: str = "forward", frames: int | str = "frames") -> tinyseq.Session:
    """A layer from band to band in every frame, then one from frame to frame."""
    own = Layers()
    graph, directions = tinyseq.Graph(), 2 if direction == "bidirectional" else 1
    x = graph.input("x", [frames, BANDS, CHANNELS])
    weights = [own.weights(directions, 4 * CHANNELS, CHANNELS) for _ in range(2)]
    y = graph.apply(
        "LSTM", graph.transpose(x, (1, 0, 2)), *weights, hidden_size=CHANNELS, direction=direction
    )
    y = graph.transpose(y, (2, 0, 1, 3))
    width = BANDS * directions * CHANNELS
    y = graph.reshape(y, (-1, 1, width))
    w, r = own.weights(1, 3 * CHANNELS, width), own.weights(1, 3 * CHANNELS, CHANNELS)
    graph.output("y", graph.apply("GRU", y, w, r, hidden_size=CHANNELS))
    return tinyseq.load(graph)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_layer_across_frames_begins_anew_with_each(direction):
    session = banded(direction)
    x = np.random.default_rng(0).standard_normal((20, BANDS, CHANNELS)).astype(np.float32)
    stream = session.stream()
    assert list(stream.state) == ["gru.h"]
    parts = [stream.step({"x": part})["y"] for part in np.split(x, [1, 2, 9])]
    np.testing.assert_array_equal(np.concatenate(parts), session.run({"x": x})["y"])


def fixed(make, frames: int = 7) -> tinyseq.Session:
    layers = Layers()
    layers.graph = tinyseq.Graph()
    layers.x = layers.graph.input("x", ["rows", frames, CHANNELS])
    make(layers)
    return layers.model()


def test_chunks_of_fixed_frames_go_on_as_open_ones_do():
    make = lambda own: own.conv(3, pads=(2, 0)).lstm()  # noqa: E731
    x, stream = signal(21), fixed(make).stream()
    parts = [stream.step({"x": part})["y"] for part in np.split(x, 3, 1)]
    np.testing.assert_array_equal(np.concatenate(parts, 1), built(make).run({"x": x})["y"])


CALL, HOP = 64, 8
"""Samples of a call, and of a frame."""


def called(make, samples: int | str, rows: int | str = 1) -> tinyseq.Session:
    """A model of ``samples`` in every call, frames of which are told by their number where that is fixed."""
    own, fixed = Layers(), isinstance(samples, int)
    own.graph = tinyseq.Graph()
    own.x = own.graph.input("x", [rows, samples])
    make(own, samples // HOP if fixed else -1, HOP)
    return own.model()


def layer(own: Layers) -> None:
    width = HOP
    w, r = own.weights(1, 3 * width, width), own.weights(1, 3 * width, width)
    own.then("GRU", w, r, hidden_size=width).then("Squeeze", np.array([1]))


def in_frames(own: Layers, frames: int, hop: int) -> None:
    own.then("Reshape", np.array([frames, 1, hop]))
    layer(own)


def back_in_samples(own: Layers, frames: int, hop: int) -> None:
    in_frames(own, frames, hop)
    own.then("Reshape", np.array([1, frames * hop if frames > 0 else -1]))


def by_features(own: Layers, frames: int, hop: int) -> None:
    """The number of frames is told, that of features is what is left."""
    own.then("Reshape", np.array([frames, 1, hop if frames < 0 else -1]))
    layer(own)
    if frames > 0:
        own.then("Expand", np.array([frames, 1, hop])).cut(0, frames)


def by_places(own: Layers, frames: int, hop: int) -> None:
    if frames < 0:
        return in_frames(own, frames, hop)
    own.then("Gather", np.arange(frames * hop).reshape(frames, hop), axis=1).then("Transpose", perm=(1, 0, 2))
    return layer(own)


def by_filters(own: Layers, frames: int, hop: int) -> None:
    """Filters, and what looks back over the edges of calls."""
    own.then("Unsqueeze", np.array([1])).then(
        "Conv", own.weights(HOP, 1, 2 * hop), strides=(hop,), pads=(hop, 0)
    )
    own.then("MaxPool", kernel_shape=(3,), pads=(2, 0)).then("Transpose", perm=(2, 0, 1))
    layer(own)


CALLS = {
    "frames": in_frames,
    "samples": back_in_samples,
    "features": by_features,
    "places": by_places,
    "filters": by_filters,
}


@pytest.mark.parametrize("make", CALLS.values(), ids=CALLS)
def test_calls_of_fixed_samples_go_on_as_one_long_call_does(make):
    session, whole = called(make, CALL), called(make, "samples")
    x, stream = np.random.default_rng(0).standard_normal((1, 5 * CALL)).astype(np.float32), session.stream()
    y = whole.run({"x": x})["y"]
    parts = [stream.step({"x": part})["y"] for part in np.split(x, 5, 1)]
    axis = int(np.argmax(np.array(y.shape) != parts[0].shape))
    np.testing.assert_array_equal(np.concatenate(parts, axis), y)
    assert stream.finish() == {} and session.latency == 0
    assert tinyseq.check_stream(session).passed
    with pytest.raises(tinyseq.FeedError):
        stream.step({"x": x})


def test_calls_of_fixed_samples_have_rows():
    def make(own: Layers, frames: int, hop: int) -> None:
        own.then("Reshape", np.array([-1, frames, hop])).then("Transpose", perm=(1, 0, 2))
        layer(own)
        own.then("Reshape", np.array([frames, -1, hop]))

    session = called(make, CALL, "rows")
    x, pool, stream = (
        np.random.default_rng(0).standard_normal((2, 3 * CALL)).astype(np.float32),
        session.pool(2),
        session.stream(),
    )
    rows = [pool.open(), pool.open()]
    for part in np.split(x, 3, 1):
        y = pool.step(rows, {"x": part})["y"]
        np.testing.assert_array_equal(y[:, :1], stream.step({"x": part[:1]})["y"])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda own: own.lstm().then("Softmax", axis=1), "normalised over all frames"),
        (backward, "turns the frames round"),
        (lambda own: own.conv(3, pads=(1, 1)).lstm(), "has a fixed number of frames"),
        (
            lambda own: own.then("Reshape", np.array([-1, 7, CHANNELS])).lstm().then("Softmax", axis=1),
            "normalised over all frames",
        ),
        (lambda own: own.then("Gather", np.array([0, 2, 1, 3, 4, 5, 6]), axis=1).lstm(), "takes for granted"),
    ],
)
def test_chunks_of_fixed_frames_are_refused_as_open_ones_are(make, reason):
    with pytest.raises(tinyseq.ModelError, match=reason):
        fixed(make).stream()


def test_sizes_without_names_are_told_by_where_they_meet():
    """As files have them that name no sizes."""
    graph = tinyseq.Graph()
    x, other = (graph.input(name, [f"{name}.{axis}" for axis in range(3)]) for name in ("x", "other"))
    both, own = graph.mul(x, other), Layers()
    y = graph.apply("Conv", graph.transpose(both, (0, 2, 1)), own.weights(2, CHANNELS, 3), pads=(2, 0))
    graph.output("y", y)
    session, feeds = tinyseq.load(graph), {"x": signal(), "other": signal(seed=1)}
    assert tinyseq.check_stream(session, feeds).passed
    stream, whole = session.stream(), session.run(feeds)["y"]
    parts = [{name: part[:, a:b] for name, part in feeds.items()} for a, b in ((0, 3), (3, 4), (4, FRAMES))]
    np.testing.assert_array_equal(np.concatenate([stream.step(part)["y"] for part in parts], 2), whole)


def test_frames_beside_a_table_of_a_fixed_number_are_refused():
    """Of one frame beside a table of many there would be many."""
    session = built(lambda own: setattr(own, "x", own.graph.add(own.x, own.weights(1, 9, CHANNELS))))
    assert session.run({"x": signal(9)})["y"].shape == (1, 9, CHANNELS)
    with pytest.raises(tinyseq.ModelError, match="cannot be told"):
        session.stream()


def test_a_model_with_state_of_its_own_says_what_a_chunk_is():
    graph = tinyseq.Graph()
    x, past = graph.input("x", [1, "frames", CHANNELS]), graph.input("past", [1, 2, CHANNELS])
    both = graph.concat([past, x], 1)
    graph.output("y", graph.softmax(both, 1))
    graph.output("past_out", graph.slice(both, 1, -2, 2**62), carries="past")
    session = tinyseq.load(graph)
    assert "note    node 'concat' (Concat) looks along 'frames': one call is one step" in str(session)
    assert session.stream().step({"x": signal(3)})["y"].shape == (1, 5, CHANNELS)
    assert "note" not in str(built(lambda own: own.lstm()))


def over_frames(
    direction: int = 0, rows: int | str = "rows", told: bool = True, axis: int = 1
) -> tinyseq.Session:
    """A leaky sum of frames, written out as a Scan."""
    body = graph(
        [
            helper.make_node("Mul", ["before", "leak"], ["less"]),
            helper.make_node("Add", ["less", "frame"], ["after"]),
            helper.make_node("Tanh", ["after"], ["told"]),
        ],
        [value("before"), value("frame")],
        [value("after"), value("told")],
        {"leak": np.float32(0.75)},
    )
    shape, ones = [0, 0, CHANNELS], onnx.numpy_helper.from_array(np.ones(1, np.float32))
    shape[axis], shape[1 - axis] = "frames", rows
    nodes = [
        helper.make_node("Shape", ["x"], ["size"]),
        helper.make_node("Gather", ["size", "axes"], ["sizes"]),
        helper.make_node("Concat", ["sizes", "width"], ["start_size"], axis=0),
        helper.make_node("ConstantOfShape", ["start_size"], ["start"], value=ones),
        helper.make_node("Relu", ["x"], ["c"]),
        helper.make_node(
            "Scan", ["start" if told else "first", "c"], ["end", "y"], "leak", body=body, num_scan_inputs=1,
            scan_input_axes=[axis], scan_output_axes=[axis], scan_input_directions=[direction],
        ),
    ]  # fmt: skip
    constants = {"axes": np.array([1 - axis]), "width": np.array([CHANNELS])}
    if not told:
        constants["first"] = np.full((rows, CHANNELS), 0.5, np.float32)
    return tinyseq.load(
        model(nodes, [value("x", shape=shape)], [value("y"), value("end")], constants), device="cpu"
    )


@pytest.mark.parametrize("options", [{}, {"axis": 0}, {"rows": 1}, {"rows": 1, "told": False}])
def test_a_scan_over_frames_is_a_layer(options):
    session = over_frames(**options)
    assert tinyseq.check_stream(session).passed
    x, stream = signal(), session.stream()
    x = x if options.get("axis", 1) else x.transpose(1, 0, 2)
    whole, axis = session.run({"x": x}), options.get("axis", 1)
    steps = [stream.step({"x": part}) for part in np.split(x, [1, 2, 9], axis)]
    np.testing.assert_array_equal(np.concatenate([step["y"] for step in steps], axis), whole["y"])
    np.testing.assert_array_equal(steps[-1]["end"], whole["end"])
    expected = np.full((1, CHANNELS), 0.5 if "told" in options else 1.0)
    for frame in np.moveaxis(x, axis, 0):
        expected = 0.75 * expected + np.maximum(frame, 0)
    np.testing.assert_allclose(whole["end"], expected, rtol=1e-5)


def chosen(by: str = "loud") -> tinyseq.Session:
    """A layer and a convolution, one of which is chosen; in each branch the tensors have the same names."""
    own = Layers()
    w, r = own.weights(1, 3 * CHANNELS, CHANNELS), own.weights(1, 3 * CHANNELS, CHANNELS)
    layer = graph(
        [
            helper.make_node("Transpose", ["x"], ["a"], perm=[1, 0, 2]),
            helper.make_node("GRU", ["a", "w", "r"], ["b"], "layer", hidden_size=CHANNELS),
            helper.make_node("Squeeze", ["b", "one"], ["c"]),
            helper.make_node("Transpose", ["c"], ["d"], perm=[1, 0, 2]),
        ],
        [],
        [value("d")],
        {"w": w, "r": r, "one": np.array([1])},
    )
    window = graph(
        [
            helper.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 1]),
            helper.make_node("Conv", ["a", "w"], ["c"], "window", pads=[2, 0]),
            helper.make_node("Transpose", ["c"], ["d"], perm=[0, 2, 1]),
        ],
        [],
        [value("d")],
        {"w": own.weights(CHANNELS, CHANNELS, 3)},
    )
    nodes = {
        "loud": [],
        "frames": [
            helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
            helper.make_node("Greater", ["top", "zero"], ["loud"]),
        ],
        "number": [
            helper.make_node("Shape", ["x"], ["size"], start=1, end=2),
            helper.make_node("Less", ["size", "ten"], ["loud"]),
        ],
    }[by]
    nodes.append(helper.make_node("If", ["loud"], ["y"], "choice", then_branch=layer, else_branch=window))
    inputs = [value("x", shape=["rows", "frames", CHANNELS])]
    inputs += [value("loud", bool, [])] if by == "loud" else []
    constants = {"zero": np.float32(0), "ten": np.array([10])}
    read = {name for node in nodes for name in node.input}
    constants = {name: array for name, array in constants.items() if name in read}
    return tinyseq.load(model(nodes, inputs, [value("y")], constants))


def test_both_branches_go_on_whichever_is_chosen():
    session, x = chosen(), signal()
    assert tinyseq.check_stream(session).passed
    for loud in (np.array(True), np.array(False)):
        stream = session.stream()
        parts = [stream.step({"x": part, "loud": loud})["y"] for part in np.split(x, [1, 2, 9], 1)]
        whole = session.run({"x": x, "loud": loud})["y"]
        np.testing.assert_array_equal(np.concatenate(parts, 1), whole)
    assert {name.rpartition(".")[2] for name in session.stream().state} == {"h", "frames"}


@pytest.mark.parametrize(
    ("by", "reason"),
    [("frames", "known after the last frame"), ("number", "by how many frames there are")],
)
def test_what_frames_decide_chooses_no_branch(by, reason):
    with pytest.raises(tinyseq.ModelError, match=f"^node .*{reason}"):
        chosen(by).stream()


def test_a_scan_that_is_no_layer_is_refused():
    with pytest.raises(tinyseq.ModelError, match=r"node 'leak' \(Scan\) goes over the frames backward"):
        over_frames(direction=1).stream()


def test_a_search_refuses_models_that_hold_frames_back():
    session = built(lambda own: own.conv(3, pads=(1, 1)))
    with pytest.raises(tinyseq.ModelError, match="holds frames back"):
        session.rows(None, 1)


# Streams apart, together, saved.


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_of_a_pool_do_not_meet(rows):
    session = built(lambda own: own.conv(3, pads=(1, 1)).lstm().conv(2, pads=(1, 0)))
    x = signal(FRAMES, rows)
    expected = [in_chunks(session, one[None], [5, 9, 30]) for one in x]
    pool = session.with_any_state().pool(rows + 2)
    noise = pool.open()
    for part in (np.full((1, 3, CHANNELS), np.nan, np.float32), 1e30 * signal(4)):
        pool.step([noise], {"x": part})
    own = [pool.open() for _ in x]
    parts = [pool.step(own, {"x": part})["y"] for part in np.split(x, [5, 9, 30], 1)]
    whole = np.concatenate([*parts, pool.finish(own)["y"]], 1)
    for row, one in zip(whole, expected):
        np.testing.assert_array_equal(row, one[0])
    with pytest.raises(tinyseq.StateError, match="finished"):
        pool.step(own, {"x": x})
    pool.reset(own[0])
    np.testing.assert_array_equal(pool.step(own[:1], {"x": x[:1]})["y"], expected[0][:, : FRAMES - 1])


def test_rows_of_a_pool_have_means_of_their_own():
    session = built(
        lambda own: own.whole().then("CumSum", np.array(1)).real().then("ReduceMean", np.array([1]))
    )
    pool, x = session.pool(2), signal(9, 2)
    a, b = pool.open(), pool.open()
    pool.step([a], {"x": x[:1, :4]})
    y = pool.step([b, a], {"x": np.stack([x[1, :5], x[0, 4:]])})["y"]
    for row, one in zip(y, (x[1:, :5], x[:1])):
        np.testing.assert_array_equal(row, session.run({"x": one})["y"][0])


AT_PLACES = {
    "numbers": placed,
    "learned positions": embedded,
    "a table": with_table,
    "a layer behind them": lambda own: (placed(own), own.lstm()),
    "strides": lambda own: own.conv(3, strides=(2,), pads=(2, 0)),
    "what comes late": lambda own: placed(own.conv(3, pads=(1, 1))),
}


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("make", AT_PLACES.values(), ids=AT_PLACES)
def test_rows_at_different_places_are_stepped_together(make, device):
    session, x, off = built(make, device=device), signal(FRAMES, 3), {"cpu": 0, "reference": 1e-12}[device]
    pool, streams = session.pool(5), [session.stream() for _ in x]
    rows, gone = [pool.open() for _ in x], [0] * len(x)
    for own, count in (([1], 4), ([2, 0], 2), ([0, 1, 2], 6), ([2, 1], 4), ([1, 0, 2], 2)):
        part = np.stack([x[one, gone[one] : gone[one] + count] for one in own])
        expected = [streams[one].step({"x": part[place : place + 1]})["y"] for place, one in enumerate(own)]
        out = None
        if device == "cpu":
            out = {"y": np.empty((len(own), *expected[0].shape[1:]), np.float32)}
        if len({array.shape for array in expected}) == 1:
            y = pool.step([rows[one] for one in own], {"x": part}, out)["y"]
            np.testing.assert_allclose(y, np.concatenate(expected), rtol=off)
            assert out is None or y is out["y"]
        else:
            for place, one in enumerate(own):
                y = pool.step([rows[one]], {"x": part[place : place + 1]})["y"]
                np.testing.assert_allclose(y, expected[place], rtol=off)
        for one in own:
            gone[one] += count
    for row, stream in zip(rows, streams):
        saved = pool.snapshot(row)
        for name, array in stream.snapshot().items():
            np.testing.assert_allclose(saved[name], array, rtol=off)


def test_a_step_of_rows_at_different_places_that_is_refused_changes_no_row():
    session = built(lambda own: (placed(own), own.then("CumSum", np.array(1))))
    pool, x = session.pool(2), signal(4, 2)
    rows = [pool.open(), pool.open()]
    pool.step(rows[:1], {"x": x[:1]})
    before = [pool.snapshot(row) for row in rows]
    poisoned = x.copy()
    for place in range(2):
        poisoned[...] = x
        poisoned[place, 2] = np.nan
        with pytest.raises(tinyseq.FeedError, match="NaN or infinite"):
            pool.step(rows, {"x": poisoned})
    for wrong, reason in (
        ({"x": x[:1]}, "must be 2"),
        ({"z": x}, "inputs do not match"),
        ({"x": x[0]}, "must be 2"),
    ):
        with pytest.raises(tinyseq.FeedError, match=reason):
            pool.step(rows, wrong)
    with pytest.raises(tinyseq.FeedError):
        pool.step(rows, {"x": x}, {"y": np.empty((2, 3, CHANNELS), np.float32)})
    assert [pool.snapshot(row) for row in rows] == before


def test_rows_whose_numbers_of_frames_differ_are_refused_together():
    session = built(lambda own: own.conv(3, strides=(2,), pads=(2, 0)))
    pool = session.pool(2)
    a, b = pool.open(), pool.open()
    pool.step([a], {"x": signal(1)})
    before = pool.snapshot(a), pool.snapshot(b)
    with pytest.raises(tinyseq.FeedError, match="another number of frames for each; step such rows by calls"):
        pool.step([a, b], {"x": signal(1, 2)})
    assert (pool.snapshot(a), pool.snapshot(b)) == before
    pool.step([b], {"x": signal(1)})
    assert pool.step([a, b], {"x": signal(2, 2)})["y"].shape == (2, 1, CHANNELS)


def test_a_search_refuses_models_that_number_their_frames():
    with pytest.raises(tinyseq.ModelError, match="numbers its frames"):
        built(placed).rows(None, 1)


def test_a_stream_goes_on_from_what_was_saved():
    session = built(lambda own: own.conv(4, strides=(3,), pads=(2, 1)).lstm())
    x, stream = signal(), session.stream()
    start = stream.step({"x": x[:, :8]})["y"]
    saved = tinyseq.State.from_bytes(stream.snapshot().to_bytes())
    rest = [stream.step({"x": x[:, 8:]})["y"], stream.finish()["y"]]
    np.testing.assert_array_equal(np.concatenate([start, *rest], 1), session.run({"x": x})["y"])
    with pytest.raises(tinyseq.StateError, match="finished"):
        stream.step({"x": x})
    other = session.stream()
    other.restore(saved)
    for twin in (other, other.fork()):
        np.testing.assert_array_equal(twin.finish({"x": x[:, 8:]})["y"], np.concatenate(rest, 1))
    stream.reset()
    np.testing.assert_array_equal(stream.step({"x": x[:, :8]})["y"], start)


def test_a_model_that_is_never_late_owes_nothing():
    session = built(lambda own: own.conv(3, pads=(2, 0)).lstm())
    stream, x = session.stream(), signal(5)
    assert stream.finish() == {}
    np.testing.assert_array_equal(stream.finish({"x": x})["y"], session.run({"x": x})["y"])


def test_the_end_of_a_stream_asks_for_inputs_without_frames_only():
    own = Layers()
    gain = own.graph.input("gain", [])
    own.conv(3, pads=(1, 1)).then("Mul", gain)
    stream, gain = own.model().stream(), np.float32(2)
    stream.step({"x": signal(4), "gain": gain})
    with pytest.raises(tinyseq.FeedError, match="missing 'gain'"):
        stream.finish()
    for wrong in (3, {"gain": gain, "z": gain}):
        with pytest.raises(tinyseq.FeedError):
            stream.finish(wrong)
    assert stream.finish({"gain": gain})["y"].shape == (1, 1, CHANNELS)


def test_the_reference_streams_alike():
    make = lambda own: own.conv(3, pads=(1, 1)).lstm()  # noqa: E731
    x = signal()
    exact = in_chunks(built(make, device="reference"), x, [3, 20])
    np.testing.assert_allclose(in_chunks(built(make), x, [3, 20]), exact, atol=1e-5)


def test_a_recognizer_hears_what_comes_late():
    """All rows reach the search, those that the model held back too; the next utterance begins anew."""
    session = built(lambda own: own.conv(5, pads=(2, 2)).then("LogSoftmax"))
    front_end = lambda: tinyseq.Chunks(CHANNELS, lambda samples: {"x": samples.reshape(1, -1, CHANNELS)})  # noqa: E731
    decoder = tinyseq.CtcDecoder(tinyseq.CtcGreedy())
    recognizer = tinyseq.Recognizer(session, front_end, decoder, 0.04)
    streams = [recognizer.create_stream() for _ in range(2)]
    for turn in range(2):
        for number, stream in enumerate(streams):
            stream.accept_waveform(16_000, signal(seed=number + turn).ravel())
            stream.input_finished()
        while any(map(recognizer.is_ready, streams)):
            recognizer.decode(streams)
        for number, stream in enumerate(streams):
            rows = session.run({"x": signal(seed=number + turn)})["y"]
            (expected,) = tinyseq.ctc_greedy(rows[0])
            assert recognizer.get_result(stream).hypothesis == expected
            recognizer.reset(stream)


# Models of others.


def checked(session: tinyseq.Session, feeds: dict | None = None) -> bool:
    """Whether a model has streams, which then keep their word."""
    try:
        report = tinyseq.check_stream(session, feeds, trials=3)
    except tinyseq.ModelError:
        return False
    assert report.passed, report
    return True


WITHOUT = {
    *("gru_backward_dynamo", "gru_backward_script", "functional", "masked", "sequence"),
    *("attention", "layers", "nested"),
}
"""Models of layers that run backward, and of those that look at all frames."""

FILES = [*DATA.glob("*.keras"), *DATA.glob("cells/*.onnx")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_streams_of_models_keep_their_word_or_are_refused(path):
    assert checked(tinyseq.load(path)) == (path.name.split(".")[0] not in WITHOUT)


@pytest.mark.parametrize("name", ["nsnet2", "gtcrn", "dtln-1", "dtln-2", "romanizer-decoder"])
def test_streams_of_real_models_keep_their_word(asset, name):
    assert checked(tinyseq.load(asset(name)))


def test_streams_of_a_voice_detector_keep_their_word(asset):
    session = tinyseq.load(asset("silero-chunk"))
    assert checked(session, {"input": np.zeros((1, 576), np.float32), "sr": np.array(16000)})


def test_a_broken_word_is_told_with_its_smallest_case(monkeypatch):
    """A stream that forgets what it kept whenever a chunk has three frames."""
    session = built(lambda own: own.conv(3, pads=(2, 0)))
    step = tinyseq.Stream.step

    def forgetful(stream, feeds, out=None):
        if feeds["x"].shape[1] == 3:
            stream.reset()
        return step(stream, feeds, out)

    monkeypatch.setattr(tinyseq.Stream, "step", forgetful)
    report = tinyseq.check_stream(session)
    assert not report.passed
    assert report.findings[0].broken == "4 frames cut at [1]"
    assert "BROKEN: 4 frames cut at [1]" in str(report)
    assert not json.loads(report.as_json())["passed"]
