"""Rows that are normalised, emulated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda.emulator import EmulatedDevice
from tests.cuda.memory import On
from tinyseq.kernels.cuda.normalise import normalise

pytestmark = pytest.mark.usefixtures("few_blocks")


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 5),
    count=st.sampled_from([1, 2, 31, 32, 33, 300]),
    gap=st.integers(0, 3),
    centred=st.booleans(),
    seed=st.integers(0, 99),
)
def test_rows_have_mean_and_variance(rows, count, gap, centred, seed):
    on, rng = On(EmulatedDevice(seed)), np.random.default_rng(seed)
    x = (3 + rng.standard_normal((rows, count + gap))).astype(np.float32)
    terms = [np.float32([0.01]), *rng.standard_normal((2, count)).astype(np.float32)]
    y, statistics = on.put(np.zeros((rows, count), np.float32)), on.put(np.zeros((2, rows), np.float32))
    sizes = rows, count + gap, count
    on.run(normalise(on.put(x), *sizes, *map(on.put, terms), y, statistics, int(centred)))
    own = x[:, :count].astype(float)
    mean = own.mean(1) * centred
    share = 1 / np.sqrt(((own - mean[:, None]) ** 2).mean(1) + terms[0].astype(float))
    wanted = (own - mean[:, None]) * share[:, None] * terms[1] + terms[2]
    np.testing.assert_allclose(on.get(y, (rows, count), np.float32), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(on.get(statistics, (2, rows), np.float32), [mean, share], rtol=1e-6)
