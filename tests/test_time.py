"""Time in streams: what streams gives in chunks what a run gives at once, and the rest is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyseq
from tests.strategies.streams import (
    CHANNELS,
    ENDS,
    FRAMES,
    Layers,
    backward,
    built,
    embedded,
    frame_count,
    in_chunks,
    layered,
    placed,
    signal,
    with_table,
)


@settings(max_examples=max(200, settings.default.max_examples))
@given(data=st.data(), layers=layered())
def test_layers_give_in_chunks_what_they_give_at_once(data, layers):
    session = layers.model().with_any_state()
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
    y = in_chunks(session, x, cuts)
    assert whole is None or np.array_equal(y, whole, equal_nan=True)
    assert stream.latency == session.latency


@settings(max_examples=max(60, settings.default.max_examples // 2))
@given(data=st.data(), layers=layered(), op=st.sampled_from(sorted(ENDS.values())))
def test_what_is_of_all_frames_of_layers_is_at_the_end_that_of_a_run(data, layers, op):
    session = layers.then(op, np.array([1])).model().with_any_state()
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


def delta(own: Layers) -> None:
    x = own.x
    later, own.x = own.cut(1).x, x
    own.x = own.graph.apply("Sub", later, own.cut(0, -1).x)


def unfolded(
    own: Layers, taps: int, stride: int = 1, start: int = 0, padded: bool = False, fewer: int = 0
) -> None:
    """The windows of so many frames, put together, their places being told by the number of frames."""
    graph = own.graph
    size = graph.apply("Squeeze", frame_count(own))
    if padded:
        own.then("Pad", np.array([0, taps - 1, 0, 0, 0, 0]))
    else:
        size = graph.add(size, np.array(1 - taps - start - fewer))
    if stride > 1:
        size = graph.apply("Div", graph.add(size, np.array(stride - 1)), np.array(stride))
    places = graph.mul(graph.apply("Range", np.array(0), size, np.array(1)), np.array(stride))
    places = graph.add(graph.unsqueeze(places, [1]), np.arange(start, start + taps)[None])
    own.then("Gather", places, axis=1).then("Transpose", perm=(0, 1, 3, 2))
    own.then("MatMul", own.weights(taps, 1)).then("Squeeze", np.array([3]))


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
    "windows picked by their places": (lambda own: unfolded(own, 3), 2),
    "every second of them": (lambda own: unfolded(own, 4, 2), 2),
    "every third, of few frames": (lambda own: unfolded(own, 2, 3), 0),
    "one for each frame": (lambda own: unfolded(own, 3, padded=True), 0),
    "from the third frame on": (lambda own: unfolded(own, 2, 1, 2), 3),
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


def uneven(own: Layers) -> None:
    """Each frame and those whose numbers are its double, as far as there are such."""
    half = own.graph.apply("Div", own.graph.apply("Squeeze", frame_count(own)), np.array(3))
    places = own.graph.apply("Range", np.array(0), half, np.array(1))
    places = own.graph.concat(
        [own.graph.unsqueeze(places, [1]), own.graph.unsqueeze(own.graph.mul(places, np.array(2)), [1])], 1
    )
    own.then("Gather", places, axis=1).then("Transpose", perm=(0, 1, 3, 2))
    own.then("MatMul", own.weights(2, 1)).then("Squeeze", np.array([3]))


def scaled_few(own: Layers) -> None:
    """x twice where there are fewer than three frames."""
    few = own.graph.apply("Less", frame_count(own), np.array([3]))
    own.x = own.graph.apply("Where", few, own.graph.mul(own.x, np.float32(2)), own.x)


def attending(own: Layers) -> None:
    scores = own.graph.apply("MatMul", own.x, own.graph.transpose(own.x, (0, 2, 1)))
    own.x = own.graph.apply("MatMul", own.graph.softmax(scores), own.x)


REFUSED = {
    "Softmax": (lambda own: own.then("Softmax", axis=1), "normalised over all frames"),
    "ReduceMean": (
        lambda own: own.turned().then("ReduceMean", np.array([1, 2])),
        "within other axes, in an order that chunks would change",
    ),
    "ReduceLogSumExp": (lambda own: own.then("ReduceLogSumExp", np.array([1])), "the greatest of all"),
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
    "Gather of places that are no windows": (uneven, "not those of windows at equal distances"),
    "Gather of the first windows": (lambda own: unfolded(own, 3, fewer=2), "fewer windows than there are"),
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
    "the mean of frames and channels": lambda own: own.then("ReduceMean", np.array([1, 2])),
    "the sum of them, whole": lambda own: own.whole(dtype="i4").then(
        "ReduceSum", np.array([1, 2]), keepdims=0
    ),
    "the product of them": lambda own: own.then("ReduceProd", np.array([-1, 1]), keepdims=0),
    "the length of them": lambda own: own.then("ReduceL2", np.array([1, 2])),
    "the mean of planes": lambda own: (
        own.then("Unsqueeze", np.array([1])).then("GlobalAveragePool").then("Squeeze", np.array([1]))
    ),
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


@pytest.mark.parametrize("make", [SO_FAR["the last frame"], SO_FAR["the last frame alone"]])
def test_a_step_of_no_frames_has_no_last_one(make):
    session = built(make)
    stream, pool = session.stream(), session.pool(1)
    row = [pool.open()]
    stream.step({"x": signal()})
    for step in (stream.step, lambda feeds: pool.step(row, feeds), stream.finish):
        with pytest.raises(tinyseq.FeedError, match=r"^node '\w+' .*The step has no frames, .* one at least"):
            step({"x": signal()[:, :0]})


@pytest.mark.parametrize("name", ["a causal convolution", "a pool of the past", "a running sum"])
def test_a_step_may_have_no_frames(name):
    session, x = built(IN_TIME[name][0]), signal()
    stream, pool = session.stream(), session.pool(2)
    rows = [pool.open(), pool.open()]
    none = x[:, :0]
    for step in (stream.step, stream.finish, lambda feeds: pool.step(rows[:1], feeds)):
        assert step({"x": none})["y"].shape == (1, 0, CHANNELS)
    assert pool.step(rows, {"x": np.concatenate([none, none])})["y"].shape == (2, 0, CHANNELS)
    stream.step({"x": x[:, :7]})
    before = stream.snapshot()
    stream.step({"x": none})
    assert stream.snapshot() == before


AT_THE_END = {
    "a state": lambda own: own.conv(3, pads=(1, 1)).last_state(),
    "a maximum": lambda own: own.conv(3, pads=(1, 1)).then("ReduceMax", np.array([1])),
    "a mean": lambda own: own.conv(3, pads=(2, 2)).then("ReduceMean", np.array([1])),
    "a sum of pairs": lambda own: own.conv(2, strides=(2,), pads=(0, 1)).then("ReduceSum", np.array([1])),
}


@pytest.mark.parametrize("make", AT_THE_END.values(), ids=AT_THE_END)
def test_what_is_of_all_frames_has_those_that_come_at_the_end(make):
    session, x = built(make), signal()
    stream = session.stream()
    for part in np.split(x, [1, 3, 4, 20], 1):
        stream.step({"x": part})
    np.testing.assert_array_equal(stream.finish()["y"], session.run({"x": x})["y"])


@pytest.mark.parametrize("channels", [1, 17, 64])
def test_wide_convolutions_give_the_same_bits(isa, channels, monkeypatch):
    monkeypatch.setattr("tests.strategies.streams.CHANNELS", channels)
    session = built(lambda own: own.conv(5, pads=(2, 2)).conv(3, pads=(2, 0), dilations=(1,)))
    x = np.random.default_rng(0).standard_normal((1, 200, channels)).astype(np.float32)
    whole = session.run({"x": x})["y"]
    for cuts in (range(1, 200), [3, 70, 71, 150]):
        np.testing.assert_array_equal(in_chunks(session, x, cuts), whole)
