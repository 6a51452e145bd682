"""Layers that do not wait for each other run frame by frame together, with the bits that each gives alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.models import GATES, model, value
from tests.test_in_blocks import small
from tests.test_lookup import instructions
from tinyseq.plan.abreast import MOST_UNITS

FEATURES = 3


def weights(kind: str, hidden: int, directions: int, seed: int) -> dict[str, np.ndarray]:
    rng, gates = np.random.default_rng(seed), GATES[kind]
    shapes = {"w": (gates * hidden, FEATURES), "r": (gates * hidden, hidden), "b": (2 * gates * hidden,)}
    return {
        name: rng.uniform(-1, 1, (directions, *shape)).astype(np.float32) for name, shape in shapes.items()
    }


def beside(
    kind: str, layers: list[dict], direction: str = "forward", device: str = "cpu", **attributes
) -> tinyseq.Session:
    """Layers of one input, each with an output of its own; those with weights of two directions run in both,
    the others in ``direction``."""
    nodes = [
        helper.make_node(
            kind,
            ["x", *(f"{name}{number}" for name in own)],
            [f"y{number}"],
            hidden_size=own["r"].shape[2],
            direction=direction if len(own["r"]) == 1 else "bidirectional",
            **attributes,
        )
        for number, own in enumerate(layers)
    ]
    constants = {f"{name}{number}": array for number, own in enumerate(layers) for name, array in own.items()}
    outputs = [value(f"y{number}") for number in range(len(layers))]
    return tinyseq.load(
        model(nodes, [value("x", shape=["t", "n", FEATURES])], outputs, constants), device=device
    )


def alone(kind: str, own: dict, x: np.ndarray, **attributes) -> np.ndarray:
    """What a layer gives whose directions and rows run one after the other."""
    directions = []
    for d, direction in enumerate(("forward", "reverse")[: len(own["r"])]):
        session = beside(
            kind, [{name: array[d : d + 1] for name, array in own.items()}], direction, **attributes
        )
        rows = [session.run({"x": x[:, n : n + 1]})["y0"] for n in range(x.shape[1])]
        directions.append(np.concatenate(rows, 2))
    return np.concatenate(directions, 1)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(list(GATES)),
    hidden=st.sampled_from([1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 24]),
    frames=st.integers(1, 5),
    rows=st.sampled_from([1, 1, 2, 3, 70]),
    directions=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    before=st.booleans(),
    seed=st.integers(0, 99),
)
def test_layers_give_the_bits_that_each_gives_alone(kind, hidden, frames, rows, directions, before, seed):
    attributes = {"linear_before_reset": 0 if before else 1} if kind == "GRU" else {}
    layers = [weights(kind, hidden, count, seed + number) for number, count in enumerate(directions)]
    x = np.random.default_rng(seed).standard_normal((frames, rows, FEATURES)).astype(np.float32)
    together = beside(kind, layers, **attributes).run({"x": x})
    exact = beside(kind, layers, device="reference", **attributes).run({"x": x})
    for number, own in enumerate(layers):
        np.testing.assert_array_equal(together[f"y{number}"], alone(kind, own, x, **attributes))
        np.testing.assert_allclose(together[f"y{number}"], exact[f"y{number}"], atol=2e-6)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("hidden", [4, 8, 32])
def test_on_every_instruction_set_they_do(isa, kind, hidden):
    own = weights(kind, hidden, 2, 0)
    x = np.random.default_rng(0).standard_normal((9, 3, FEATURES)).astype(np.float32)
    made = beside(kind, [own]).run({"x": x})["y0"]
    np.testing.assert_array_equal(made, alone(kind, own, x))


def together(layers: list[dict], rows: int = 1, kind: str = "GRU", **attributes) -> int:
    """How many instructions say that layers run together."""
    session = beside(kind, layers, **attributes)
    return instructions(session, {"x": np.zeros((4, rows, FEATURES), np.float32)})["abreast"]


def test_small_layers_that_are_alike_run_together():
    small, others = weights("GRU", 4, 2, 0), weights("GRU", 5, 2, 0)
    assert together([small]) == together([small] * 3) == 1
    assert together([small, others]) == 2
    assert together([weights("GRU", MOST_UNITS, 2, 0)]) == 1
    assert together([weights("GRU", MOST_UNITS + 1, 2, 0)]) == together([small], rows=MOST_UNITS) == 0


def test_layers_of_named_activations_run_apart():
    assert together([weights("RNN", 4, 2, 0)], kind="RNN", activations=["Relu", "Relu"]) == 0


def test_layers_of_one_direction_and_of_two_run_apart_where_their_outputs_lie_otherwise():
    one, two = weights("LSTM", 4, 1, 0), weights("LSTM", 4, 2, 1)
    assert together([one, two], kind="LSTM") == 1  # the two directions of the second


@pytest.mark.parametrize("far, near", [(8, 64), (64, 512)])
def test_elementwise_instructions_between_and_behind_layers_may_run_in_blocks(far, near):
    """Two layers with instructions of their input between them, and some behind both."""
    graph = tinyseq.Graph()
    x = graph.input("x", ["t", 1, 4])
    layers = []
    for seed in range(2):
        made = np.random.default_rng(seed)
        w, r, b = (
            made.uniform(-1, 1, shape).astype(np.float32) for shape in ((2, 16, 4), (2, 16, 4), (2, 32))
        )
        layers.append(graph.apply("LSTM", x, w, r, b, hidden_size=4, direction="bidirectional"))
        x = graph.apply("Tanh", graph.apply("Neg", graph.apply("Sigmoid", x))) if seed == 0 else x
    y = graph.apply("Relu", graph.add(graph.mul(layers[0], np.float32(2)), layers[1]))
    graph.output("y", graph.apply("MatMul", y, np.eye(4, dtype=np.float32)))
    feeds = {"x": np.random.default_rng(2).standard_normal((40, 1, 4)).astype(np.float32)}
    with small(far, near):
        session = tinyseq.load(graph)
        found = session.run(feeds)["y"]
        counts = instructions(session, feeds)
    assert counts["abreast"] and counts["blocks"]
    np.testing.assert_allclose(found, tinyseq.load(graph, device="reference").run(feeds)["y"], atol=2e-6)
