"""What users call: load, print, run, stream, save."""

from __future__ import annotations

import copy
import pickle
import pickletools
import sys
import threading
import tracemalloc

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.models import lstm_with_state, model, recogniser, recurrent, running_sum, value
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
    again = tinyseq.load(path, device=device)
    assert (again.inputs, again.outputs) == (session.inputs, session.outputs)
    equal(session.run(case.feeds), again.run(case.feeds))
    again.save(tmp_path / "again.tinyseq")
    assert (tmp_path / "again.tinyseq").read_bytes() == path.read_bytes()


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


CHANGES = {
    "set": lambda state: state.__setitem__("h", np.ones(1)),
    "set another": lambda state: state.__setitem__("other", np.ones(1)),
    "delete": lambda state: state.__delitem__("h"),
    "update": lambda state: state.update(h=np.ones(1)),
    "update in place": lambda state: state.__ior__({"h": np.ones(1)}),
    "setdefault": lambda state: state.setdefault("other", np.ones(1)),
    "pop": lambda state: state.pop("h"),
    "popitem": lambda state: state.popitem(),
    "clear": lambda state: state.clear(),
}


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_arrays_of_a_state_stay(device, change):
    stream = tinyseq.load(lstm_with_state(), device=device).stream()
    before = {name: id(array) for name, array in stream.state.items()}
    with pytest.raises(tinyseq.StateError, match=r"stream\.state\[name\]\[\.\.\.\] = value"):
        CHANGES[change](stream.state)
    assert {name: id(array) for name, array in stream.state.items()} == before


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_state_is_written_to_and_copied_as_a_dict(device):
    stream = tinyseq.load(lstm_with_state(), device=device).stream()
    start = copy.deepcopy(stream.state)
    stream.state["h"][...] = 1
    copies = copy.deepcopy(stream.state), pickle.loads(pickle.dumps(stream.state)), {**stream.snapshot()}
    first = stream.step({"x": chunk()})
    for saved in copies:
        assert type(saved) is dict and list(saved) == ["h", "c"] and saved["h"].all()
        stream.restore(saved)
        equal(stream.step({"x": chunk()}), first)
    assert type(stream.state | {}) is type(stream.state.copy()) is dict
    stream.restore(start)
    equal(stream.state, start)


def test_the_references_results_are_new_arrays():
    """Of a model that gives what it is given."""
    nodes = [helper.make_node("Identity", [given], [gives]) for given, gives in (("x", "y"), ("h", "before"))]
    nodes.append(helper.make_node("Add", ["h", "one"], ["hn"]))
    declared = [
        value(name, np.int64 if name in "xy" else np.float32, [1]) for name in ("x", "h", "y", "before", "hn")
    ]
    session = tinyseq.load(
        model(nodes, declared[:2], declared[2:], {"one": np.ones(1, np.float32)}), device="reference"
    )
    stream, x = session.stream(), np.array([5])
    results = stream.step({"x": x}), session.run({"x": x, "h": np.zeros(1, np.float32)})
    x[...] = 6
    stream.step({"x": x})
    assert [(own["y"].item(), own["before"].item()) for own in results] == [(5, 0), (5, 0)]


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


def test_what_is_unpickled_or_copied_is_read_only():
    state = tinyseq.State({"h": np.ones((1, 2), np.float32)})
    for twin in (pickle.loads(pickle.dumps(state)), copy.copy(state), copy.deepcopy(state)):
        assert twin == state and not twin["h"].flags.writeable
        with pytest.raises(ValueError):
            twin["h"][0] = 2


def test_a_pickled_snapshot_names_nothing_but_the_face():
    """So that it is read wherever files of tinyseq come to lie."""
    pickled = pickle.dumps(tinyseq.State({"h": np.ones((1, 2), np.float32)}), 2)
    named = {word.split()[0] for code, word, _ in pickletools.genops(pickled) if code.name == "GLOBAL"}
    assert {module for module in named if module.startswith("tinyseq")} == {"tinyseq"}


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


def test_without_the_safetensors_package_nothing_is_saved_and_it_is_named(monkeypatch, tmp_path):
    session = tinyseq.load(lstm_with_state())
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(tinyseq.MissingPackageError, match="pip install safetensors"):
        session.save(tmp_path / "m.tinyseq")
    with pytest.raises(tinyseq.MissingPackageError, match="pip install safetensors"):
        session.stream().snapshot().to_bytes()
    assert not list(tmp_path.iterdir())
