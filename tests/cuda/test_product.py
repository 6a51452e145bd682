"""The product's kernels, emulated: every form of tiles, ragged sizes, one order of summation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda.emulator import EmulatedDevice
from tests.cuda.memory import On
from tinyseq.kernels.cuda.launch import EXACT, Facts, Tail
from tinyseq.kernels.cuda.product import (
    FORMS,
    Tile,
    _linear_of,
    launched,
    linear_floats,
    pack,
    products,
    tile_for,
    tiles_of,
)
from tinyseq.kernels.instructions import PANEL
from tinyseq.plan.packing import panels

SMALL = (
    Tile(16, 32, 4, 4, 4, 16, 2, 1, 1, 1),
    Tile(32, 64, 8, 8, 4, 8, 3, 1, 1, 1),
    Tile(8, 64, 4, 4, 2, 8, 4, 1, 1, 1),
)
"""Forms as those of large products are, but not so large."""


SMALL_CORE_FORMS = Tile(16, 32, 2, 4, 8, 16, 3, 1, 1, 1), Tile(32, 32, 4, 4, 8, 32, 2, 1, 1, 1)
FEWER = Tile(8, PANEL, 1, 1, 2, 32, 3, 1, 1, 1)


def product(
    form, x: np.ndarray, w: np.ndarray, bias: np.ndarray, seed: int = 0, spare: int = 0, precision=EXACT
) -> np.ndarray:
    """bias + x[outer, inner, k] @ w by tiles of a form, or as few rows without one; rows of x and y lie
    ``spare`` elements apart."""
    outer, inner, k = x.shape
    on, n = On(EmulatedDevice(seed)), w.shape[1]
    wide = np.full((outer, inner + 1, k + spare), np.nan, np.float32)
    wide[:, :inner, :k] = x
    y = on.put(np.full((outer * inner, n + spare), 7, np.float32))
    steps = (outer, (inner + 1) * (k + spare), inner, k + spare)
    arguments = (on.put(wide), *steps, k, on.put(panels(w)), n, on.put(bias), y, n + spare)
    if form is None:
        on.run(linear_floats(*arguments, 0, 0, 0, Facts((9, 0), 4, 0)))
    else:
        on.run(launched(_linear_of(form, precision), tiles_of(form, outer * inner, n), arguments))
    made = on.get(y, (outer * inner, n + spare), np.float32)
    assert (made[:, n:] == 7).all()
    return made[:, :n]


def rounded(array: np.ndarray, precision: str) -> np.ndarray:
    """The array's numbers as a precision has them, in float64."""
    if precision == "float16":
        return array.astype(np.float16).astype(np.float64)
    lost = {"bfloat16": 16, "tf32": 13}[precision]
    bits = array.view(np.uint32).astype(np.uint64)
    tie = bits >> lost & 1 if precision == "bfloat16" else 1
    up = (bits + (1 << lost - 1) - 1 + tie) >> lost << lost
    return up.astype(np.uint32).view(np.float32).astype(np.float64)


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "tf32"])
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_tensor_cores(precision, data):
    """Numbers are rounded, products and sums of them are not."""
    form = data.draw(st.sampled_from(SMALL_CORE_FORMS))
    sizes = [st.integers(1, 2), st.integers(1, 9), st.integers(0, 40), st.integers(1, 70), st.integers(0, 2)]
    outer, inner, k, n, spare = (data.draw(size) for size in sizes)
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, w, bias = numbers(draw, outer, inner, k), numbers(draw, k, n), numbers(draw, n)
    expected = bias + rounded(x.reshape(outer * inner, k), precision) @ rounded(w, precision)
    made = product(form, x, w, bias, data.draw(st.integers(0, 99)), spare, precision)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)


def numbers(draw: np.random.Generator, *shape: int) -> np.ndarray:
    return draw.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("form", [FEWER, *SMALL])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_ragged_sizes(form, data):
    sizes = [st.integers(1, 3), st.integers(1, 5), st.integers(0, 40), st.integers(1, 70), st.integers(0, 4)]
    outer, inner, k, n, spare = (data.draw(size) for size in sizes)
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, w, bias = numbers(draw, outer, inner, k), numbers(draw, k, n), numbers(draw, n)
    expected = bias + x.reshape(outer * inner, k).astype(np.float64) @ w
    made = product(form, x, w, bias, data.draw(st.integers(0, 99)), spare)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k, n", [(130, 20), (19, 81), (32, 64)])
