"""Which inputs and outputs carry state: dataflow finds them whatever the names, and what is open is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.models import lstm_with_state, model, running_sum, scanned_cell, value

CELLS = sorted((Path(__file__).parent / "data" / "cells").glob("*.onnx"))
F, H = 3, 4
rng = np.random.default_rng(0)
WEIGHTS = {
    name: rng.uniform(-1, 1, shape).astype(np.float32)
    for name, shape in {
        "w": (1, 4 * H, F), "r": (1, 4 * H, H), "w1": (1, 4 * H, H), "w3": (1, 3 * H, F), "r3": (1, 3 * H, H),
        "kernel": (2, F, 3), "square": (H, H),
    }.items()
}  # fmt: skip
NUMBERS = {
    name: np.array(numbers)
    for name, numbers in {"zero": [0], "one": [1], "two": [2], "last2": [-2], "far": [2**62]}.items()
}


def n(op: str, inputs: str, outputs: str, **attributes):
    """A node; ``_`` stands for an absent input or output."""
    names = [["" if name == "_" else name for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, f"it {names[1][-1]}", **attributes)


def built(nodes, inputs: dict, outputs: dict) -> bytes:
    """``inputs`` and ``outputs`` map names to shapes."""
    read = {name for node in nodes for name in node.input}
    return model(
        nodes,
        [value(name, shape=shape) for name, shape in inputs.items()],
        [value(name, shape=shape) for name, shape in outputs.items()],
        {name: array for name, array in (WEIGHTS | NUMBERS).items() if name in read},
    )


def packed() -> bytes:
    """Two LSTMs, all their states in one tensor, the second layer's first."""
    parts = ["h1", "c1", "h0", "c0"]
    nodes = [
        n("Split", "s", " ".join(f"{part}s" for part in parts), axis=0, num_outputs=4),
        n("LSTM", "x w r _ _ h0s c0s", "y0 h0e c0e", hidden_size=H),
        n("Squeeze", "y0 one", "x1"),
        n("LSTM", "x1 w1 r _ _ h1s c1s", "y1 h1e c1e", hidden_size=H),
        n("Concat", "h1e c1e h0e c0e", "t", axis=0),
        n("Squeeze", "y1 one", "y"),
    ]
    return built(nodes, {"x": ("T", "N", F), "s": (4, "N", H)}, {"y": ("T", "N", H), "t": (4, "N", H)})


def swapped() -> bytes:
    """As ``packed``, but its next states stand in another order: no stream could feed them back."""
    made = onnx.load_from_string(packed())
    next(node for node in made.graph.node if node.op_type == "Concat").input[:2] = ["c1e", "h1e"]
    return made.SerializeToString()


def past(behind: bool = False) -> bytes:
    """A convolution over frames, the last two of which are the next past."""
    order = "x p" if behind else "p x"
    nodes = [
        n("Concat", order, "all", axis=2),
        n("Slice", "all zero two two" if behind else "all last2 far two", "q"),
        n("Conv", "all kernel", "y"),
    ]
    return built(nodes, {"x": (1, F, "n"), "p": (1, F, 2)}, {"y": (1, 2, "n"), "q": (1, F, 2)})


def gated() -> bytes:
    """A GRU whose state an input may put back to zero."""
    nodes = [
        n("Mul", "s keep", "h"),
        n("GRU", "x w3 r3 _ _ h", "y e", hidden_size=H),
        n("Transpose", "e", "t", perm=[1, 0, 2]),
        n("Transpose", "t", "z", perm=[1, 0, 2]),
    ]
    inputs = {"x": ("T", "N", F), "keep": (1, "N", 1), "s": (1, "N", H)}
    return built(nodes, inputs, {"y": ("T", 1, "N", H), "z": (1, "N", H)})


def last_frame() -> bytes:
    """A GRU of one frame whose output is all that its state needs."""
    nodes = [n("GRU", "x w3 r3 _ _ s", "y4", hidden_size=H), n("Squeeze", "y4 one", "t")]
    return built(nodes, {"x": (1, "N", F), "s": (1, "N", H)}, {"t": (1, "N", H)})


def twin_cells() -> bytes:
    """An RNN cell that takes its input just as its state."""
    nodes = [
        n("MatMul", "a square", "a1"),
        n("MatMul", "b square", "b1"),
        n("Add", "a1 b1", "sum"),
        n("Tanh", "sum", "t"),
    ]
    return built(nodes, {"a": (1, H), "b": (1, H)}, {"t": (1, H)})


