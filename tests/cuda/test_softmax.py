"""Softmax of rows, emulated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda.emulator import EmulatedDevice
from tests.cuda.memory import On
from tinyseq.kernels.cuda.softmax import softmax

pytestmark = pytest.mark.usefixtures("few_blocks")


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 5),
    count=st.sampled_from([1, 2, 31, 32, 33, 300]),
    gap=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_rows_become_shares(rows, count, gap, seed):
    on, rng = On(EmulatedDevice(seed)), np.random.default_rng(seed)
    x = (4 * rng.standard_normal((rows, count + gap))).astype(np.float32)
    x[0, 0] = -np.inf if count > 1 else 0
    y = on.put(np.zeros((rows, count), np.float32))
    on.run(softmax(on.put(x), rows, count + gap, count, y))
    powers = np.exp(x[:, :count].astype(float) - x[:, :count].max(1, keepdims=True))
    made = on.get(y, (rows, count), np.float32)
    np.testing.assert_allclose(made, powers / powers.sum(1, keepdims=True), rtol=1e-6, atol=1e-12)


def test_a_row_with_what_is_no_number_has_none():
    on = On(EmulatedDevice(0))
    x = np.array([[1, np.nan, 2], [1, np.inf, 2], [-np.inf] * 3, [1, 1, 1]], np.float32)
    y = on.put(np.zeros_like(x))
    on.run(softmax(on.put(x), 4, 3, 3, y))
    made = on.get(y, x.shape, x.dtype)
    assert np.isnan(made[:3]).all()
    np.testing.assert_allclose(made[3], 1 / 3, rtol=1e-6)
