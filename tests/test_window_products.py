"""Convolutions whose windows are multiplied where they lie: right, with the bits that copies of them have."""

from __future__ import annotations

import itertools
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.models import Case, model, one_node, value
from tests.test_bits import same_bits
from tests.test_differential import agrees_with_onnxruntime, agrees_with_the_reference
from tests.test_lookup import instructions
from tinyseq.plan.lower import sliding


def convolution(seed: int, x: tuple, w: tuple, op: str = "Conv", **settings) -> Case:
    rng = np.random.default_rng(seed)
    filters = w[1] * settings.get("group", 1) if op == "ConvTranspose" else w[0]
    given = [rng.standard_normal(shape).astype(np.float32) for shape in (x, w, (filters,))]
    return one_node(op, given, fed=(0,), **settings)


@st.composite
def convolutions(draw) -> Case:
    """Of one to three axes, any steps between windows and between taps, forward and transposed."""
    axes = draw(st.integers(1, 3))
    op, groups = draw(st.sampled_from(["Conv", "Conv", "ConvTranspose"])), draw(st.sampled_from([1, 1, 2]))
    kernel = [draw(st.integers(1, 4 if axes > 1 else 20)) for _ in range(axes)]
    dilations = [draw(st.integers(1, 2)) for _ in range(axes)]
    room = {1: 60, 2: 14, 3: 5}[axes]
    sizes = [(size - 1) * d + 1 + draw(st.integers(0, room)) for size, d in zip(kernel, dilations)]
    channels, filters = draw(st.integers(1, 9)), draw(st.sampled_from([1, 2, 4, 5, 16, 17, 33]))
    joint = (filters * groups, channels) if op == "Conv" else (channels * groups, filters)
    return convolution(
        draw(st.integers(0, 99)),
        (draw(st.integers(1, 2)), channels * groups, *sizes),
        (*joint, *kernel),
        op,
        group=groups,
        dilations=dilations,
        strides=[draw(st.integers(1, 3)) for _ in range(axes)],
        pads=[draw(st.integers(0, 1)) for _ in range(2 * axes)] if op == "Conv" else None,
    )


def many(few: int = sliding.FEW):
    """All windows count as many, and all runs as long; up to ``few`` columns are few."""
    return mock.patch.multiple(sliding, MANY=0, LONG=1, FEW=few)


def copied(case: Case, **options) -> dict[str, np.ndarray]:
    with mock.patch.object(sliding, "MANY", 2**60):
        return tinyseq.load(case.model, **options).run(case.feeds)


@pytest.mark.parametrize("groups", list(itertools.permutations([1, 2, 4])))
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "ConvInteger"])
def test_convolutions_of_other_groups_with_the_same_weights(op, groups):
    rng, channels, filters = np.random.default_rng(0), 4, 8
    w = rng.standard_normal((filters, channels, 3)).astype(np.float32)
    if op == "ConvInteger":
        w = rng.integers(-9, 9, w.shape).astype(np.int8)
    nodes, inputs, feeds = [], [], {}
    for group in groups:
        wide = filters if op == "ConvTranspose" else channels * group
        x, name = rng.standard_normal((1, wide, 9)), f"x{group}"
        feeds[name] = np.rint(9 * x).astype(np.int8) if op == "ConvInteger" else x.astype(np.float32)
        inputs.append(value(name, feeds[name].dtype, [1, wide, 9]))
        nodes.append(helper.make_node(op, [name, "w"], [f"y{group}"], group=group))
    result = np.int32 if op == "ConvInteger" else np.float32
    file = model(nodes, inputs, [value(f"y{group}", result) for group in groups], {"w": w})
    agrees_with_the_reference(Case(file, feeds))


@given(convolutions(), st.sampled_from([0, 4, 40]))
def test_bits_are_those_of_copies(case, few):
    expected = copied(case)
    with many(few):
        found = tinyseq.load(case.model).run(case.feeds)
    same_bits(found["y"], expected["y"])


@given(convolutions())
def test_convolutions_are_right(case):
    with many():
        agrees_with_the_reference(case)


LARGE = {
    "two axes": convolution(0, (2, 16, 20, 40), (24, 16, 3, 3), pads=[1] * 4),
    "few filters": convolution(1, (1, 8, 12, 200), (2, 8, 3, 7), pads=[1, 3, 1, 3]),
    "short runs": convolution(2, (1, 1, 60, 60), (16, 1, 3, 3), strides=[2, 2]),
    "one axis, dilated": convolution(3, (1, 32, 700), (40, 32, 3), dilations=[9], pads=[9, 9]),
    "one axis, decimated": convolution(4, (1, 1, 3000), (1, 1, 256), strides=[2]),
    "three axes": convolution(5, (1, 4, 6, 12, 30), (3, 4, 3, 3, 3)),
}
"""Of numbers as they are in models."""


@pytest.mark.parametrize("name", LARGE)
def test_what_is_large_is_not_copied(name):
    case = LARGE[name]
    agrees_with_onnxruntime(case)
    found = instructions(tinyseq.load(case.model), case.feeds)
    assert (found["windows"] > 0) == (name != "three axes")


@pytest.mark.parametrize(
    "options", [{"threads": 2}, {"precision": "bfloat16"}, {"precision": "int8"}], ids=str
)
@pytest.mark.parametrize("name", LARGE)
def test_threads_and_precisions_give_what_copies_give(name, options):
    case = LARGE[name]
    found = tinyseq.load(case.model, **options).run(case.feeds)
    same_bits(found["y"], copied(case, **options)["y"])


def test_infinity_stays_in_its_windows():
    case = LARGE["few filters"]
    x = case.feeds["x"].copy()
    x[0, 0, 5, 100], x[0, 1, 7, 50] = np.inf, np.nan
    case = Case(case.model, {"x": x})
    same_bits(tinyseq.load(case.model).run(case.feeds)["y"], copied(case)["y"])
    assert np.isfinite(tinyseq.load(case.model).run(case.feeds)["y"]).mean() > 0.9


def test_no_filters_take_no_instruction():
    case = convolution(0, (1, 8, 20, 40), (0, 8, 3, 3))
    session = tinyseq.load(case.model)
    assert session.run(case.feeds)["y"].shape == (1, 0, 18, 38)
    assert "windows" not in instructions(session, case.feeds)
