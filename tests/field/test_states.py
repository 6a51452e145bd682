"""State: what carries it whatever it is called, what is given of it, what it must not remember."""

from __future__ import annotations

import numpy as np
import pytest

import tinyseq
from tests.field.written_out import drawn, file, lstm, node

FEATURES, UNITS, ROWS = 3, 4, 6
LAYER = drawn(w=(1, 4 * UNITS, FEATURES), r=(1, 4 * UNITS, UNITS))
ONE = {"one": np.array([1])}


def sound(frames: int = 7, rows: int = 1, width: int = FEATURES) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((frames, rows, width)).astype(np.float32)


# Names.


@pytest.mark.parametrize(
    ("given", "result"),
    [
        ("input_1", "output_1"),
        ("audio_in", "audio_out"),
        ("frame", "frame_out"),
        ("noisy", "clean"),
        ("h_in", "h_out"),
    ],
)
def test_data_of_like_names_is_data(given, result):
    weights = drawn(w=(1, 4 * UNITS, UNITS), r=(1, 4 * UNITS, UNITS))
    nodes = [node("LSTM", f"{given} w r", "y", hidden_size=UNITS), node("Squeeze", "y one", result)]
    shape = ["t", 1, UNITS]
    stream = tinyseq.load(file(nodes, {given: shape}, {result: shape}, weights | ONE)).stream()
    x = sound(width=UNITS)
    found = [stream.step({given: part})[result] for part in np.split(x, [1, 4])]
    np.testing.assert_allclose(np.concatenate(found), lstm(x, weights["w"], weights["r"])[0], atol=1e-6)


@pytest.mark.parametrize("name", ["tail", "past", "prev", "last", "cache_7", "input_1"])
@pytest.mark.parametrize("result", ["{}_out", "next", "output_1", "onnx::Slice_12"])
@pytest.mark.parametrize("told", [True, False])
def test_frames_of_the_past_are_state_whatever_they_are_called(name, result, told):
    """Whether or not the file tells the shapes of its outputs."""
    result = result.format(name)
    numbers = {"start": np.array([-2]), "end": np.array([2**62]), "one": np.array([1])}
    nodes = [
        node("Concat", f"{name} x", "all", axis=1),
        node("Slice", "all start end one", result),
        node("ReduceSum", "all", "y", keepdims=1),
    ]
    shapes = {"y": [1, 1], result: [1, 2]} if told else {"y": None, result: None}
    stream = tinyseq.load(file(nodes, {"x": [1, "n"], name: [1, 2]}, shapes, numbers)).stream()
    found = [float(stream.step({"x": np.float32([chunk])})["y"][0, 0]) for chunk in ([1, 2, 3], [4], [5, 6])]
    assert found == [6, 2 + 3 + 4, 3 + 4 + 5 + 6]
    assert stream.state[name].tolist() == [[5, 6]]


TOKENS, WIDTH = 6, 8
SPEAKER = {
    name: array * 5
    for name, array in drawn(
        6, table=(TOKENS, UNITS), w=(1, 4 * WIDTH, UNITS), r=(1, 4 * WIDTH, WIDTH), out=(WIDTH, TOKENS)
    ).items()
}
"""Weights so great that what it says depends on all that it has said."""


def speaker(h: str, c: str, h_next: str, c_next: str) -> bytes:
    """A language model of one token a step."""
    nodes = [
        node("Gather", "table tok", "e"),
        node("Unsqueeze", "e zero", "x"),
        node("LSTM", f"x w r _ _ {h} {c}", f"_ {h_next} {c_next}", hidden_size=WIDTH),
        node("Squeeze", f"{h_next} zero", "s"),
        node("MatMul", "s out", "logits"),
    ]
    state = [1, "batch", WIDTH]
    inputs, outputs = {"tok": ["batch"], h: state, c: state}, {"logits": ["batch", TOKENS]}
    constants = SPEAKER | {"zero": np.array([0])}
    return file(nodes, inputs, outputs | {h_next: state, c_next: state}, constants, tok=np.int64)


