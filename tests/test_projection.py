"""LSTMs whose hidden state is projected: reference, kernels, streams, and PyTorch's ``proj_size``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinyseq.converters import torch
from tinyseq.converters.weights import Weights

import tinyseq
from tests.models import one_node
from tests.strategies.recurrent import activations
from tinyseq.ir import gates

F, H, P, T, N = 5, 7, 3, 6, 2


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(sum(shape) + seed)
    return (rng.uniform(-1, 1, shape) / np.sqrt(H)).astype(np.float32)


def state_dict(suffix: str = "l0", features: int = F, seed: int = 0) -> dict[str, np.ndarray]:
    """What PyTorch calls the weights of ``nn.LSTM(F, H, proj_size=P)``."""
    return {
        f"weight_ih_{suffix}": weights(4 * H, features, seed=seed),
        f"weight_hh_{suffix}": weights(4 * H, P, seed=seed),
        f"bias_ih_{suffix}": weights(4 * H, seed=seed),
        f"bias_hh_{suffix}": weights(4 * H, seed=seed + 1),
        f"weight_hr_{suffix}": weights(P, H, seed=seed),
    }


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def formula(x, w_ih, w_hh, b_ih, b_hh, w_hr):
    """PyTorch's documentation of nn.LSTM, in float64: h_t = W_hr (o * tanh(c))."""
    h, c, outputs = np.zeros((x.shape[1], P)), np.zeros((x.shape[1], H)), []
    for frame in x.astype(np.float64):
        i, f, g, o = np.split(frame @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = (sigmoid(o) * np.tanh(c)) @ w_hr.T
        outputs.append(h)
    return np.stack(outputs), h, c


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


X = np.random.default_rng(0).standard_normal((T, N, F)).astype(np.float32)


def layer(**settings) -> tinyseq.Graph:
    """A graph of one projected layer, x -> y."""
    g = tinyseq.Graph()
    x = g.input("x", ["T", "N", F])
    for name, tensor in zip("yhc", g.lstm(x, list(state_dict().values()), layout="torch", **settings)):
        g.output(name, tensor)
    return g


def test_a_projected_layer_is_its_formula(isa):
    found = tinyseq.load(layer()).run({"x": X})
    y, h, c = formula(X, *state_dict().values())
    close(found["y"], y)
    close(found["h"][0], h)
    close(found["c"][0], c)


def test_pytorchs_layers_in_both_directions(isa):
    arrays = state_dict() | state_dict("l0_reverse", seed=3)
    arrays |= state_dict("l1", 2 * P, seed=5) | state_dict("l1_reverse", 2 * P, seed=8)
    g = tinyseq.Graph()
    with Weights({f"rnn.{name}": array for name, array in arrays.items()}) as named:
        results = torch.lstm(g, g.input("x", ["T", "N", F]), named, "rnn")
    for name, tensor in zip("yhc", results):
        g.output(name, tensor)
    found = tinyseq.load(g).run({"x": X})
    x = X
    for number in (0, 1):
        sides = []
        for suffix, run in (("", x), ("_reverse", x[::-1])):
            own = [array for name, array in arrays.items() if name.endswith(f"_l{number}{suffix}")]
            sides.append(formula(run, *own))
        x = np.concatenate([sides[0][0], sides[1][0][::-1]], -1)
        for place, (_, h, c) in enumerate(sides):
            close(found["h"][2 * number + place], h)
            close(found["c"][2 * number + place], c)
    close(found["y"], x)


def test_modules_of_pytorch_itself():
    nn = pytest.importorskip("torch.nn")
    made = nn.LSTM(F, H, 2, bidirectional=True, proj_size=P).eval()
    found = tinyseq.load(torch.from_module(made, ["T", "N", F])).run({"x": X})
    y, (h, c) = made(pytest.importorskip("torch").from_numpy(X))
    for name, tensor in (("y", y), ("h", h), ("c", c)):
        close(found[name], tensor.detach().numpy())


@st.composite
def layers_of_any_kind(draw) -> tuple[tinyseq.Graph, dict[str, np.ndarray]]:
    """A projected layer with all that an LSTM may have, and inputs for it."""
    frames, rows = draw(st.integers(0, 6)), draw(st.integers(0, 4))
    features, hidden, units = draw(st.integers(1, 5)), draw(st.integers(1, 40)), draw(st.integers(1, 20))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    count = 2 if direction == "bidirectional" else 1
    layout = draw(st.sampled_from([0, 1]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))

    def array(*shape):
        return (rng.uniform(-1, 1, shape) / np.sqrt(hidden)).astype(np.float32)

    def placed(values):
        return values.swapaxes(0, 1) if layout else values

    attributes = activations(draw, 3 * count) if draw(st.booleans()) else {}
    attributes = {name: value and tuple(value) for name, value in attributes.items()}
    g = tinyseq.Graph()
    feeds = {"x": placed(rng.standard_normal((frames, rows, features)).astype(np.float32))}
    inputs = [g.input("x", ["N", "T", features] if layout else ["T", "N", features])]
    inputs += [array(count, 4 * hidden, features), array(count, 4 * hidden, units)]
    inputs.append(array(count, 8 * hidden) if draw(st.booleans()) else None)
    inputs.append(None)
    if draw(st.booleans()):
        feeds["lengths"] = rng.integers(0, frames + 1, rows).astype(np.int32)
        inputs[-1] = g.input("lengths", ["N"], np.int32)
    for name, size in (("h", units), ("c", hidden)):
        given = draw(st.booleans())
        if given:
            feeds[name] = placed(array(count, rows, size))
        inputs.append(g.input(name, ["A", "B", size]) if given else None)
    inputs += [array(count, 3 * hidden) if draw(st.booleans()) else None, array(count, units, hidden)]
    results = g.apply(
        "LSTM", *inputs, outputs=3, hidden_size=hidden, direction=direction, layout=layout,
        input_forget=draw(st.sampled_from([0, 1])), clip=draw(st.sampled_from([None, 0.5])), **attributes,
    )  # fmt: skip
    for name, tensor in zip(("y", "y_h", "y_c"), results):
        g.output(name, tensor)
    return g, feeds


@given(case=layers_of_any_kind())
def test_any_projected_layer_agrees_with_the_reference(isa, case):
    graph, feeds = case
    found, exact = (tinyseq.load(graph, device=device).run(feeds) for device in ("cpu", "reference"))
    for name, array in exact.items():
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("cuts", [[1], [2, 3, 5], [1, 2, 3, 4, 5]])
def test_streams_keep_every_bit(isa, cuts, tmp_path):
    session = tinyseq.load(layer(name="layer"))
    session.save(tmp_path / "layer.tinyseq")
    session = tinyseq.load(tmp_path / "layer.tinyseq")
    whole = session.run({"x": X})["y"]
    for row in range(N):
        stream = session.stream()
        own = X[:, row : row + 1]
        found = np.concatenate([stream.step({"x": chunk})["y"] for chunk in np.split(own, cuts)])
        np.testing.assert_array_equal(found, whole[:, row : row + 1])
    shapes = {name: field.shape for name, field in stream.snapshot().items()}
    assert shapes == {"layer.h": (1, 1, P), "layer.c": (1, 1, H)}


def test_weights_that_do_not_fit_are_refused():
    wrong = list(state_dict().values())
    with pytest.raises(tinyseq.ModelError, match="the shapes do not fit each other"):
        gates.cells("LSTM", [*wrong[:4], weights(P + 1, H)], "torch")
    with pytest.raises(tinyseq.ModelError, match=r"2 to 4 weights, not 5"):
        gates.cells("GRU", wrong, "torch")
    g = tinyseq.Graph()
    with pytest.raises(tinyseq.ModelError, match="forward direction"):
        plain = [wrong[0], weights(4 * H, H), *wrong[2:4]]
        g.lstm(g.input("x", [T, N, F]), wrong, backward=plain, layout="torch")


def test_onnx_files_cannot_hold_projections():
    arrays = [X, weights(1, 4 * H, F), weights(1, 4 * H, P), *[None] * 5, weights(1, P, H)]
    case = one_node("LSTM", arrays, fed=[0], hidden_size=H)
    with pytest.raises(tinyseq.ModelError, match=r"node 'it' .* input 8"):
        tinyseq.load(case.model)
