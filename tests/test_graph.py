"""Models written in Python, their layers against formulas written here on their own."""

from __future__ import annotations

import numpy as np
import pytest

import tinyseq
from tinyseq.ir import gates

RNG = np.random.default_rng(0)
T, N, F, H = 6, 3, 4, 5
X = RNG.standard_normal((T, N, F)).astype(np.float32)


def weights(*shape: int) -> np.ndarray:
    return RNG.uniform(-0.5, 0.5, shape).astype(np.float32)


def torch_weights(count: int) -> list[np.ndarray]:
    rows = count * H
    return [weights(rows, F), weights(rows, H), weights(rows), weights(rows)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, w_ih, w_hh, b_ih, b_hh):
    """PyTorch's LSTM, gates in the order i, f, g, o."""
    h = c = np.zeros((x.shape[1], H))
    frames = []
    for frame in x:
        i, f, g, o = np.split(frame @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        frames.append(h)
    return np.array(frames), h, c


def gru(x, w_ih, w_hh, b_ih, b_hh):
    """PyTorch's GRU, gates in the order r, z, n."""
    h = np.zeros((x.shape[1], H))
    frames = []
    for frame in x:
        (r, z, n), (hr, hz, hn) = np.split(frame @ w_ih.T + b_ih, 3, -1), np.split(h @ w_hh.T + b_hh, 3, -1)
        n = np.tanh(n + sigmoid(r + hr) * hn)
        z = sigmoid(z + hz)
        h = (1 - z) * n + z * h
        frames.append(h)
    return np.array(frames), h


def rnn(x, w_ih, w_hh, b_ih, b_hh):
    h = np.zeros((x.shape[1], H))
    frames = []
    for frame in x:
        h = np.tanh(frame @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
        frames.append(h)
    return np.array(frames), h


CELLS = {"lstm": (lstm, 4), "gru": (gru, 3), "rnn": (rnn, 1)}


def run(graph: tinyseq.Graph, **feeds) -> list[np.ndarray]:
    return list(tinyseq.load(graph).run(feeds).values())


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", CELLS)
def test_a_recurrent_layer_is_its_formula(kind):
    formula, count = CELLS[kind]
    given = torch_weights(count)
    g = tinyseq.Graph()
    y, h, *_ = getattr(g, kind)(g.input("x", ["T", "N", F]), given, layout="torch")
    g.output("y", y)
    g.output("h", h)
    y, h = run(g, x=X)
    wanted = formula(X, *given)
    close(y, wanted[0])
    close(h[0], wanted[1])


@pytest.mark.parametrize("kind", CELLS)
def test_the_backward_direction_runs_from_the_end(kind):
    formula, count = CELLS[kind]
    one, other = torch_weights(count), torch_weights(count)
    g = tinyseq.Graph()
    y, h, *_ = getattr(g, kind)(g.input("x", ["T", "N", F]), one, backward=other, layout="torch")
    g.output("y", y)
    g.output("h", h)
    y, h = run(g, x=X)
    close(y, np.concatenate([formula(X, *one)[0], formula(X[::-1], *other)[0][::-1]], -1))
    close(h[1], formula(X[::-1], *other)[1])


def test_layouts_of_the_same_weights_are_the_same_cells():
    w_ih, w_hh, b_ih, b_hh = torch_weights(4)
    torch = gates.cells("LSTM", [w_ih, w_hh, b_ih, b_hh], "torch")
    keras = gates.cells("LSTM", [w_ih.T, w_hh.T, np.stack([b_ih, b_hh])], "keras")
    onnx = gates.cells("LSTM", [torch.w, torch.r, torch.b], "onnx")
    for other in (keras, onnx):
        for array, right in ((torch.w, other.w), (torch.r, other.r), (torch.b, other.b)):
            np.testing.assert_array_equal(array, right)
    i, f, _, o = np.split(w_ih, 4)
    np.testing.assert_array_equal(torch.w[0, : 3 * H], np.concatenate([i, o, f]))


def test_state_that_a_graph_names_is_carried_by_streams():
    given = torch_weights(4)
    g = tinyseq.Graph()
    x, h, c = g.input("x", ["T", "N", F]), g.input("h", [1, "N", H]), g.input("c", [1, "N", H])
    y, hn, cn = g.lstm(x, given, layout="torch", h=h, c=c)
    g.output("y", g.dense(y, np.eye(H)))
    g.output("hn", hn, carries="h")
    g.output("cn", cn, carries="c")
    model = tinyseq.load(g)
    assert [(pair.input, pair.output) for pair in model.state] == [("h", "hn"), ("c", "cn")]
    stream = model.stream()
    found = [stream.step({"x": X[t : t + 1, :1]})["y"][0] for t in range(T)]
    close(found, lstm(X[:, :1], *given)[0])


def test_other_layers_are_their_formulas():
    kernel, bias, w, b = weights(2, F, 3), weights(2), weights(2, 7), weights(7)
    g = tinyseq.Graph()
    x = g.input("x", ["N", F, "L"])
    y = g.relu(g.conv1d(x, kernel, bias, padding=(2, 0)))
    y = g.dense(g.transpose(y, [0, 2, 1]), w, b)
    y = g.concat([g.tanh(y), g.sigmoid(g.mul(y, 2.0))], axis=-1)
    g.output("y", g.slice(g.add(y, 1), -1, 0, -1))
    x = X.transpose(1, 2, 0)
    padded = np.pad(x, ((0, 0), (0, 0), (2, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 3, -1)
    y = np.maximum(np.einsum("nclk,fck->nlf", windows, kernel) + bias, 0) @ w + b
    close(run(g, x=x)[0], (np.concatenate([np.tanh(y), sigmoid(2 * y)], -1) + 1)[..., :-1])


def test_an_input_may_be_an_output_and_one_tensor_two():
    g = tinyseq.Graph()
    x = g.input("x", [2])
    y = g.apply("Neg", x)
    g.output("x", x)
    g.output("y", y)
    g.output("z", y)
    x = np.ones(2, np.float32)
    close(run(g, x=x), [x, -x, -x])


def test_a_convolution_of_no_channels_is_its_bias():
    g = tinyseq.Graph()
    x = g.input("x", ["rows", "channels", 5])
    g.output("y", g.conv1d(x, np.zeros((2, 0, 3), np.float32), np.array([1, 2], np.float32)))
    y = tinyseq.load(g).run({"x": np.zeros((1, 0, 5), np.float32)})["y"]
    np.testing.assert_array_equal(y, np.array([[[1, 1, 1], [2, 2, 2]]], np.float32))


def test_a_graph_can_be_saved(tmp_path):
    g = tinyseq.Graph()
    g.output("y", g.gru(g.input("x", ["T", "N", F]), torch_weights(3), layout="torch")[0])
    tinyseq.load(g).save(tmp_path / "gru.tinyseq")
    np.testing.assert_array_equal(tinyseq.load(tmp_path / "gru.tinyseq").run({"x": X})["y"], run(g, x=X)[0])


def built(act) -> None:
    g = tinyseq.Graph()
    act(g, g.input("x", ["T", "N", F]))
    tinyseq.load(g)


WRONG = {
    "no output": (lambda g, x: None, "no output"),
    "unknown tensor": (lambda g, x: g.relu("z"), "'z'"),
    "output of no tensor": (lambda g, x: g.output("y", "z"), "'z'"),
    "doubled input": (lambda g, x: g.input("x", [1]), "'x'"),
    "doubled output": (lambda g, x: [g.output("y", g.relu(x)) for _ in range(2)], "'y'"),
    "unknown op": (lambda g, x: g.apply("Fly", x), "Fly"),
    "unknown attribute": (lambda g, x: g.apply("Relu", x, colour=1), "colour"),
    "missing attribute": (lambda g, x: g.apply("Concat", x), "axis"),
    "words for numbers": (lambda g, x: g.add(x, np.array(["a"])), "give numbers"),
    "rags for numbers": (lambda g, x: g.add(x, [[1], [2, 3]]), "no array"),
    "a size that is no whole number": (lambda g, x: g.reshape(x, [1.5, -1]), "[1.5, -1]"),
    "an axis beyond int64": (lambda g, x: g.squeeze(x, [2**70]), "whole numbers"),
    "a place that is no number": (lambda g, x: g.slice(x, 0, None, 1), "whole numbers"),
    "an order that is no list": (lambda g, x: g.transpose(x, 1), "order"),
    "tensors that are no list": (lambda g, x: g.concat(3, axis=0), "tensors"),
    "a shape that is no list": (lambda g, x: g.input("z", 3), "list of sizes"),
    "an unknown type": (lambda g, x: g.input("z", [3], "float33"), "float33"),
    "a name that is no word": (lambda g, x: g.output({}, x), "{}"),
    "a layer's name that is no word": (lambda g, x: g.dense(x, x, name={1}), "{1}"),
    "an output that is no name": (lambda g, x: g.output("y", [x]), "['x']"),
    "an op that is no word": (lambda g, x: g.apply(["Relu"], x), "['Relu']"),
    "no outputs": (lambda g, x: g.apply("Relu", x, outputs=0), "1 to 1"),
    "too many outputs": (lambda g, x: g.apply("Split", x, outputs=2**40), "1 to"),
    "weights that are none": (lambda g, x: g.lstm(x, None, layout="torch"), "in a list"),
    "weights that are numbers": (lambda g, x: g.lstm(x, [1, 2], layout="torch"), "single number"),
    "carries to nothing": (lambda g, x: g.output("y", g.relu(x), carries="h"), "'h'"),
    "one state from two outputs": (
        lambda g, x: [g.output(name, g.relu(x), carries=x) for name in "yz"], "already"
    ),
    "unknown layout": (lambda g, x: g.lstm(x, torch_weights(4), layout="lua"), "'lua'"),
    "too few weights": (lambda g, x: g.lstm(x, torch_weights(4)[:1], layout="torch"), "2 to 5"),
    "weights of another kind": (lambda g, x: g.lstm(x, torch_weights(3), layout="torch"), "[15, 4]"),
    "directions that differ": (
        lambda g, x: g.gru(
            x, torch_weights(3), layout="torch", backward=[weights(15, 9), weights(15, H)]
        ),
        "[1, 15, 9]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("act", "word"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_refused(act, word):
    with pytest.raises(tinyseq.ModelError) as caught:
        built(act)
    assert word in str(caught.value)
