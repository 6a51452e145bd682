"""The reference where onnxruntime cannot tell: layouts, empty sequences, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.models import Case, graph, model, recurrent, value
from tests.strategies import LAYERS
from tinyseq.kernels.activations import ACTIVATIONS

DIRECTIONS = ("forward", "reverse", "bidirectional")


def results_of(case: Case) -> dict[str, np.ndarray]:
    return tinyseq.load(case.model, device="reference").run(case.feeds)


@pytest.mark.parametrize("op", LAYERS)
@given(
    frames=st.integers(0, 5),
    rows=st.integers(0, 3),
    direction=st.sampled_from(DIRECTIONS),
    initial=st.booleans(),
    data=st.data(),
)
def test_rows_first_is_frames_first_turned(op, frames, rows, direction, initial, data):
    lengths = data.draw(st.none() | st.lists(st.integers(0, frames), min_size=rows, max_size=rows))
    settings = {"lengths": lengths, "initial": initial, "direction": direction}
    frames_first = results_of(recurrent(op, frames, rows, **settings))
    rows_first = results_of(recurrent(op, frames, rows, layout=1, **settings))
    y = rows_first.pop("y")
    np.testing.assert_array_equal(y.transpose(1, 2, 0, 3), frames_first.pop("y"))
    for name, state in rows_first.items():
        np.testing.assert_array_equal(state.swapaxes(0, 1), frames_first[name])


@pytest.mark.parametrize("op", LAYERS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_no_frames_leave_the_state(op, direction):
    case = recurrent(op, 0, 2, initial=True, direction=direction)
    results = results_of(case)
    assert results["y"].shape == (0, 2 if direction == "bidirectional" else 1, 2, 6)
    np.testing.assert_array_equal(results["y_h"], case.feeds["initial_h"])


@pytest.mark.parametrize("op", LAYERS)
def test_a_rows_first_layer_streams(op):
    case = recurrent(op, 9, layout=1, outputs=["y"])
    session = tinyseq.load(case.model, device="reference")
    stream = session.stream()
    pieces = [stream.step({"x": x})["y"] for x in np.split(case.feeds["x"], [2, 3], axis=1)]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), session.run(case.feeds)["y"], rtol=1e-12)


def cell(name: str, x: float, alpha: float, beta: float) -> float:
    """The functions of cells, one number at a time, as the specification's table has them."""
    return {
        "Relu": lambda: max(0.0, x),
        "Tanh": lambda: (1 - np.exp(-2 * x)) / (1 + np.exp(-2 * x)),
        "Sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "Affine": lambda: alpha * x + beta,
        "LeakyRelu": lambda: x if x >= 0 else alpha * x,
        "ThresholdedRelu": lambda: x if x > alpha else 0.0,
        "ScaledTanh": lambda: alpha * np.tanh(beta * x),
        "HardSigmoid": lambda: min(max(alpha * x + beta, 0.0), 1.0),
        "Elu": lambda: x if x >= 0 else alpha * (np.exp(x) - 1),
        "Softsign": lambda: x / (1 + abs(x)),
        "Softplus": lambda: np.log(1 + np.exp(x)),
    }[name]()


PARAMETERS = {
    "Affine": (0.5, 0.25),
    "LeakyRelu": (0.125, None),
    "ThresholdedRelu": (0.25, None),
    "ScaledTanh": (0.75, 0.5),
    "HardSigmoid": (0.25, 0.5),
    "Elu": (0.5, None),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("clip", [None, 0.25])
def test_activations_are_those_of_the_specification(name, clip):
    """A layer of one unit, written out number by number."""
    alpha, beta = PARAMETERS.get(name, (None, None))
    lists = {f"activation_{k}": None if v is None else [v] for k, v in (("alpha", alpha), ("beta", beta))}
    case = recurrent("RNN", 6, features=1, hidden=1, activations=[name], clip=clip, fed=range(7), **lists)
    w, r, b = (case.feeds[key].astype(float).ravel() for key in "wrb")
    h, wanted = 0.0, []
    for x in case.feeds["x"].astype(float).ravel():
        total = x * w[0] + h * r[0] + b.sum()
        h = cell(name, total if clip is None else min(max(total, -clip), clip), alpha, beta)
        wanted.append(h)
    np.testing.assert_allclose(results_of(case)["y"].ravel(), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("clip", [None, 0.25])
@pytest.mark.parametrize("input_forget", [0, 1])
def test_an_lstm_is_that_of_the_specification(clip, input_forget):
    """One unit, written out number by number, with peepholes."""
    case = recurrent(
        "LSTM", 6, features=1, hidden=1, initial=True, peepholes=True, clip=clip, input_forget=input_forget,
        fed=range(8),
    )  # fmt: skip
    w, r, p = (case.feeds[key].astype(float).ravel() for key in "wrp")
    b = case.feeds["b"].astype(float).reshape(2, 4).sum(0)
    h, c = (case.feeds[key].astype(float).item() for key in ("initial_h", "initial_c"))

    def act(name: str, x: float) -> float:
        return cell(name, x if clip is None else min(max(x, -clip), clip), 0, 0)

    wanted = []
    for x in case.feeds["x"].astype(float).ravel():
        i, o, f, g = x * w + h * r + b
        i = act("Sigmoid", i + p[0] * c)
        f = 1 - i if input_forget else act("Sigmoid", f + p[2] * c)
        c = f * c + i * act("Tanh", g)
        h = act("Sigmoid", o + p[1] * c) * act("Tanh", c)
        wanted.append(h)
    results = results_of(case)
    np.testing.assert_allclose(results["y"].ravel(), wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(results["y_c"].item(), c, rtol=1e-12, atol=1e-12)


def counted_loop(trips: int) -> Case:
    """Doubles x so many times; the body's condition says stop at once."""
    body = graph(
        [helper.make_node("Add", ["v", "v"], ["w"]), helper.make_node("Identity", ["w"], ["trace"])],
        [value("turn", np.int64, ()), value("go", bool, ()), value("v", shape=(2,))],
        [value("stop", bool, ()), value("w", shape=(2,)), value("trace", shape=(2,))],
        {"stop": np.array(False)},
    )
    node = helper.make_node("Loop", ["trips", "", "x"], ["y", "traces"], body=body)
    inputs = [value("trips", np.int64, ()), value("x", shape=(2,))]
    feeds = {"trips": np.array(trips), "x": np.array([1, 2], np.float32)}
    return Case(model([node], inputs, [value("y"), value("traces")]), feeds)


@pytest.mark.parametrize("trips", [0, 1, 3])
def test_a_counted_loop_ignores_what_its_body_says_of_the_end(trips):
    results = results_of(counted_loop(trips))
    np.testing.assert_array_equal(results["y"], np.array([1, 2]) * 2**trips)
    wanted = [np.array([1, 2]) * 2 ** (turn + 1) for turn in range(trips)]
    np.testing.assert_array_equal(results["traces"], np.reshape(wanted, (trips, 2)))


@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"activations": ["Swish"]}, "Swish"),
        ({"activations": ["Tanh", "Tanh"]}, "2 activations where 1"),
        ({"activations": ["Tanh"], "activation_alpha": [0.5]}, "activation_alpha has 1 more"),
        ({"activations": ["ScaledTanh"]}, "no default alpha"),
        ({"activation_beta": [0.5]}, "without activations"),
        ({"clip": -1.0}, "clip"),
    ],
)
def test_lists_that_do_not_fit_are_refused(attributes, word):
    with pytest.raises(tinyseq.ModelError, match=rf"node 'it' \(RNN\).*{word}"):
        tinyseq.load(recurrent("RNN", **attributes).model)
