"""The tests' device: emulated."""

from __future__ import annotations

import pytest

from tests.cuda.emulator import EmulatedDevice
from tinyseq.kernels.cuda import driver


@pytest.fixture
def device(monkeypatch) -> EmulatedDevice:
    """What ``device="cuda"`` is in this test."""
    emulated = EmulatedDevice()
    monkeypatch.setattr(driver, "open_device", lambda: emulated)
    return emulated
