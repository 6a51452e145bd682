"""Many streams of one model in a pool: each as if it were alone."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import tinyseq
from tests.models import lstm_with_state, model, recogniser, recurrent, value
from tests.strategies.streams import CHANNELS, built, placed


@pytest.fixture(scope="module")
def chunks() -> np.ndarray:
    """Three frames of four streams, nine times."""
    return np.random.default_rng(0).standard_normal((9, 3, 4, 3)).astype(np.float32)


def schedule():
    """Which of four streams are stepped, in which order, nine times."""
    rng = np.random.default_rng(1)
    return [list(rng.permutation(4)[: rng.integers(1, 5)]) for _ in range(9)]


@pytest.mark.parametrize(("make", "axis"), [(lstm_with_state, 2), (recogniser, 1)])
def test_a_row_is_a_stream(isa, make, axis, chunks):
    """Bit for bit, whichever rows are stepped together; with state that the graph exposes and hidden state.

    ``axis``: where ``y`` has its rows.
    """
    model = tinyseq.load(make())
    pool, streams = model.pool(7), [model.stream() for _ in range(4)]
    rows = [pool.open() for _ in range(4)]
    for x, order in zip(chunks, schedule()):
        found = pool.step([rows[index] for index in order], {"x": np.ascontiguousarray(x[:, order])})["y"]
        for place, index in enumerate(order):
            alone = streams[index].step({"x": np.ascontiguousarray(x[:, [index]])})["y"]
            np.testing.assert_array_equal(found.take([place], axis), alone)
            saved = streams[index].snapshot()
            for name, field in pool.snapshot(rows[index]).items():
                np.testing.assert_array_equal(field, saved[name])


def test_a_voice_detector_in_a_pool(isa, asset):
    model = tinyseq.load(asset("silero-chunk"))
    rng = np.random.default_rng(0)
    pool, streams = model.pool(3), [model.stream() for _ in range(3)]
    rows = [pool.open() for _ in range(3)]
    sr = np.array(16000)
    for _ in range(4):
        x = rng.normal(0, 0.1, (3, 576)).astype(np.float32)
        found = pool.step(rows, {"input": x, "sr": sr})["output"]
        for row, stream in enumerate(streams):
            alone = stream.step({"input": x[row : row + 1], "sr": sr})["output"]
            np.testing.assert_array_equal(found[row : row + 1], alone)


def test_the_reference_has_pools_too(chunks):
    for x in chunks[:1]:
        results = []
        for device in ("cpu", "reference"):
            pool = tinyseq.load(lstm_with_state(), device=device).pool(2)
            rows = [pool.open(), pool.open()]
            results.append(pool.step(rows, {"x": np.ascontiguousarray(x[:, :2])})["y"])
        np.testing.assert_allclose(*results, atol=1e-5)


def test_rows_join_and_leave(chunks):
    pool = tinyseq.load(lstm_with_state()).pool(2)
    x = np.ascontiguousarray(chunks[0][:, :1])
    a, b = pool.open(), pool.open()
    first = pool.step([a], {"x": x})["y"]
    saved = pool.snapshot(a)
    second = pool.step([a], {"x": x})["y"]
    with pytest.raises(tinyseq.StateError, match="all 2 rows"):
        pool.open()
    pool.close(a)
    with pytest.raises(tinyseq.StateError, match="not open"):
        pool.step([a], {"x": x})
    again = pool.open()
    np.testing.assert_array_equal(pool.step([again], {"x": x})["y"], first)
    pool.restore(b, tinyseq.State.from_bytes(saved.to_bytes()))
    out = {name: np.empty_like(array) for name, array in pool.step([again], {"x": x}).items()}
    assert pool.step([b], {"x": x}, out) is out
    np.testing.assert_array_equal(out["y"], second)
    pool.reset(b)
    np.testing.assert_array_equal(pool.step([b], {"x": x})["y"], first)


def test_wrong_use_is_refused_and_changes_nothing(chunks):
    model = tinyseq.load(lstm_with_state())
    pool = model.pool(3)
    a, b = pool.open(), pool.open()
    x = np.ascontiguousarray(chunks[0][:, :2])
    pool.step([a, b], {"x": x})
    before = pool.snapshot(a)
    for rows, feeds, error in (
        ([a, a], {"x": x}, tinyseq.FeedError),
        ([], {"x": x[:, :0]}, tinyseq.FeedError),
        ([a, 2], {"x": x}, tinyseq.StateError),
        ([a, -1], {"x": x}, tinyseq.StateError),
        ([a, "b"], {"x": x}, tinyseq.StateError),
        ("", {"x": x[:, :0]}, tinyseq.FeedError),
        (None, {"x": x}, tinyseq.FeedError),
        (np.array(a), {"x": x}, tinyseq.FeedError),
        ([a], {"x": x}, tinyseq.FeedError),
        ([a, b], {"z": x}, tinyseq.FeedError),
        ([a, b], None, tinyseq.FeedError),
    ):
        with pytest.raises(error):
            pool.step(rows, feeds)
    for name, array in pool.snapshot(a).items():
        np.testing.assert_array_equal(array, before[name])
    for count in (0, -1, 1.5, True, 2**70):
        with pytest.raises(tinyseq.FeedError):
            model.pool(count)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_state_beyond_the_memory_is_refused(device):
    graph = tinyseq.Graph()
    x, h = (graph.input(name, ["rows", 2**50]) for name in "xh")
    graph.output("hn", graph.add(x, h), carries="h")
    model = tinyseq.load(graph, device=device)
    for make in (model.stream, lambda: model.pool(3), lambda: model.pool(np.int64(2**31 - 1))):
        with pytest.raises(tinyseq.StateError, match="memory"):
            make()


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("width", [1, 5])
def test_a_next_state_of_another_shape_is_refused_and_changes_nothing(device, width):
    graph = tinyseq.Graph()
    x, h = graph.input("x", ["rows", "width"]), graph.input("h", ["rows", 2])
    graph.output("y", graph.relu(h))
    graph.output("hn", x, carries="h")
    model = tinyseq.load(graph, device=device)
    stream, pool = model.stream(), model.pool(2)
    row, before = pool.open(), stream.snapshot()
    with pytest.raises(tinyseq.FeedError, match="'h'"):
        stream.step({"x": np.ones((1, width), np.float32)})
    with pytest.raises(tinyseq.FeedError, match="'h'"):
        pool.step([row], {"x": np.ones((1, width), np.float32)})
    assert stream.snapshot() == pool.snapshot(row) == before


@pytest.mark.parametrize("name", ["gtcrn", "dtln-1", "dtln-2"])
def test_a_model_of_one_row_is_pooled_row_by_row(asset, name):
    model = tinyseq.load(asset(name))
    (value,) = [v for v in model.inputs if all(v.name != pair.input for pair in model.state)]
    rng = np.random.default_rng(0)
    pool, streams = model.pool(4), [model.stream() for _ in range(3)]
    rows = [pool.open() for _ in streams]
    for order in ([0, 1, 2], [2, 0], [1]):
        x = rng.standard_normal((len(order), *value.shape[1:])).astype(np.float32)
        found = pool.step([rows[index] for index in order], {value.name: x})
        for place, index in enumerate(order):
            alone = streams[index].step({value.name: x[place : place + 1]})
            assert set(alone) == set(found)
            for output, array in alone.items():
                np.testing.assert_array_equal(found[output][place : place + 1], array)
    for row, stream in zip(rows, streams):
        assert pool.snapshot(row) == stream.snapshot()
    before = [pool.snapshot(row) for row in rows]
    with pytest.raises(tinyseq.FeedError, match=r"axis 0 is that of the rows and must be 3"):
        pool.step(rows, {value.name: x})
    assert [pool.snapshot(row) for row in rows] == before
    pool.restore(rows[0], before[1])
    pool.reset(rows[1])
    assert pool.snapshot(rows[0]) == before[1] and pool.snapshot(rows[1]) == model.stream().snapshot()


def test_a_model_of_one_row_without_an_axis_for_rows_is_refused(asset):
    with pytest.raises(tinyseq.ModelError, match=r"input float32.* has no axis of size 1"):
        tinyseq.load(asset("silero-sequence")).pool(2)


def test_a_model_of_many_rows_is_for_pools():
    model = tinyseq.load(recurrent("LSTM", rows=5, static=True, outputs=["y"]).model)
    with pytest.raises(tinyseq.ModelError, match=r"node 'it' \(LSTM\) runs on 5 rows.*use pool\(5\)"):
        model.stream()
    with pytest.raises(tinyseq.ModelError, match=r"use pool\(5\)"):
        model.pool(4)
    pool = model.pool(5)
    x = {"x": np.ones((7, 5, 5), np.float32)}
    np.testing.assert_array_equal(pool.step([pool.open() for _ in range(5)], x)["y"], model.run(x)["y"])


def test_a_model_of_one_row_with_hidden_state_is_pooled():
    model = tinyseq.load(recurrent("GRU", frames=2, rows=1, static=True, outputs=["y"]).model)
    pool, streams = model.pool(3), [model.stream() for _ in range(2)]
    rows = [pool.open() for _ in streams]
    x = np.random.default_rng(0).standard_normal((2, 2, 1, 5)).astype(np.float32)
    alone = [stream.step({"x": part}) for stream, part in zip(streams, x)]
    together = pool.step(rows, {"x": np.concatenate(list(x), 1)})["y"]
    for index, one in enumerate(alone):
        np.testing.assert_array_equal(together[:, [index]], one["y"])


FED = {
    "relu": lambda own: own.then("Relu"),
    "conv": lambda own: own.conv(3, pads=(2, 0)),
    "late": lambda own: own.conv(3, pads=(1, 1)),
    "placed": placed,
    "lstm": lambda own: own.lstm(),
}


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("make", FED.values(), ids=FED)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_step_is_fed_as_many_rows_as_it_names(make, device, count):
    session = built(make, device=device)
    pool = session.pool(5)
    rows = [pool.open() for _ in range(3)]
    x = np.random.default_rng(0).standard_normal((4, 5, CHANNELS)).astype(np.float32)
    pool.step(rows, {"x": x[:3]})
    before = [pool.snapshot(row) for row in rows]
    for step in (pool.step, pool.finish):
        with pytest.raises(tinyseq.FeedError, match=r"^input 'x' has shape .* the rows and must be 3"):
            step(rows, {"x": x[:count]})
    assert [pool.snapshot(row) for row in rows] == before


@pytest.mark.parametrize("make", [FED["conv"], FED["lstm"]])
def test_a_stream_of_several_rows_says_to_use_a_pool(make):
    with pytest.raises(tinyseq.FeedError, match=r"a stream is one row: use pool\(3\)$"):
        built(make).stream().step({"x": np.zeros((3, 5, CHANNELS), np.float32)})


def test_what_a_model_adds_to_its_state_has_as_many_rows():
    """One row would be added to all."""
    graph = tinyseq.Graph()
    x, h = graph.input("x", ["batch", 3]), graph.input("h", ["rows", 3])
    graph.output("h_out", graph.add(x, h))
    graph.output("y", graph.apply("Relu", graph.add(x, h)))
    pool = tinyseq.load(graph, state={"h": "h_out"}).pool(2)
    rows = [pool.open(), pool.open()]
    pool.step(rows, {"x": np.ones((2, 3), np.float32)})
    with pytest.raises(tinyseq.FeedError, match=r"input 'x' has shape .* axis 0 .* must be 2"):
        pool.step(rows, {"x": np.ones((1, 3), np.float32)})


def test_a_pool_of_another_size_goes_on_where_rows_are(asset):
    model = tinyseq.load(asset("silero-chunk"))
    chunks = np.random.default_rng(0).standard_normal((2, 3, 576)).astype(np.float32) * 0.1
    feeds = [{"input": chunk, "sr": np.array(16000)} for chunk in chunks]
    pool = model.pool(4)
    rows = [pool.open() for _ in range(3)]
    pool.step(rows, feeds[0])
    twin = model.pool(3)
    others = [twin.open() for _ in range(3)]
    twin.step(others, feeds[0])
    larger = pool.resized(9, [rows[2], rows[0], rows[1]])
    assert larger.count == 9 and larger.places([0, 1]) == [b"", b""]
    order = [2, 0, 1]
    got = larger.step([0, 1, 2], {**feeds[1], "input": chunks[1][order]})["output"]
    np.testing.assert_array_equal(got, twin.step(others, feeds[1])["output"][order])
    fresh = larger.open()
    assert fresh == 3 and larger.snapshot(fresh) == model.stream().snapshot()
    with pytest.raises(tinyseq.StateError):
        larger.resized(9, [0, 5])
    with pytest.raises(tinyseq.FeedError, match="do not fit"):
        larger.resized(2, [0, 1, 2])
    assert larger.resized(1, []).open() == 0


MEETING = {
    "softmax over rows": (("Softmax", "s", "y", {"axis": 0}),),
    "the first row for all": (("Gather", "s zero", "first", {"axis": 0}), ("Add", "s first", "y", {})),
    "less their mean": (("ReduceMean", "s rows", "mean", {}), ("Sub", "s mean", "y", {})),
    "running over rows": (("CumSum", "s zero", "y", {}),),
    "turned round": (("Slice", "s last least rows back", "y", {}),),
    "each row by each": (("Transpose", "s", "turned", {}), ("MatMul", "s turned", "y", {})),
    "in one line": (("Reshape", "s one", "line", {}), ("Softmax", "line", "y", {"axis": 0})),
}
APART = {
    "softmax of a row": (("Softmax", "s", "y", {"axis": 1}),),
    "a feature": (("Gather", "s zero", "y", {"axis": 1}),),
    "less its mean": (("ReduceMean", "s features", "mean", {}), ("Sub", "s mean", "y", {})),
    "in one line and back": (
        ("Reshape", "s one", "line", {}),
        ("Relu", "line", "r", {}),
        ("Reshape", "r s3", "y", {}),
    ),
}


def pooled(ops) -> tinyseq.Session:
    """A running sum s[N, 3] of x, and y of it."""
    nodes = [helper.make_node("Add", ["x", "h"], ["s"]), helper.make_node("Identity", ["s"], ["h_out"])]
    nodes += [helper.make_node(op, names.split(), [made], **more) for op, names, made, more in ops]
    constants = {
        "zero": np.array(0),
        "rows": np.array([0]),
        "features": np.array([1]),
        "last": np.array([-1]),
    }
    constants |= {"least": np.array([-(2**31)]), "back": np.array([-1]), "one": np.array([-1])}
    constants |= {"s3": np.array([-1, 3])}
    used = {name for node in nodes for name in node.input}
    constants = {name: array for name, array in constants.items() if name in used}
    given = [value(name, shape=["N", 3]) for name in ("x", "h")]
    return tinyseq.load(
        model(nodes, given, [value("y"), value("h_out", shape=["N", 3])], constants, opset=18)
    )


@pytest.mark.parametrize("what", MEETING)
def test_rows_that_would_see_each_other_are_not_pooled(what):
    with pytest.raises(tinyseq.ModelError, match=r"computes with several rows at once.*model.stream\(\)"):
        pooled(MEETING[what]).pool(2)


@pytest.mark.parametrize("what", APART)
def test_rows_that_keep_apart_are_pooled(what):
    session = pooled(APART[what])
    pool, streams = session.pool(2), [session.stream() for _ in range(2)]
    rows = [pool.open(), pool.open()]
    for x in np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32):
        y = pool.step(rows, {"x": x})["y"]
        for row, stream in enumerate(streams):
            np.testing.assert_array_equal(y[row], stream.step({"x": x[row : row + 1]})["y"][0])
