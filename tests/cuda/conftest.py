"""The tests' device: emulated."""

from __future__ import annotations

import pytest

from tests.cuda.emulator import EmulatedDevice
from tinyseq.kernels.cuda import driver, elementwise, indexing, launch, normalise, scores, searches, softmax


@pytest.fixture
def device(devices) -> EmulatedDevice:
    """What ``device="cuda"`` is in this test."""
    return devices[0]


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    """Blocks of searches have 32 threads, which are emulated the faster."""
    for module in (scores, searches):
        monkeypatch.setattr(module, "THREADS", 32)


@pytest.fixture
def few_blocks(monkeypatch) -> None:
    """Blocks take several rows, one after the other."""
    for module in (elementwise, indexing, launch, normalise, searches, softmax):
        monkeypatch.setattr(module, "MOST_BLOCKS", 2)


@pytest.fixture
def devices(monkeypatch) -> list[EmulatedDevice]:
    """What ``device="cuda:0"`` and ``device="cuda:1"`` are."""
    emulated = [EmulatedDevice(number=number) for number in range(2)]
    monkeypatch.setattr(driver, "open_device", lambda number=0: emulated[number])
    return emulated