def test_forms_give_the_same_bits(k, n):
    draw = np.random.default_rng(5)
    x, w, bias = numbers(draw, 1, 9, k), numbers(draw, k, n), numbers(draw, n)
    few, *others = (product(form, x, w, bias) for form in (FEWER, *SMALL))
    assert {few.tobytes()} == {other.tobytes() for other in others}
    alone = product(FORMS[0], x[:, 4:5], w, bias)
    assert alone.tobytes() == few[4:5].tobytes()


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_few_rows_have_the_bits_of_many(data):
    sizes = [st.integers(1, 2), st.integers(1, 4), st.integers(0, 600), st.integers(1, 70), st.integers(0, 2)]
    outer, inner, k, n, spare = (data.draw(size) for size in sizes)
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, w, bias = numbers(draw, outer, inner, k), numbers(draw, k, n), numbers(draw, n)
    few = product(None, x, w, bias, data.draw(st.integers(0, 99)), spare)
    assert few.tobytes() == product(FORMS[0], x, w, bias, 0, spare).tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form):
    draw = np.random.default_rng(7)
    x, w, bias = numbers(draw, 1, 3, 5), numbers(draw, 5, 18), numbers(draw, 18)
    expected = bias + x[0].astype(np.float64) @ w
    np.testing.assert_allclose(product(form, x, w, bias), expected, rtol=1e-5, atol=1e-5)


def test_terms_are_added_in_order():
    x, w = np.ones((1, 1, 4), np.float32), np.array([[2**24], [1], [1], [-(2**24)]], np.float32)
    for form in (FEWER, *SMALL):
        # Each 1 is lost when it is added alone to what came before.
        assert product(form, x, w, np.zeros(1, np.float32)) == 0


def test_no_terms_leave_the_sign_of_zero():
    """A product that begins with -0 and has terms beyond its k would end as 0."""
    x, w = np.zeros((1, 9, 1), np.float32), -np.ones((1, 16), np.float32)
    for form in (FEWER, *SMALL):
        assert np.signbit(product(form, x, w, np.full(16, -0.0, np.float32))).all()


def test_several_tiles():
    draw = np.random.default_rng(6)
    x, w, bias = numbers(draw, 1, 50, 3), numbers(draw, 3, 130), numbers(draw, 130)
    expected = bias + x[0].astype(np.float64) @ w
    for form in (FEWER, *SMALL):
        np.testing.assert_allclose(product(form, x, w, bias), expected, rtol=1e-5, atol=1e-5)


def test_larger_products_have_larger_tiles():
    sizes = [
        (tile_for(*size).rows * tile_for(*size).columns) for size in ((1, 4096), (64, 4096), (4096, 1024))
    ]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("layout", ["rows", "columns", "apart"])
@pytest.mark.parametrize("m", [3, 9])
def test_products_of_a_batch(layout, m):
    """In one launch: matrices broadcast and read along k, along their columns and along neither."""
    draw, k, n = np.random.default_rng(8), 21, 35
    on = On(EmulatedDevice())
    x, w = numbers(draw, 2, 1, m, k), numbers(draw, 3, k, n)
    apart = 2 if layout == "apart" else 1
    stored = np.ascontiguousarray(np.swapaxes(w, 1, 2) if layout == "columns" else np.repeat(w, apart, 2))
    strides = (1, k) if layout == "columns" else (n * apart, apart)
    y = on.put(np.full((2, 3, m, n), 7, np.float32))
    dims = np.array([2, 3, m * k, 0, 0, stored[0].size], np.int64)
    tail = Tail(on.put(dims), dims.tolist())
    zeros = on.put(np.zeros(n, np.float32))
    launches = products(on.put(x), on.put(stored), y, 0, zeros, m, k, n, k, *strides, 2, tail)
    assert len(launches) == 1
    on.run(launches)
    expected = x.astype(np.float64) @ w
    np.testing.assert_allclose(on.get(y, (2, 3, m, n), np.float32), expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 5), st.integers(0, 150), st.booleans())
def test_pack(k, n, turned):
    matrix = np.arange(1, 1 + k * n, dtype=np.float32).reshape(k, n)
    on, expected = On(EmulatedDevice()), panels(matrix)
    stored = np.ascontiguousarray(matrix.T) if turned else matrix
    w = on.put(np.full(expected.size + 1, 7, np.float32))
    on.run(pack(on.put(stored), w, k, n, *((1, k) if turned else (n, 1))))
    np.testing.assert_array_equal(on.get(w, (expected.size + 1,), np.float32), [*expected, 7])
