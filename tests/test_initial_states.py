"""Initial states that a graph bakes in: where streams start, and one row for a whole batch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from onnx import helper

import tinyseq
from tests.models import model, recurrent, value
from tinyseq.errors import BroadcastWarning

H, F, T = 4, 3, 5
rng = np.random.default_rng(0)
X = rng.standard_normal((T, 3, F)).astype(np.float32)
WEIGHTS = {
    name: rng.uniform(-1, 1, shape).astype(np.float32)
    for name, shape in {
        "w0": (1, 3 * H, F), "r0": (1, 3 * H, H), "w1": (1, 3 * H, H), "r1": (1, 3 * H, H), "h": (2, 1, H),
    }.items()
}  # fmt: skip


def n(op: str, inputs: str, outputs: str, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), outputs.split()[0], **attributes)


SIZES = [n("Shape", "x", "rows", start=1, end=2), n("Concat", "layers rows hidden", "shape", axis=0)]
STARTS = {
    "zeros": [*SIZES, n("ConstantOfShape", "shape", "start")],
    "a number": [
        *SIZES,
        n("ConstantOfShape", "shape", "start", value=helper.make_tensor("v", 1, [1], [0.25])),
    ],
    "expanded zeros": [*SIZES, n("Expand", "zero shape", "start")],
    "learned rows": [*SIZES, n("Expand", "h shape", "start")],
    "computed": [*SIZES, n("Expand", "h shape", "wide"), n("Tanh", "wide", "start")],
}
"""How a graph makes the state of two layers, [2, rows, H], from the size of its batch."""


def two_layers(start: list) -> bytes:
    """Two GRU layers that cut their initial states out of one tensor, as PyTorch exports them."""
    nodes = [
        *start,
        n("Slice", "start zero1 one axis", "h0"), n("Slice", "start one two axis", "h1"),
        helper.make_node("GRU", ["x", "w0", "r0", "", "", "h0"], ["g0"], "first", hidden_size=H),
        n("Squeeze", "g0 one", "y0"),
        helper.make_node("GRU", ["y0", "w1", "r1", "", "", "h1"], ["g1"], "second", hidden_size=H),
        n("Squeeze", "g1 one", "y"),
    ]  # fmt: skip
    numbers = {"zero1": [0], "one": [1], "two": [2], "axis": [0], "layers": [2], "hidden": [H]}
    constants = WEIGHTS | {name: np.array(array) for name, array in numbers.items()} | {"zero": np.float32(0)}
    return model(nodes, [value("x", shape=("T", "N", F))], [value("y", shape=("T", "N", H))], constants)


@pytest.mark.parametrize("start", STARTS)
def test_states_made_from_the_size_of_the_batch_are_state_of_the_stream(start):
    session = tinyseq.load(two_layers(STARTS[start]))
    assert [pair.input for pair in session.state] == ["first.h", "second.h"]
    stream, row = session.stream(), X[:, :1]
    whole = session.run({"x": row})["y"]
    for _ in range(2):
        found = np.concatenate([stream.step({"x": chunk})["y"] for chunk in np.split(row, [1, 3])])
        np.testing.assert_array_equal(found, whole)
        stream.reset()


def test_a_state_that_an_input_decides_is_none_of_the_stream():
    context = [n("ReduceMean", "x axis", "mean", keepdims=1), n("MatMul", "mean turn", "one_h"),
               n("Concat", "one_h one_h", "start", axis=0)]  # fmt: skip
    WEIGHTS["turn"] = np.ones((F, H), np.float32)
    session = tinyseq.load(two_layers(context))
    assert session.state == ()
    with pytest.raises(tinyseq.ModelError, match="begins at tensor 'h0', which the inputs decide anew"):
        session.stream()


@pytest.mark.parametrize("layout", [None, 1])
@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_a_baked_state_of_one_row_starts_all_rows(isa, op, layout):
    case = recurrent(op, rows=1, initial=True, fed=[0], layout=layout, outputs=["y", "y_h"])
    x = case.feeds["x"]
    axis = 0 if layout else 1
    batch = np.concatenate([x, -x, x / 2], axis)
    session = tinyseq.load(case.model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = [session.run({"x": part}) for part in np.split(batch, 3, axis)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = session.run({"x": batch})
        for size in (2, 3, 1, 2):
            session.run({"x": batch[:, :size] if axis else batch[:size]})
    texts = [str(warning.message) for warning in caught]
    assert {warning.category for warning in caught} == {BroadcastWarning}
    assert len(texts) == 1 and "node 'it'" in texts[0]
    # With rows first they are the first dimension of every output, else the last but one.
    for name, at in (("y", axis * 2), ("y_h", axis)):
        whole = np.concatenate([one[name] for one in rows], at)
        np.testing.assert_array_equal(found[name], whole)


def test_a_fed_state_of_one_row_is_refused():
    case = recurrent("GRU", rows=1, initial=True)
    feeds = {name: np.repeat(array, 2, 1) if name == "x" else array for name, array in case.feeds.items()}
    with pytest.raises(tinyseq.FeedError, match=r"node 'it' .*initial_h of \[1, 1, 6\] where \[1, 2, 6\]"):
        tinyseq.load(case.model).run(feeds)
