"""How the driver is called: all that ``driver.py`` does, over an emulation of the functions it calls."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import tinyseq
from tests.cuda.driver_api import EmulatedDriver
from tests.cuda.test_backend import X, accumulator
from tinyseq.backends.device_array import DeviceArray
from tinyseq.kernels.cuda import driver
from tinyseq.kernels.cuda.compiler import Binary
from tinyseq.kernels.cuda.elementwise import _filling
from tinyseq.kernels.cuda.launch import Launch


@pytest.fixture
def api(monkeypatch) -> EmulatedDriver:
    emulated = EmulatedDriver()
    monkeypatch.setattr(driver, "cu", emulated)
    monkeypatch.setattr(driver, "binary", lambda kernel, capability: Binary(kernel.name, kernel, ""))
    driver.open_device.cache_clear()
    yield emulated
    gc.collect()
    driver.open_device.cache_clear()


def test_a_stream_is_launched_then_recorded_then_replayed(api):
    stream = tinyseq.load(accumulator(), device="cuda").stream()
    for turn in range(1, 5):
        np.testing.assert_array_equal(stream.step({"x": X})["y"], 2 * turn * X)


def test_another_thread_may_step_a_stream(api):
    stream = tinyseq.load(accumulator(), device="cuda").stream()
    stream.step({"x": X})
    results = []
    thread = threading.Thread(target=lambda: results.append(stream.step({"x": X})["y"]))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(results[0], 4 * X)


def test_whole_runs_from_threads(api):
    model = tinyseq.load(accumulator(), device="cuda")
    results = {}

    def work(number: int) -> None:
        results[number] = model.run({"x": number * X, "sum": X})["y"]

    work(0)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 4)]
    for thread in threads:
        thread.start()
        thread.join()
    assert len(results) == 4
    for number, array in results.items():
        np.testing.assert_array_equal(array, 2 * (number + 1) * X)


def test_everything_is_given_back(api):
    before = len(api.held)
    model = tinyseq.load(accumulator(), device="cuda")
    stream = model.stream()
    for _ in range(3):
        stream.step({"x": X})
    assert len(api.held) > before + 5
    del model, stream
    gc.collect()
    assert len(api.held) == before


def test_memory_begins_as_zeros_and_rows_are_copied(api):
    device = driver.open_device()
    array = DeviceArray.new(device, (4, 3), np.float32)
    np.testing.assert_array_equal(np.asarray(array), np.zeros((4, 3)))
    array[::2] = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(np.asarray(array[2]), [3, 4, 5])
    assert device.name == "an emulated device"
    assert device.driver_version == "13.0"


def test_too_much_memory_is_refused(api):
    with pytest.raises(tinyseq.DeviceError, match="feed shorter sequences"):
        driver.open_device().memory(2**33)


def test_what_the_driver_refuses_is_told(api):
    with pytest.raises(tinyseq.DeviceError, match="CUDA_ERROR_INVALID_VALUE: as emulated"):
        driver._checked((api.CUresult.CUDA_ERROR_INVALID_VALUE,))


def test_time_on_the_device(api):
    from tinyseq import backends, passes

    backend = backends.create("cuda", passes.simplify(accumulator().model()), None)
    _, executor = backend.ready({"x": X, "sum": X})
    assert executor.seconds(4) == pytest.approx(1e-3 / 4)


def test_what_a_launch_needs_is_asked_for(api):
    device = driver.open_device()
    device.use()
    queue, status = device.queue(), device.memory(8)
    target = device.memory(64)
    for shared, cluster in ((0, 1), (100_000, 1), (60_000, 8), (60_000, 16)):
        launch = Launch(_filling, 16, 4, (target.address, 16, 7), shared, cluster)
        queue.launch(queue.prepare([launch], status.address))
    queue.finish()
