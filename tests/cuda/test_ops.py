"""Every op on the device: its kernels, emulated, against the float64 reference."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyseq
from tests.cuda.emulator import EmulatedDevice
from tests.models import Case
from tests.strategies import CASES
from tests.test_differential import bound_of, close, runs_or_is_refused
from tinyseq.kernels.cuda import driver


def emulated(case: Case, seed: int) -> dict:
    """What the emulated device gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "open_device", lambda number: EmulatedDevice(seed))
        return tinyseq.load(case.model, device="cuda").run(case.feeds)


@pytest.mark.parametrize("form", sorted(CASES))
@settings(max_examples=5, deadline=None)
@given(data=st.data(), seed=st.integers(0, 99))
def test_op(form, data, seed):
    case = data.draw(CASES[form])

    def agrees(case: Case) -> None:
        expected = tinyseq.load(case.model, device="reference").run(case.feeds)
        close(emulated(case, seed), expected, bound_of(form))

    runs_or_is_refused(form, agrees, case)