@pytest.mark.parametrize(
    "names",
    [("hidden", "cell", "h_n", "c_n"), ("h0", "c0", "hn", "cn"), ("6", "onnx::B", "getitem_2", "getitem_1")],
)
def test_generation_carries_its_state_whatever_it_is_called(names):
    h, c, token, wanted = np.zeros((1, WIDTH)), np.zeros((1, WIDTH)), 0, []
    for _ in range(12):
        _, h, c = lstm(SPEAKER["table"][None, [token]], SPEAKER["w"], SPEAKER["r"], h, c)
        token = int(np.argmax(h @ SPEAKER["out"]))
        wanted.append(token)
    assert wanted[:6] == [5, 2, 2, 3, 3, 5]  # 5, 2, 3, 5, 2, 3 without its state
    options = tinyseq.Greedy(decoder_start_token_id=0, max_new_tokens=12)
    for told in (None, dict(zip(names[:2], names[2:]))):
        decoder = tinyseq.Decoder(tinyseq.load(speaker(*names), state=told), scores="logits")
        ((found,),) = tinyseq.generate(decoder, {}, options)
        assert found.tokens == wanted


# What is given.


@pytest.mark.parametrize("wanted", [("h",), ("y", "h"), ("y", "h", "c"), ("h", "z"), ("c",)])
def test_final_states_that_are_outputs_are_those_of_the_frames_so_far(wanted):
    made = {"y": ["t", 1, 1, UNITS], "h": [1, 1, UNITS], "c": [1, 1, UNITS], "z": [1, 1, UNITS]}
    ports = [name if name in wanted else "_" for name in "yhc"]
    nodes = [node("LSTM", "x w r", " ".join(ports), hidden_size=UNITS)]
    nodes += [node("Relu", "h", "z")] if "z" in wanted else []
    source = file(nodes, {"x": ["t", 1, FEATURES]}, {name: made[name] for name in wanted}, LAYER)
    model, x = tinyseq.load(source), sound()
    stream = model.stream()
    assert [value.name for value in stream.outputs] == list(wanted)
    for start, end in ((0, 3), (3, 4), (4, 7)):
        found = stream.step({"x": x[start:end]})
        y, h, c = lstm(x[:end], LAYER["w"], LAYER["r"])
        right = {"y": y[start:, None], "h": h[None], "c": c[None], "z": np.maximum(h, 0)[None]}
        assert list(found) == list(wanted)
        for name, array in found.items():
            np.testing.assert_allclose(array, right[name], atol=1e-6)


# Rows.


def layer(rows: int | str, **settings) -> tinyseq.Session:
    nodes = [node("LSTM", "x w r", "l", hidden_size=UNITS), node("Squeeze", "l one", "y")]
    source = file(nodes, {"x": ["t", rows, FEATURES]}, {"y": ["t", rows, UNITS]}, LAYER | ONE)
    return tinyseq.load(source, **settings)


def test_a_model_of_a_fixed_batch_says_what_to_use_and_is_pooled():
    model, x = layer(ROWS), sound(rows=ROWS)
    with pytest.raises(
        tinyseq.ModelError, match=rf"node 'LSTM_l' \(LSTM\) runs on {ROWS} rows.*pool\({ROWS}\)"
    ):
        model.stream()
    pool = model.pool(ROWS)
    rows = [pool.open() for _ in range(ROWS)]
    found = [pool.step(rows, {"x": part})["y"] for part in np.split(x, [1, 4])]
    np.testing.assert_allclose(np.concatenate(found), lstm(x, LAYER["w"], LAYER["r"])[0], atol=1e-6)
    pool.reset(rows[2])
    again = pool.step(rows, {"x": x[:1]})["y"]
    np.testing.assert_allclose(again[:, 2], lstm(x[:1, 2:3], LAYER["w"], LAYER["r"])[0][:, 0], atol=1e-6)


def test_a_step_that_is_not_finite_is_not_remembered():
    """Later steps are right, of a stream and of all rows of a pool."""
    model, x = layer("rows"), sound(rows=2)
    poisoned = x[3:4].copy()
    poisoned[0, 1, 2] = np.nan
    stream, pool = model.stream(), model.pool(2)
    rows = [pool.open(), pool.open()]
    pool.step(rows, {"x": x[:3]})
    stream.step({"x": x[:3, 1:]})
    for act in (lambda: stream.step({"x": poisoned[:, 1:]}), lambda: pool.step(rows, {"x": poisoned})):
        with pytest.raises(tinyseq.FeedError, match="NaN or infinite"):
            act()
    y = lstm(x, LAYER["w"], LAYER["r"])[0]
    np.testing.assert_allclose(stream.step({"x": x[3:, 1:]})["y"], y[3:, 1:], atol=1e-6)
    np.testing.assert_allclose(pool.step(rows, {"x": x[3:]})["y"], y[3:], atol=1e-6)
    loose = layer("rows", finite=False).stream()
    loose.step({"x": poisoned[:, 1:]})
    assert np.isnan(loose.step({"x": x[:1, 1:]})["y"]).all()
