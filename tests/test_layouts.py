"""What an op makes lies in memory as what it takes does, so that nothing is turned round and back."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

import tinyseq
from tests.models import Case, model, value
from tests.test_differential import agrees_with_onnxruntime
from tests.test_lookup import instructions

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def counted(nodes, x: np.ndarray, constants: dict[str, np.ndarray]) -> tuple[int, int]:
    """How many element by element instructions and products a model takes whose results are right."""
    case = Case(model(nodes, [value("x", shape=x.shape)], [value("y")], constants), {"x": x})
    agrees_with_onnxruntime(case)
    found = instructions(tinyseq.load(case.model), case.feeds)
    return found["elementwise"], found["linear"]


@pytest.mark.parametrize("first", [True, False])
def test_a_bias_before_or_behind_rows_with_a_batch_of_one(first):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["b", "p"] if first else ["p", "b"], ["s"]),
        helper.make_node("MatMul", ["s", "v"], ["y"]),
    ]
    constants = {"w": numbers(6, 8), "b": numbers(8), "v": numbers(8, 5)}
    assert counted(nodes, numbers(1, 7, 6), constants) == (1, 2)


def test_frames_put_around_those_of_a_convolution():
    """As circular padding is exported: the last frames, all and the first ones. Three copies, into what the
    second one takes as it lies; one more makes the output dense."""
    ends = {"zero": [0], "two": [2], "last": [-2], "all": [2**31 - 1], "time": [2]}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Slice", ["a", "last", "all", "time"], ["before"]),
        helper.make_node("Slice", ["a", "zero", "two", "time"], ["behind"]),
        helper.make_node("Concat", ["before", "a", "behind"], ["around"], axis=2),
        helper.make_node("Conv", ["around", "v"], ["y"]),
    ]
    constants = {name: np.array(place) for name, place in ends.items()}
    constants |= {"w": numbers(4, 3, 1), "v": numbers(5, 4, 5)}
    turned = 1  # x, as no convolution takes it
    assert counted(nodes, numbers(1, 3, 9), constants) == (turned + 3 + 1, 2)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_padding_of_a_convolution(mode):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Pad", ["a", "widths"], ["around"], mode=mode),
        helper.make_node("Conv", ["around", "v"], ["y"]),
    ]
    constants = {"w": numbers(4, 3, 1), "v": numbers(5, 4, 5), "widths": np.array([0, 0, 2, 0, 0, 2])}
    expected = {"constant": 1, "reflect": 3, "edge": 3}[mode]
    turned, dense = 1, 1
    assert counted(nodes, numbers(1, 3, 9), constants) == (turned + expected + dense, 2)
