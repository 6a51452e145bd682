"""What users call: load, print, run, stream, save."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests.models import lstm_with_state, recogniser, recurrent, running_sum
from tests.strategies import CASES, LAYERS
from tests.test_differential import REFUSED
from tinyseq.errors import ConversionWarning


def chunk(frames: int = 4, features: int = 3, rows: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, rows, features)).astype(np.float32)


def equal(a, b) -> None:
    assert set(a) == set(b)
    for name in a:
        assert (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape)
        np.testing.assert_array_equal(a[name], b[name])


def test_a_model_prints_itself():
    assert str(tinyseq.load(recogniser())) == "\n".join(
        [
            "tinyseq model (ONNX opset 18, tests) on cpu",
            "  input   x float32[frames, rows, 3]",
            "  output  y float32[frames, rows, 5]",
            "  state   gru0.h float32[1, gru0.h.rows, 4] -> gru0.h.next",
            "  state   gru1.h float32[1, gru1.h.rows, 4] -> gru1.h.next",
        ]
    )


def test_a_model_loads_from_bytes_and_files(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(recogniser())
    feeds = {"x": chunk()}
    results = [tinyseq.load(source).run(feeds) for source in (recogniser(), path, str(path))]
    equal(results[0], results[1])
    equal(results[0], results[2])


def test_weights_that_no_node_reads_draw_a_warning():
    model = onnx.load_from_string(recogniser())
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(3, np.float32), "lost"))
    with pytest.warns(ConversionWarning, match=r"no node reads the weight 'lost' \(1 such\)"):
        tinyseq.load(model.SerializeToString())


def test_step_writes_into_the_given_arrays():
    session = tinyseq.load(recogniser())
    feeds = {"x": chunk()}
    array = np.full((4, 1, 5), np.nan, np.float32)
    out = {"y": array}
    results = session.stream().step(feeds, out)
    assert results is out
    assert results["y"] is array
    np.testing.assert_array_equal(array, session.run(feeds)["y"])


def test_results_are_new_arrays():
    stream = tinyseq.load(recogniser()).stream()
    first = stream.step({"x": chunk()})["y"]
    kept = first.copy()
    stream.step({"x": chunk(seed=1)})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("form", CASES)
@given(data=st.data())
def test_a_saved_model_runs_bit_by_bit_alike(tmp_path, form, data):
    case = data.draw(CASES[form])
    device = "reference" if form in REFUSED else "cpu"
    session = tinyseq.load(case.model, device=device)
    path = tmp_path / "model.tinyseq"
    session.save(path)
    copy = tinyseq.load(path, device=device)
    assert (copy.inputs, copy.outputs) == (session.inputs, session.outputs)
    equal(session.run(case.feeds), copy.run(case.feeds))
    again = tmp_path / "again.tinyseq"
    copy.save(again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("model", [recogniser(), lstm_with_state()], ids=["hidden state", "named state"])
def test_a_saved_model_streams_bit_by_bit_alike(tmp_path, model):
    session = tinyseq.load(model)
    session.save(tmp_path / "model.tinyseq")
    copy = tinyseq.load(tmp_path / "model.tinyseq")
    assert copy.state == session.state
    one, other = session.stream(), copy.stream()
    for seed in range(3):
        equal(one.step({"x": chunk(seed=seed)}), other.step({"x": chunk(seed=seed)}))
    equal(one.snapshot(), other.snapshot())


STATE_NAMES = [
    (("h", "c"), ("hn", "cn")),
    (("h0", "c0"), ("hn", "cn")),
    (("h_0", "c_0"), ("h_n", "c_n")),
    (("state_h", "state_c"), ("stateN_h", "stateN_c")),
    (("state_in_h", "state_in_c"), ("state_out_h", "state_out_c")),
    (("hidden_in", "cell_in"), ("hidden_out", "cell_out")),
    (("prevHidden", "prevCell"), ("nextHidden", "nextCell")),
]


@pytest.mark.parametrize(("given", "result"), STATE_NAMES)
def test_state_is_found_by_name(given, result):
    session = tinyseq.load(lstm_with_state(given, result))
    assert [(pair.input, pair.output) for pair in session.state] == list(zip(given, result))
    carried(session, dict(zip(given, result)))


@pytest.mark.parametrize(
    ("given", "result"),
    [
        ("h", "hn"),
        ("h0", "hn"),
        ("state", "stateN"),
        ("state_in", "state_out"),
        ("past_h", "present_h"),
        ("s.0", "s.n"),
    ],
)
def test_a_lone_state_is_found_by_name(given, result):
    stream = tinyseq.load(running_sum(given, result)).stream()
    results = [stream.step({"x": np.full((1, 3), number, np.float32)}) for number in (1, 2, 3)]
    assert [list(result) for result in results] == [["y"]] * 3
    assert [-result["y"][0, 0] for result in results] == [1, 3, 6]


@pytest.mark.parametrize(("given", "result"), [("h", "c"), ("a", "b"), ("x0", "yn")])
def test_other_names_are_no_state(given, result):
    assert tinyseq.load(running_sum(given, result)).state == ()


def test_state_is_named_by_the_caller():
    session = tinyseq.load(running_sum("first", "one"), state={"first": "one"})
    stream = session.stream()
    results = [stream.step({"x": np.full((1, 3), number, np.float32)}) for number in (1, 2, 3)]
    assert [-result["y"][0, 0] for result in results] == [1, 3, 6]


def carried(session: tinyseq.Session, pairs: dict[str, str]) -> None:
    """A stream hands over just what a caller would from run to run."""
    stream = session.stream()
    state = {name: np.zeros((1, 1, 4), np.float32) for name in pairs}
    for seed in range(3):
        results = session.run({"x": chunk(seed=seed)} | state)
        state = {name: results[output] for name, output in pairs.items()}
        equal(stream.step({"x": chunk(seed=seed)}), {"y": results["y"]})
        equal(stream.snapshot(), state)


@pytest.mark.parametrize("op", LAYERS)
@pytest.mark.parametrize("outputs", [["y"], ["y", "y_h"]], ids=["y", "y and y_h"])
def test_hidden_state_is_carried(op, outputs):
    case = recurrent(op, frames=9, outputs=outputs)
    session = tinyseq.load(case.model)
    stream = session.stream()
    parts = [stream.step({"x": part})["y"] for part in np.split(case.feeds["x"], [2, 3, 7])]
    np.testing.assert_array_equal(np.concatenate(parts), session.run(case.feeds)["y"])


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_streaming_backward_is_refused(direction):
    case = recurrent("LSTM", direction=direction)
    session = tinyseq.load(case.model)
    assert session.run(case.feeds)["y"].shape[0] == 7
    with pytest.raises(tinyseq.ModelError, match=rf"node 'it' \(LSTM\) runs {direction}.*model\.run"):
        session.stream()
    assert direction in str(session)


def test_snapshots_are_compared_by_value():
    stream = tinyseq.load(lstm_with_state(), finite=False).stream()
    start = stream.snapshot()
    assert start == stream.snapshot() == tinyseq.State.from_bytes(start.to_bytes())
    stream.step({"x": chunk()})
    assert start != stream.snapshot() and start != dict(start)
    stream.restore({name: np.full_like(array, np.nan) for name, array in start.items()})
    assert stream.snapshot() == stream.snapshot() != start


def test_threads_share_a_model():
    session = tinyseq.load(recogniser())
    feeds = [{"x": chunk(frames, seed=frames)} for frames in range(1, 9)]
    expected = [session.run(feed)["y"] for feed in feeds]
    wrong: list[int] = []
    start = threading.Barrier(4)

    def work(first: int) -> None:
        stream = session.stream()
        start.wait()
        for turn in range(200):
            position = (first + turn) % len(feeds)
            stream.reset()
            for results in (session.run(feeds[position]), stream.step(feeds[position])):
                if not np.array_equal(results["y"], expected[position]):
                    wrong.append(position)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_steps_allocate_nothing_lasting():
    stream = tinyseq.load(recogniser()).stream()
    feeds, out = {"x": chunk()}, {"y": np.empty((4, 1, 5), np.float32)}
    tracemalloc.start()
    try:
        for _ in range(10):
            stream.step(feeds, out)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5000):  # more than Python keeps of freed tuples, which tracemalloc does not see
            stream.step(feeds, out)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 500
