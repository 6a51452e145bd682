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
from tinyseq.errors import FeedError
from tinyseq.kernels.cuda import driver
from tinyseq.kernels.cuda.compiler import Binary
from tinyseq.kernels.cuda.elementwise import _filling
from tinyseq.kernels.cuda.launch import Launch


@pytest.fixture
def api(monkeypatch) -> EmulatedDriver:
    emulated = EmulatedDriver()
    monkeypatch.setattr(driver, "cu", emulated)
    monkeypatch.setattr(driver, "binary", lambda kernel, capability: Binary(kernel.name, kernel, ""))
    driver.opened.cache_clear()
    yield emulated
    gc.collect()
    driver.opened.cache_clear()


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


def test_streams_of_a_model_from_several_threads(api):
    model = tinyseq.load(accumulator(), device="cuda")
    results = {}

    def work(number: int) -> None:
        stream = model.stream()
        results[number] = [stream.step({"x": number * X})["y"] for _ in range(4)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for number, arrays in results.items():
        for turn, array in enumerate(arrays, start=1):
            np.testing.assert_array_equal(array, 2 * turn * number * X)


def test_what_others_do_while_a_thread_records_is_no_part_of_it(api, monkeypatch):
    stream, other = (tinyseq.load(accumulator(), device="cuda").stream() for _ in range(2))
    stream.step({"x": X})
    launch, seen = driver.Queue.launch, []

    def meanwhile(queue, prepared) -> None:
        if api.captured and not seen:
            seen.append(queue)
            thread = threading.Thread(target=lambda: (other.step({"x": X}), other.snapshot()))
            thread.start()
            thread.join()
            driver.open_device().memory(64)
        launch(queue, prepared)

    monkeypatch.setattr(driver.Queue, "launch", meanwhile)
    for turn in (2, 3):
        np.testing.assert_array_equal(stream.step({"x": X})["y"], 2 * turn * X)
    assert seen
    np.testing.assert_array_equal(other.step({"x": X})["y"], 4 * X)


def test_a_thread_keeps_its_device(api):
    """Other packages go by which is the current one; what is given back may be another's."""
    api.contexts[:] = [0]
    first, second = (tinyseq.load(accumulator(), device=f"cuda:{number}").stream() for number in (0, 1))
    x = DeviceArray.new(driver.open_device(1), (1, 3), np.float32)
    for turn in range(1, 4):
        first.step({"x": X})
        np.testing.assert_array_equal(second.step({"x": X})["y"], 2 * turn * X)
        y = second.fork().step({"x": x}, {"y": x})["y"]
        np.testing.assert_array_equal(np.asarray(y), 2 * turn * X)
        x[...] = 0
        with pytest.raises(FeedError):
            second.step({"x": np.full_like(X, np.nan)})
        assert api.contexts == [0]
    del second, y
    gc.collect()
    assert api.contexts == [0]


def test_a_device_that_is_not_there(api):
    with pytest.raises(
        tinyseq.DeviceError,
        match=r"'cuda:2' is not there: cuda:0 is an emulated device; cuda:1 is an emulated device\. Choose",
    ):
        tinyseq.load(accumulator(), device="cuda:2")


def test_a_device_is_chosen_as_onnxruntime_does(api):
    session = tinyseq.InferenceSession(
        accumulator(), providers=[("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]
    )
    assert session.get_provider_options() == {"CUDAExecutionProvider": {"device_id": "1"}}
    np.testing.assert_array_equal(session.run(["y"], {"x": X, "sum": X})[0], 4 * X)
    assert [bool(device.launches) for device in api.devices] == [False, True]
    with pytest.warns(UserWarning, match="'cuda:7' is not there"):
        session.set_providers(["CUDAExecutionProvider"], [{"device_id": "7"}])
    assert session.get_provider_options() == {"CPUExecutionProvider": {}}


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
    driver.open_device()
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
    queue, status = device.queue(), device.memory(8)
    target = device.memory(64)
    with device.current:
        for shared, cluster in ((0, 1), (100_000, 1), (60_000, 8), (60_000, 16)):
            launch = Launch(_filling, 16, 4, (target.address, 16, 7), shared, cluster)
            queue.launch(queue.prepare([launch], status.address))
        queue.finish()
