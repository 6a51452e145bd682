"""Layers that do not wait for each other run frame by frame together, with the bits that each gives alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.models import GATES, model, value
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
    kind: str, layers: list[dict], direction: str, device: str = "cpu", **attributes
) -> tinyseq.Session:
    """Layers of one input, each with an output of its own."""
    nodes = [
        helper.make_node(
            kind,
            ["x", *(f"{name}{number}" for name in own)],
            [f"y{number}"],
            hidden_size=own["r"].shape[2],
            direction=direction,
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


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(list(GATES)),
    hidden=st.sampled_from([1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 24]),
    frames=st.integers(1, 5),
    rows=st.sampled_from([1, 1, 2, 3, 70]),
    count=st.integers(1, 3),
    both=st.booleans(),
    before=st.booleans(),
    seed=st.integers(0, 99),
)
def test_layers_give_the_bits_that_each_gives_alone(kind, hidden, frames, rows, count, both, before, seed):
    attributes = {"linear_before_reset": 0 if before else 1} if kind == "GRU" else {}
    direction = "bidirectional" if both else "forward"
    layers = [weights(kind, hidden, 1 + both, seed + number) for number in range(count)]
    x = np.random.default_rng(seed).standard_normal((frames, rows, FEATURES)).astype(np.float32)
    together = beside(kind, layers, direction, **attributes).run({"x": x})
    exact = beside(kind, layers, direction, "reference", **attributes).run({"x": x})
    for number, own in enumerate(layers):
        np.testing.assert_array_equal(together[f"y{number}"], alone(kind, own, x, **attributes))
        np.testing.assert_allclose(together[f"y{number}"], exact[f"y{number}"], atol=2e-6)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("hidden", [4, 8, 32])
def test_on_every_instruction_set_they_do(isa, kind, hidden):
    own = weights(kind, hidden, 2, 0)
    x = np.random.default_rng(0).standard_normal((9, 3, FEATURES)).astype(np.float32)
    made = beside(kind, [own], "bidirectional").run({"x": x})["y0"]
    np.testing.assert_array_equal(made, alone(kind, own, x))


def together(layers: list[dict], rows: int = 1, kind: str = "GRU", **attributes) -> int:
    """How many instructions say that layers run together."""
    session = beside(kind, layers, "bidirectional", **attributes)
    return instructions(session, {"x": np.zeros((4, rows, FEATURES), np.float32)})["abreast"]


def test_small_layers_that_are_alike_run_together():
    small, others = weights("GRU", 4, 2, 0), weights("GRU", 5, 2, 0)
    assert together([small]) == together([small] * 3) == 1
    assert together([small, others]) == 2
    assert together([weights("GRU", MOST_UNITS, 2, 0)]) == 1
    assert together([weights("GRU", MOST_UNITS + 1, 2, 0)]) == together([small], rows=MOST_UNITS) == 0


def test_layers_of_named_activations_run_apart():
    assert together([weights("RNN", 4, 2, 0)], kind="RNN", activations=["Relu", "Relu"]) == 0
