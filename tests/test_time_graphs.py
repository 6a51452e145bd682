"""Which axis of a graph is time: fixed frames, layers across frames, Scans, branches, sizes without names."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import helper

import tinyseq
from tests.models import graph, model, value
from tests.strategies.streams import (
    CHANNELS,
    FRAMES,
    Layers,
    backward,
    built,
    signal,
)

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


def by_ends(own: Layers, frames: int, hop: int) -> None:
    """All frames, named by their number, and as many features as there are frames."""
    in_frames(own, frames, hop)
    if frames > 0:
        own.then("Slice", np.array([0]), np.array([frames]), np.array([0]))
    own.x = own.graph.concat([own.graph.apply("Neg", own.x), own.x], 2)
    own.then("Slice", np.array([0]), np.array([HOP]), np.array([2]))


def beside_others(own: Layers, frames: int, hop: int) -> None:
    """Frames repeated beside others, and features picked and expanded by what might be numbers of frames."""
    in_frames(own, frames, hop)
    own.then("Gather", np.arange(HOP), axis=2)
    own.then("Expand", np.array([3, frames, 1, hop] if frames > 0 else [3, 1, 1, hop]))
    own.then("Transpose", perm=(1, 0, 2, 3))


def by_none(own: Layers, frames: int, hop: int) -> None:
    """Zeros are sizes where the attribute says so, and there are none here."""
    own.then("Reshape", np.array([frames, 1, hop]), allowzero=1)
    layer(own)


CALLS = {
    "frames": in_frames,
    "ends": by_ends,
    "others": beside_others,
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


def one_frame(frames: int | str) -> tinyseq.Session:
    own, number = Layers(), frames if isinstance(frames, int) else -1
    own.graph = tinyseq.Graph()
    own.x = own.graph.input("x", [1, frames, CHANNELS])
    w, r = (own.weights(1, 3 * CHANNELS, CHANNELS) for _ in range(2))
    own.then("Reshape", np.array([number, 1, CHANNELS])).then("GRU", w, r, hidden_size=CHANNELS)
    return own.then("Reshape", np.array([1, number, CHANNELS])).model()


def test_calls_of_one_frame_go_on_as_many_frames_do():
    stream, x = one_frame(1).stream(), signal()
    y = np.concatenate([stream.step({"x": part})["y"] for part in np.split(x, x.shape[1], 1)], 1)
    np.testing.assert_array_equal(y, one_frame("frames").run({"x": x})["y"])


def computed(own: Layers, *numbers: int) -> str:
    """Whole numbers that are known when the model runs."""
    sign = own.graph.apply("Cast", own.graph.apply("ReduceMax", own.x, keepdims=0), to=np.dtype("i8"))
    return own.graph.add(own.graph.mul(sign, np.array(0)), np.array(numbers))


TOLD_LATE = {
    "Reshape": lambda own, frames, hop: own.then("Reshape", computed(own, frames, 1, hop)),
    "Gather": lambda own, frames, hop: own.then("Gather", computed(own, *range(hop)), axis=1),
    "Slice": lambda own, frames, hop: own.then("Slice", np.array([0]), computed(own, hop), np.array([1])),
    "Expand": lambda own, frames, hop: own.then("Expand", computed(own, 1, frames * hop)),
    "Reshape of what is told late": lambda own, frames, hop: (
        own.then("Gather", computed(own, *range(hop)), axis=1)
        .then("Reshape", computed(own, 1, 1, hop))
        .then("Reshape", np.array([1, 1, hop]))
    ),
}


@pytest.mark.parametrize("make", TOLD_LATE.values(), ids=TOLD_LATE)
def test_numbers_of_frames_that_are_not_known_are_refused(make):
    def whole(own: Layers, frames: int, hop: int) -> None:
        make(own, frames, hop)
        own.then("Reshape", np.array([-1, 1, hop]))
        layer(own)

    with pytest.raises(tinyseq.ModelError, match=r"^node '\w+' \(\w+\) "):
        called(whole, CALL).stream()


@pytest.mark.parametrize("rows", [1, "rows"])
def test_windows_over_fixed_frames_alone_are_runs_of_their_own(rows):
    own = Layers()
    own.graph = tinyseq.Graph()
    own.x = own.graph.input("x", [rows, 7, CHANNELS])
    session, x = own.conv(3, pads=(2, 0)).model(), signal()[:, :7]
    assert re.search(r"note    node '\w+' \(Conv\) .*each step of a stream is a run of its own", str(session))
    stream = session.stream()
    for _ in range(2):
        np.testing.assert_array_equal(stream.step({"x": x})["y"], session.run({"x": x})["y"])
    assert "run of its own" not in str(fixed(lambda own: own.conv(3, pads=(2, 0)).lstm()))
    assert "run of its own" not in str(built(lambda own: own.conv(3, pads=(2, 0))))


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
    assert "note    node 'concat' (Concat) looks along 'frames', within a chunk only" in str(session)
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