FOUND = {
    "layer": (lstm_with_state(("hidden", "cell"), ("h_n", "c_n")), {"hidden": "h_n", "cell": "c_n"}),
    "crossed": (lstm_with_state(("c", "h"), ("hn", "cn")), {"c": "hn", "h": "cn"}),
    "numbers": (lstm_with_state(("onnx::A", "7"), ("getitem_1", "2")), {"onnx::A": "getitem_1", "7": "2"}),
    "scan": (scanned_cell(), {"h": "hn"}),
    "packed": (packed(), {"s": "t"}),
    "past": (past(), {"p": "q"}),
    "past behind": (past(behind=True), {"p": "q"}),
    "gated": (gated(), {"s": "z"}),
    "last frame": (last_frame(), {"s": "t"}),
} | {
    path.stem: (path.read_bytes(), None) for path in CELLS if "backward" not in path.stem
}  # fmt: skip
"""Models, and what dataflow pairs in them; None: all inputs but ``x`` with the last outputs in order."""


def pairs(source: bytes) -> dict[str, str]:
    return {pair.input: pair.output for pair in tinyseq.load(source).state}


def renamed(source: bytes, draw) -> tuple[bytes, dict[str, str]]:
    """The model under other names of inputs and outputs, and the new names by the old ones."""
    made = onnx.load_from_string(source)
    edge = [v.name for v in (*made.graph.input, *made.graph.output)]
    words = [
        "h",
        "hn",
        "x",
        "input_1",
        "output_1",
        "state_in",
        "state_out",
        "c0",
        "cn",
        "past",
        "y",
        "next_h",
    ]
    new = dict(zip(edge, draw(st.permutations(words))))
    for node in made.graph.node:
        for names in (node.input, node.output):
            names[:] = [f"{name}." if name in words and name not in new else name for name in names]
            names[:] = [new.get(name, name) for name in names]
    for initializer in made.graph.initializer:
        initializer.name = f"{initializer.name}." if initializer.name in words else initializer.name
    for v in (*made.graph.input, *made.graph.output):
        v.name = new[v.name]
    return made.SerializeToString(), new


@pytest.mark.parametrize("name", FOUND)
def test_dataflow_finds_the_pairs(name):
    source, wanted = FOUND[name]
    if wanted is None:
        graph = onnx.load_from_string(source).graph
        given = [v.name for v in graph.input if v.name != "x"]
        wanted = dict(zip(given, [v.name for v in graph.output][-len(given) :]))
    assert pairs(source) == wanted


@pytest.mark.parametrize("name", FOUND)
@settings(max_examples=4)
@given(data=st.data())
def test_names_change_nothing(name, data):
    source = FOUND[name][0]
    other, new = renamed(source, data.draw)
    assert pairs(other) == {new[given]: new[result] for given, result in pairs(source).items()}


@pytest.mark.parametrize("name", [name for name, (_, wanted) in FOUND.items() if wanted is not None])
def test_a_stream_is_runs_that_hand_on_state(name):
    session = tinyseq.load(FOUND[name][0])
    stream, carried = session.stream(), {pair.input: pair.output for pair in session.state}
    state = {name: np.zeros_like(array) for name, array in stream.state.items()}
    assert all(np.any(array) for name, array in stream.state.items()) is (not state)
    for _ in range(3):
        feeds = {
            v.name: rng.standard_normal([1 if isinstance(size, str) else size for size in v.shape]).astype(
                "f"
            )
            for v in session.inputs
            if v.name not in carried
        }
        results = session.run(feeds | state)
        state = {name: results[output] for name, output in carried.items()}
        found = stream.step(feeds)
        assert list(found) == [v.name for v in stream.outputs]
        for name, array in found.items():
            np.testing.assert_array_equal(array, results[name])
    for name, array in stream.state.items():
        assert np.any(array)
        np.testing.assert_array_equal(array, state[name])


def test_states_in_another_order_are_no_pair():
    session = tinyseq.load(swapped())
    assert session.state == ()
    with pytest.raises(
        tinyseq.ModelError, match=r"begins at the input 's'.*load\(\.\.\., state={'s': 't'}\)"
    ):
        session.stream()
    assert "open    node" in str(session)


