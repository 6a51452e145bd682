"""The product's kernels, emulated: every form of tiles, ragged sizes, one order of summation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda.emulator import EmulatedDevice
from tests.cuda.memory import On
from tinyseq.kernels.cuda.product import FEW, MANY, SOME, _linear_of, launched, pack, tile_for, tiles_of
from tinyseq.plan.packing import panels

FORMS = {"few": FEW, "some": SOME, "many": MANY}


def product(
    form, x: np.ndarray, w: np.ndarray, bias: np.ndarray, seed: int = 0, spare: int = 0
) -> np.ndarray:
    """bias + x[outer, inner, k] @ w by tiles of a form; rows of x and y lie ``spare`` elements apart."""
    outer, inner, k = x.shape
    on, n = On(EmulatedDevice(seed)), w.shape[1]
    wide = np.full((outer, inner + 1, k + spare), np.nan, np.float32)
    wide[:, :inner, :k] = x
    y = on.put(np.full((outer * inner, n + spare), 7, np.float32))
    steps = (outer, (inner + 1) * (k + spare), inner, k + spare)
    arguments = (on.put(wide), *steps, k, on.put(panels(w)), n, on.put(bias), y, n + spare)
    on.run(launched(_linear_of(form), tiles_of(form, outer * inner, n), arguments))
    made = on.get(y, (outer * inner, n + spare), np.float32)
    assert (made[:, n:] == 7).all()
    return made[:, :n]


def numbers(draw: np.random.Generator, *shape: int) -> np.ndarray:
    return draw.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_ragged_sizes(form, data):
    sizes = [st.integers(1, 3), st.integers(1, 5), st.integers(0, 20), st.integers(1, 70), st.integers(0, 2)]
    outer, inner, k, n, spare = (data.draw(size) for size in sizes)
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, w, bias = numbers(draw, outer, inner, k), numbers(draw, k, n), numbers(draw, n)
    expected = bias + x.reshape(outer * inner, k).astype(np.float64) @ w
    made = product(FORMS[form], x, w, bias, data.draw(st.integers(0, 99)), spare)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k, n, forms", [(130, 20, [FEW, SOME]), (19, 81, [FEW, SOME, MANY])])
def test_forms_give_the_same_bits(k, n, forms):
    draw = np.random.default_rng(5)
    x, w, bias = numbers(draw, 1, 9, k), numbers(draw, k, n), numbers(draw, n)
    few, *others = (product(form, x, w, bias) for form in forms)
    assert {few.tobytes()} == {other.tobytes() for other in others}
    alone = product(FEW, x[:, 4:5], w, bias)
    assert alone.tobytes() == few[4:5].tobytes()


def test_terms_are_added_in_order():
    x, w = np.ones((1, 1, 4), np.float32), np.array([[2**24], [1], [1], [-(2**24)]], np.float32)
    for form in FORMS.values():
        # Each 1 is lost when it is added alone to what came before.
        assert product(form, x, w, np.zeros(1, np.float32)) == 0


def test_several_tiles():
    draw = np.random.default_rng(6)
    x, w, bias = numbers(draw, 1, 130, 3), numbers(draw, 3, 66), numbers(draw, 66)
    expected = bias + x[0].astype(np.float64) @ w
    for form in FORMS.values():
        np.testing.assert_allclose(product(form, x, w, bias), expected, rtol=1e-5, atol=1e-5)


def test_larger_products_have_larger_tiles():
    assert [tile_for(*size) for size in ((1, 4096), (32, 4096), (4096, 1024))] == [FEW, SOME, MANY]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 5), st.integers(0, 150), st.booleans())
def test_pack(k, n, turned):
    matrix = np.arange(1, 1 + k * n, dtype=np.float32).reshape(k, n)
    on, expected = On(EmulatedDevice()), panels(matrix)
    stored = np.ascontiguousarray(matrix.T) if turned else matrix
    w = on.put(np.full(expected.size + 1, 7, np.float32))
    on.run(pack(on.put(stored), w, k, n, *((1, k) if turned else (n, 1))))
    np.testing.assert_array_equal(on.get(w, (expected.size + 1,), np.float32), [*expected, 7])
