"""On a real device, where there is one: parity with the CPU, arrays of other packages, the bench."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyseq
from bench.cuda import models, parity
from bench.cuda.__main__ import main
from tests.cuda.test_backend import X, accumulator
from tests.strategies import CASES
from tests.test_differential import bound_of, close, runs_or_is_refused
from tinyseq.kernels.cuda import driver

try:
    driver.open_device()
except tinyseq.DeviceError as error:
    pytest.skip(f"no CUDA device: {str(error).split(';')[0]}", allow_module_level=True)


@pytest.mark.parametrize("form", sorted(CASES))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_op(form, data):
    case = data.draw(CASES[form])

    def agrees(case) -> None:
        expected = tinyseq.load(case.model, device="reference").run(case.feeds)
        close(tinyseq.load(case.model, device="cuda").run(case.feeds), expected, bound_of(form))

    runs_or_is_refused(form, agrees, case)


@pytest.mark.parametrize("subject", [*models.cells((16, 64, 200)), *models.models([])], ids=lambda s: s.name)
def test_parity(subject):
    assert parity.difference(subject) <= parity.ALLOWED


@pytest.mark.parametrize("package", ["torch", "cupy"])
def test_arrays_of_other_packages(package):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    module = pytest.importorskip(package)
    stream = tinyseq.load(accumulator(), device="cuda").stream()
    x = module.asarray(X, device="cuda") if package == "torch" else module.asarray(X)
    y = stream.step({"x": x})["y"]
    np.testing.assert_array_equal(np.asarray(y), 2 * X)
    taken = module.from_dlpack(y)
    np.testing.assert_array_equal(np.asarray(taken.cpu() if package == "torch" else taken.get()), 2 * X)


def test_the_bench_runs():
    assert main(["--quick"]) == 0