def test_a_cell_that_takes_input_and_state_alike_asks_which_is_which():
    session = tinyseq.load(twin_cells())
    assert session.state == ()
    line = r"say which with load\(\.\.\., state={'a': 't'}\) or load\(\.\.\., state={'b': 't'}\)"
    assert "'t' is the next value of 'a' or 'b': say which" in str(session)
    with pytest.raises(tinyseq.ModelError, match=line):
        session.stream()
    for state, data in ("ab", "ba"):
        stream = tinyseq.load(twin_cells(), state={state: "t"}).stream()
        run = session.run({state: np.zeros((1, H), np.float32), data: (x := np.ones((1, H), np.float32))})
        np.testing.assert_allclose(stream.step({data: x})["t"], run["t"], rtol=1e-6)
    named = onnx.load_from_string(twin_cells())
    named.graph.node[1].input[0] = named.graph.input[1].name = "hx"
    assert pairs(named.SerializeToString()) == {"hx": "t"}


@pytest.mark.parametrize(
    ("given", "result"), [("input_1", "output_1"), ("audio_in", "audio_out"), ("h", "hn")]
)
def test_what_a_layer_takes_for_data_is_no_state(given, result):
    nodes = [
        n("GRU", f"{given} w3 r3 _ _ s", "y4 t", hidden_size=H),
        n("Squeeze", "y4 one", "y"),
        n("Slice", "y zero far two", result),
    ]
    source = built(
        nodes, {given: ("T", "N", F), "s": (1, "N", H)}, {result: ("T", "N", "H"), "t": (1, "N", H)}
    )
    assert pairs(source) == {"s": "t"}


@pytest.mark.parametrize(("given", "result"), [("input_1", "output_1"), ("audio_in", "audio_out")])
def test_like_names_without_state_are_in_doubt(given, result):
    session = tinyseq.load(running_sum(given, result))
    assert session.state == ()
    line = rf"load\(\.\.\., state={{'{given}': '{result}'}}\)"
    stream, feeds = session.stream(), {"x": np.zeros((1, 3), np.float32)}
    for call in (stream.step, stream.finish):
        with pytest.raises(tinyseq.FeedError, match=line):
            call(feeds)
    with pytest.raises(tinyseq.ModelError, match=line):
        tinyseq.Decoder(session)


def without(source: bytes, *outputs: str) -> bytes:
    """The model with some outputs less."""
    made = onnx.load_from_string(source)
    kept = [v for v in made.graph.output if v.name not in outputs]
    del made.graph.output[:]
    made.graph.output.extend(kept)
    return made.SerializeToString()


@pytest.mark.parametrize("lost", [["cn"], ["hn", "cn"]])
def test_a_state_that_no_output_holds_is_led_out(lost):
    source = lstm_with_state()
    whole, stream = tinyseq.load(source).stream(), tinyseq.load(without(source, *lost)).stream()
    for _ in range(3):
        x = {"x": rng.standard_normal((2, 1, 3)).astype(np.float32)}
        np.testing.assert_array_equal(stream.step(x)["y"], whole.step(x)["y"])
    assert set(stream.state) == {"h", "c"}


def test_a_packed_state_that_no_output_holds_is_refused():
    session = tinyseq.load(without(packed(), "t"))
    with pytest.raises(tinyseq.ModelError, match=r"begins at the input 's'"):
        session.stream()


def test_final_states_that_are_outputs_are_given():
    nodes = [n("LSTM", "x w r", "y e c", hidden_size=H)]
    shape = (1, "N", H)
    for outputs in ({"e": shape}, {"e": shape, "c": shape}, {"y": ("T", 1, "N", H), "c": shape}):
        session = tinyseq.load(built(nodes, {"x": ("T", "N", F)}, outputs))
        x = {"x": rng.standard_normal((2, 1, F)).astype(np.float32)}
        stream = session.stream()
        for device in (stream, tinyseq.load(built(nodes, {"x": ("T", "N", F)}, outputs)).pool(1)):
            found = device.step(x) if device is stream else device.step([device.open()], x)
            assert set(found) == set(outputs) == {v.name for v in stream.outputs}
            for name, array in session.run(x).items():
                np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_state_that_is_given_out_is_that_before_the_step(device):
    nodes = [n("Add", "x h", "hn"), n("Identity", "h", "y")]
    shape = (1, 2)
    stream = tinyseq.load(
        built(nodes, {"x": shape, "h": shape}, {"y": shape, "hn": shape}), device=device
    ).stream()
    found = [stream.step({"x": np.ones(shape, np.float32)})["y"] for _ in range(3)]
    assert [array[0, 0] for array in found] == [0, 1, 2]
