"""The tests' device: emulated."""

from __future__ import annotations

import pytest

from tests.cuda.emulator import EmulatedDevice
from tinyseq.kernels.cuda import driver


@pytest.fixture
def device(devices) -> EmulatedDevice:
    """What ``device="cuda"`` is in this test."""
    return devices[0]


@pytest.fixture
def devices(monkeypatch) -> list[EmulatedDevice]:
    """What ``device="cuda:0"`` and ``device="cuda:1"`` are."""
    emulated = [EmulatedDevice(number=number) for number in range(2)]
    monkeypatch.setattr(driver, "open_device", lambda number=0: emulated[number])
    return emulated
