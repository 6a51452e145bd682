"""Formulas: a program bound to new sizes is, word for word, the one that planning anew gives."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from tinyseq.converters import onnx

import tinyseq
from tests.assets import fetch
from tests.models import Case, recurrent, scanned_cell
from tests.strategies import CASES, at, chains, cut
from tinyseq.errors import TinyseqError
from tinyseq.ir.model import Model
from tinyseq.plan.draft import Plan
from tinyseq.plan.packing import PackedWeights
from tinyseq.plan.planner import Planner
from tinyseq.plan.plans import MOST_FORMULAS, Formula, Plans


def read(case: Case) -> Model:
    return onnx.load(case.model)


def planned(planner: Planner, shapes: dict, known: dict) -> Plan | None:
    try:
        return planner.draft(shapes, known).plan()
    except TinyseqError:
        return None


def same(one: Plan, other: Plan) -> None:
    np.testing.assert_array_equal(one.program, other.program)
    assert (one.arena_bytes, one.places) == (other.arena_bytes, other.places)
    for mine, its in zip(one.weights, other.weights, strict=True):
        assert mine.tobytes() == its.tobytes()
    for mine, its in ((one.inputs, other.inputs), (one.outputs, other.outputs)):
        assert list(mine) == list(its)
        for name, region in mine.items():
            twin = its[name]
            assert (region.shape, region.dtype, region.offset) == (twin.shape, twin.dtype, twin.offset)
            if region.value is not None:
                assert region.value.dtype == twin.value.dtype == region.dtype
                assert region.value.tobytes() == twin.value.tobytes()


def formula_holds_or_declines(case: Case, data: st.DataObject) -> None:
    planner = Planner(read(case), PackedWeights(()))
    known = {name: case.feeds[name] for name in planner.known}
    shapes = {name: array.shape for name, array in case.feeds.items()}
    opened = {
        (name, axis)
        for name, shape in shapes.items()
        for axis, size in enumerate(shape)
        if name not in known and size > 1
    }
    if not opened or planned(planner, shapes, known) is None:
        return
    formula = Formula(planner, shapes, opened, known)
    same(formula.plan(shapes), planned(planner, shapes, known))
    sizes = sorted({shapes[name][axis] for name, axis in opened})
    swaps = {size: data.draw(st.integers(0, 9)) for size in sizes}
    other = {
        name: tuple(swaps[n] if (name, axis) in opened else n for axis, n in enumerate(shape))
        for name, shape in shapes.items()
    }
    bound = formula.plan(other)
    if bound is not None:
        same(bound, planned(planner, other, known))


@pytest.mark.parametrize("form", sorted(CASES))
@given(data=st.data())
def test_formula_of_an_op(form, data):
    formula_holds_or_declines(data.draw(CASES[form]), data)


@given(case=chains(), data=st.data())
def test_formula_of_a_chain(case, data):
    formula_holds_or_declines(case, data)


OTHER_SIZES = st.lists(st.integers(0, 8), min_size=1, max_size=4)


def enough_zeros() -> PackedWeights:
    """Weights whose zeros, which all plans share and which else grow with them, never grow."""
    weights = PackedWeights(())
    weights.zeros(2**16)
    return weights


def every_size_is_planned_as_the_first(case: Case, sizes: list[int]) -> None:
    try:
        model = read(case)
    except TinyseqError:
        reject()
    plans, planner = Plans(Planner(model, enough_zeros())), Planner(model, enough_zeros())
    for size in sizes:
        feeds = at(case, size)
        known = {name: feeds[name] for name in planner.known}
        expected = planned(planner, {name: array.shape for name, array in feeds.items()}, known)
        try:
            _, found = plans.plan(feeds)
        except TinyseqError:
            assert expected is None
        else:
            same(found, expected)


@pytest.mark.parametrize("form", sorted(CASES))
@given(base=st.integers(2, 5), sizes=OTHER_SIZES, data=st.data())
def test_plans_of_tables_cut_to_open_sizes(form, base, sizes, data):
    case = data.draw(cut(data.draw(CASES[form]), base))
    every_size_is_planned_as_the_first(case, [base, base + 1, *sizes, base])


@given(base=st.integers(2, 5), sizes=OTHER_SIZES, data=st.data())
def test_plans_of_chains_with_tables_cut_to_open_sizes(base, sizes, data):
    case = data.draw(cut(data.draw(chains()), base))
    every_size_is_planned_as_the_first(case, [base, base + 1, *sizes, base])


def counted(monkeypatch) -> list:
    """Grows by one with every walk through a graph."""
    drafts: list = []
    draft = Planner.draft

    def counting(self, *given):
        drafts.append(given)
        return draft(self, *given)

    monkeypatch.setattr(Planner, "draft", counting)
    return drafts


def feeds_of(name: str, size: int) -> dict[str, np.ndarray]:
    if name == "silero-sequence":
        state = np.zeros((1, 1, 128), np.float32)
        return {"input": np.zeros((size, 576), np.float32), "h": state, "c": state}
    if name == "silero-chunk":
        state = np.zeros((2, size, 128), np.float32)
        return {"input": np.zeros((size, 576), np.float32), "state": state, "sr": np.array(16000)}
    if name == "nsnet2":
        return {"input": np.zeros((2, size, 161), np.float32)}
    return {"src": np.ones((2, size), np.int64), "src_mask": np.ones((2, size), bool)}


@pytest.mark.parametrize("name", ["silero-sequence", "silero-chunk", "nsnet2", "romanizer-encoder"])
def test_new_sizes_of_real_models_need_no_planning(monkeypatch, name):
    drafts = counted(monkeypatch)
    model = tinyseq.load(fetch(name))
    for size in range(2, 12):
        model.run(feeds_of(name, size))
    assert len(drafts) == 2


def test_formulas_of_lengths_that_come_no_more_make_room(monkeypatch):
    """Short recordings ask for a formula every few lengths, long ones for one in hundreds."""
    drafts = counted(monkeypatch)
    plans = tinyseq.load(fetch("silero-sequence"))._backend._whole

    def plan(lengths) -> int:
        before = len(drafts)
        for frames in lengths:
            plans.plan(feeds_of("silero-sequence", frames))
        (family,) = plans._families.values()
        assert len(family.formulas) <= MOST_FORMULAS
        return len(drafts) - before

    assert plan(range(2, 300)) > MOST_FORMULAS
    assert plan(range(1000, 1100)) <= 2


def test_new_lengths_of_a_scan_need_no_planning(monkeypatch):
    drafts = counted(monkeypatch)
    model = tinyseq.load(scanned_cell())
    for frames in range(2, 12):
        x = np.zeros((frames, 2, 3), np.float32)
        assert model.run({"x": x, "h": np.zeros((2, 4), np.float32)})["y"].shape == (frames, 2, 4)
    assert len(drafts) == 2


def test_sizes_that_varied_once_stay_open(monkeypatch):
    drafts = counted(monkeypatch)
    plans = Plans(Planner(read(recurrent("LSTM", features=3)), PackedWeights(())))
    for frames, rows in [(5, 2), (6, 2), (7, 2), (7, 3), (8, 4), (9, 2), (3, 9)]:
        plans.plan({"x": np.zeros((frames, rows, 3), np.float32)})
    assert len(drafts) == 3


def test_a_formula_refuses_other_ranks_and_sizes_that_are_not_open():
    planner = Planner(read(recurrent("GRU", features=3)), PackedWeights(()))
    formula = Formula(planner, {"x": (5, 2, 3)}, {("x", 0)}, {})
    assert formula.plan({"x": (6, 2, 3)}) is not None
    assert formula.plan({"x": (6, 3, 3)}) is None
    assert formula.plan({"x": (6, 2)}) is None


def test_threads_that_meet_new_sizes_at_once_plan_alike():
    """Each begins with shapes that vary at other axes than the others'."""
    names, threads_each = [f"x{number}" for number in range(12)], 8
    shapes = np.random.default_rng(0).integers(2, 5, (20, threads_each, 3, len(names), 3))
    broken: list[Exception] = []

    def work(plans: Plans, sizes: np.ndarray) -> None:
        start.wait()
        try:
            for turn in sizes:
                plans.plan({name: np.empty(shape, np.float32) for name, shape in zip(names, turn)})
        except RuntimeError as error:
            broken.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for sizes in shapes:
            graph, start = tinyseq.Graph(), threading.Barrier(threads_each)
            for name in names:
                graph.output(f"{name}.y", graph.tanh(graph.input(name, [f"{name}.{n}" for n in range(3)])))
            plans = Plans(Planner(graph.model(), PackedWeights(())))
            threads = [threading.Thread(target=work, args=(plans, mine)) for mine in sizes]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert broken == []
            assert [len(f.formulas) <= MOST_FORMULAS for f in plans._families.values()] == [True]
    finally:
        sys.setswitchinterval(interval)
