"""Places that planning knows: evenly spaced ones cost no instruction or a copy, whatever moves there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyseq
from tests.models import Case, one_node
from tests.test_lookup import instructions
from tinyseq.kernels.instructions import APART, INSTRUCTIONS, OVERWRITE
from tinyseq.plan.lower.places import Table
from tinyseq.plan.packing import PackedWeights
from tinyseq.plan.planner import Planner


def ran(case: Case) -> tuple[np.ndarray, dict]:
    """What a case gives, and its instructions by name."""
    session = tinyseq.load(case.model)
    return session.run(case.feeds)["y"], instructions(session, case.feeds)


def stores(case: Case) -> list[int]:
    """What the scatters of a case's program do."""
    session = tinyseq.load(case.model)
    model = session._simple
    planner = Planner(model, PackedWeights(model.graph.constants.values()))
    words = planner.draft({name: x.shape for name, x in case.feeds.items()}, {}).plan().program.tolist()
    found, place = [], 0
    while place < len(words):
        row = words[place : place + words[place + 1]]
        instruction = INSTRUCTIONS[row[0]]
        if "store" in instruction.operands:
            found.append(row[2 + instruction.operands.index("store")])
        place += len(row)
    return found


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


@settings(deadline=None)
@given(
    start=st.integers(-9, 9),
    steps=st.lists(st.integers(-3, 3), min_size=0, max_size=3),
    sizes=st.lists(st.integers(1, 3), min_size=3, max_size=3),
)
def test_indices_spaced_evenly_are_a_view(start, steps, sizes):
    shape = tuple(sizes[: len(steps)])
    indices = start + sum((step * at for step, at in zip(steps, np.indices(shape))), np.zeros(shape, int))
    x = numbers(2, 40, 3)
    case = one_node("Gather", [x, indices], fed=(0,), axis=1)
    y, found = ran(case)
    np.testing.assert_array_equal(y, np.take(x, indices, 1, mode="wrap"))
    # Across the start they count from the other end, and are two runs in one dimension.
    mixed = indices.size and indices.min() < 0 <= indices.max()
    assert found["gather"] == 0 or mixed
    assert sum(found.values()) == 1 or mixed


@pytest.mark.parametrize("count, copies", [(4, 4), (30, 0)])
def test_scattered_picks_are_few_copies_or_one_gather(count, copies):
    picks = np.random.default_rng(3).permutation(np.arange(0, 3 * count, 3) % 40)[:count]
    picks = np.array([0, 5, 11, 12, 30, 2, 9, 1]) if copies else picks
    x = numbers(2, 40, 3)
    y, found = ran(one_node("Gather", [x, picks], fed=(0,), axis=1))
    np.testing.assert_array_equal(y, x[:, picks])
    assert (found["gather"] == 0) == bool(copies)
    assert found["elementwise"] <= max(copies + 1, 2)


def scattered(x: np.ndarray, places: np.ndarray, updates: np.ndarray, reduction: str | None = None) -> Case:
    return one_node("ScatterND", [x, places, updates], fed=(0, 2), opset=18, reduction=reduction)


@pytest.mark.parametrize("reduction", [None, "add", "mul", "max"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_scatter_that_fills_a_box_moves_nothing_one_by_one(reduction, turned):
    x, updates = numbers(4, 6, 5), numbers(2, 3, 5) + 1
    rows, columns = np.meshgrid([3, 1] if turned else [-4, -2], [0, 2, 4], indexing="ij")
    case = scattered(x, np.stack([rows, columns], -1), updates, reduction)
    y, found = ran(case)
    expected = x.copy()
    fold = {None: lambda a, b: b, "add": np.add, "mul": np.multiply, "max": np.maximum}[reduction]
    expected[rows, columns] = fold(expected[rows, columns], updates)
    np.testing.assert_array_equal(y, expected)
    assert found == {"elementwise": 2}


@pytest.mark.parametrize(
    "places, store",
    [([0, 1, 3], APART), ([0, 3, 1, -1], OVERWRITE), ([2, 2, 2], OVERWRITE), ([-1, 1, 0], APART)],
)
def test_a_scatter_says_whether_its_elements_meet(places, store):
    x, updates = numbers(4, 3), numbers(len(places), 3)
    case = scattered(x, np.array(places)[:, None], updates)
    y, _ = ran(case)
    for place, update in zip(places, updates):
        x[place] = update
    np.testing.assert_array_equal(y, x)
    assert stores(case) == [store]


def test_a_place_outside_is_met_when_the_model_runs():
    case = scattered(numbers(4, 3), np.array([[0], [4]]), numbers(2, 3))
    with pytest.raises(tinyseq.FeedError, match="outside its tensor"):
        tinyseq.load(case.model).run(case.feeds)


@pytest.mark.parametrize("op", ["GatherElements", "ScatterElements"])
def test_elements_along_an_axis(op):
    """All of them at one distance are a box; else they are moved one by one."""
    for indices, even in (([[1, 2], [1, 2]], True), ([[0, 2], [2, 1]], False)):
        indices = np.array(indices)
        x = numbers(2, 4)
        if op == "GatherElements":
            case, expected = one_node(op, [x, indices], fed=(0,), axis=1), np.take_along_axis(x, indices, 1)
        else:
            updates, expected = numbers(2, 2, 1)[..., 0], x.copy()
            np.put_along_axis(expected, indices, updates, 1)
            case = one_node(op, [x, indices, updates], fed=(0, 2), axis=1, opset=18)
        y, found = ran(case)
        np.testing.assert_array_equal(y, expected)
        assert (found["gather_elements"] == 0) == even


def test_tuples_behind_a_batch_are_a_view():
    x = numbers(2, 5, 4)
    indices = np.array([[[0], [2]], [[1], [3]]])
    y, found = ran(one_node("GatherND", [x, indices], fed=(0,), batch_dims=1))
    np.testing.assert_array_equal(y, np.stack([x[0, [0, 2]], x[1, [1, 3]]]))
    assert found == {"elementwise": 1}


@settings(deadline=None)
@given(data=st.data())
def test_places_are_distinct_or_not(data):
    depth, count = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 6))
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=depth, max_size=depth))
    columns = [np.array(data.draw(st.lists(st.integers(-n, n - 1), min_size=count, max_size=count)), np.int64)
               for n in sizes]  # fmt: skip
    counted = {tuple(index % n for index, n in zip(place, sizes)) for place in zip(*columns)}
    assert Table(columns, (count,), tuple(sizes)).distinct() == (len(counted) == count)


def test_a_frame_of_many_small_ops_is_few_instructions(asset):
    """Of its tables, scatters and windows, all are known."""
    session = tinyseq.load(asset("gtcrn"))
    feeds = {value.name: np.zeros(value.shape, np.float32) for value in session.inputs}
    found = instructions(session, feeds)
    assert sum(found.values()) < 450
    assert found["gather"] == 0
    assert found["depthwise"] == 6
