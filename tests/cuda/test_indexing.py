"""Kernels whose addresses are data, emulated: elements that meet in one place, indices that lead outside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda.emulator import EmulatedDevice
from tests.cuda.memory import On
from tinyseq.kernels.cuda.indexing import extreme, extreme_integer, gather, gather_elements, top_k, within
from tinyseq.kernels.cuda.launch import Tail
from tinyseq.kernels.instructions import APART, GATHER, STORES

pytestmark = pytest.mark.usefixtures("few_blocks")

FOLDS = {"add": np.add, "multiply": np.multiply, "maximum": np.maximum, "minimum": np.minimum}


def stored(store: int, target: np.ndarray, place, value) -> None:
    """What a store makes of an element of ``target``, in Python."""
    name = STORES[store][0]
    target[place] = FOLDS[name](target[place], value) if name in FOLDS else value


def dtype_of(store: int) -> type:
    return np.int64 if STORES[store][1] == "i" else np.float32


def tail(on: On, values: list[int]) -> Tail:
    return Tail(on.put(np.array(values, np.int64)), values)


@pytest.mark.parametrize("store", range(len(STORES)))
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_scattered_runs_that_meet(store, data):
    """Runs into x[rows, run] of which many go to the same row."""
    rows, run, count = data.draw(
        st.tuples(st.integers(1, 4), st.sampled_from([1, 2, 3, 8]), st.integers(1, 40))
    )
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    dtype = dtype_of(store)
    x, y = (draw.integers(-9, 9, (size, run)).astype(dtype) for size in (rows, count))
    picks = draw.integers(-rows, rows, count)
    if store == APART:
        rows = count
        x, picks = draw.integers(-9, 9, (rows, run)).astype(dtype), draw.permutation(rows) - rows % 2 * rows
    on = On(EmulatedDevice(data.draw(st.integers(0, 99))))
    at, size = on.put(x), x.itemsize
    dims = tail(on, [rows, run * size, 0])
    assert on.run(gather(at, on.put(picks), on.put(y), 1, 0, count, 1, run * size, store, dims, on.failure))
    for pick, value in zip(picks, y, strict=True):
        stored(store, x, pick, value)
    np.testing.assert_array_equal(on.get(at, x.shape, dtype), x)


@pytest.mark.parametrize("store", range(len(STORES)))
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_scattered_elements_that_meet(store, data):
    outer, x_count, count, inner = (data.draw(st.integers(1, most)) for most in (2, 4, 30, 3))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    dtype = dtype_of(store)
    x, y = (draw.integers(-9, 9, (outer, size, inner)).astype(dtype) for size in (x_count, count))
    picks = draw.integers(-x_count, x_count, y.shape)
    if store == APART:
        x_count = count
        x = draw.integers(-9, 9, y.shape).astype(dtype)
        picks = np.argsort(draw.standard_normal(y.shape), 1)
    on = On(EmulatedDevice(data.draw(st.integers(0, 99))))
    at = on.put(x)
    sizes = (outer, x_count, count, inner, x.itemsize, store)
    assert on.run(gather_elements(at, on.put(picks), on.put(y), *sizes, on.failure))
    for o, j, i in np.ndindex(y.shape):
        stored(store, x, (o, picks[o, j, i], i), y[o, j, i])
    np.testing.assert_array_equal(on.get(at, x.shape, dtype), x)


@pytest.mark.parametrize("store", [0, 1])
def test_more_scattered_runs_than_threads(store):
    """Runs that meet across blocks, and rows of runs that are apart."""
    draw = np.random.default_rng(store)
    x, y = (draw.integers(-9, 9, (2, size, 2)).astype(np.float32) for size in (5, 300))
    picks = draw.integers(0, 5, (2, 300))
    on = On(EmulatedDevice())
    at, dims = on.put(x), tail(on, [5, 8, 300])
    assert on.run(gather(at, on.put(picks), on.put(y), 2, 40, 300, 1, 8, store, dims, on.failure))
    for o, j in np.ndindex(picks.shape):
        stored(store, x, (o, picks[o, j]), y[o, j])
    np.testing.assert_array_equal(on.get(at, x.shape, np.float32), x)


@pytest.mark.parametrize("dtype, run", [(np.uint8, 3), (np.uint8, 8), (np.float32, 3), (np.int64, 1)])
def test_runs_of_any_size(dtype, run):
    draw = np.random.default_rng(3)
    x, picks = draw.integers(0, 99, (5, run)).astype(dtype), np.array([4, -5, 2, 2])
    on = On(EmulatedDevice())
    y = on.put(np.zeros((4, run), dtype))
    size = run * x.itemsize
    dims = tail(on, [5, size, 0])
    assert on.run(gather(on.put(x), on.put(picks), y, 1, 0, 4, 1, size, GATHER, dims, on.failure))
    np.testing.assert_array_equal(on.get(y, (4, run), dtype), x[picks])


@pytest.mark.parametrize("store", [GATHER, 0, 1])
@pytest.mark.parametrize("index", [3, -4, 2**40, -(2**63)])
@pytest.mark.parametrize("size", [0, 4])
def test_indices_outside_end_the_run(store, index, size):
    """Whether there is something to move or not."""
    on = On(EmulatedDevice())
    picks, x = on.put(np.array([0, index, 1])), on.put(np.zeros(3, np.float32))
    y = on.put(np.zeros(3, np.float32))
    dims = tail(on, [3, size, 0])
    assert not on.run(gather(x, picks, y, 1, 0, 3, 1, size, store, dims, on.failure))
    if size:
        on = On(EmulatedDevice())
        picks, x = on.put(np.array([0, index, 1])), on.put(np.zeros(3, np.float32))
        y = on.put(np.zeros(3, np.float32))
        assert not on.run(gather_elements(x, picks, y, 1, 3, 3, 1, size, store, on.failure))


@pytest.mark.parametrize("low, high, fine", [(0, 7, True), (0, 6, False), (1, 7, False)])
def test_within(low, high, fine):
    on = On(EmulatedDevice())
    assert on.run(within(on.put(np.arange(8)), 8, low, high, on.failure)) == fine


@pytest.mark.parametrize("count", [1, 40, 300])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_extremes_of_many(count, last, sign):
    """By all sizes of blocks; the numbers are few, so that many are equal."""
    draw = np.random.default_rng(count)
    x = draw.integers(-2, 3, (2, count, 3))
    turned = x[:, ::-1] if last else x
    expected = (turned * sign).argmax(1)
    expected = count - 1 - expected if last else expected
    for one, dtype in ((extreme, np.float32), (extreme_integer, np.int64)):
        on = On(EmulatedDevice(count))
        y = on.put(np.zeros((2, 3), np.int64))
        assert on.run(one(on.put(x.astype(dtype)), y, 2, count, 3, sign, last))
        np.testing.assert_array_equal(on.get(y, (2, 3), np.int64), expected)


def test_not_a_number_is_on_top():
    nan = np.float32(np.nan)
    x = np.array([1, nan, np.inf, nan, -np.inf], np.float32)
    for sign, last, place in ((1, 0, 1), (1, 1, 3), (-1, 0, 1), (-1, 1, 3)):
        on = On(EmulatedDevice())
        y = on.put(np.zeros(1, np.int64))
        on.run(extreme(on.put(x), y, 1, 5, 1, sign, last))
        assert on.get(y, (1,), np.int64) == place
    for sign, order in ((1, [1, 3, 2, 0, 4]), (-1, [4, 0, 2, 1, 3])):
        for k in range(6):
            on = On(EmulatedDevice())
            values, places = on.put(np.zeros(5, np.float32)), on.put(np.zeros(5, np.int64))
            on.run(top_k(on.put(x), values, places, 1, 5, 1, k, sign))
            np.testing.assert_array_equal(on.get(places, (k,), np.int64), order[:k])
            np.testing.assert_array_equal(on.get(values, (k,), np.float32), x[order[:k]])
