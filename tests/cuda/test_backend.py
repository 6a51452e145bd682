"""The CUDA backend on an emulated device: feeds, results, state and recordings."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest

import tinyseq
from tests.cuda.emulator import EmulatedDevice
from tinyseq.backends import carriage, staging
from tinyseq.backends.device_array import DeviceArray
from tinyseq.errors import DeviceError, FeedError, StateError
from tinyseq.plan import draft


def accumulator(rows: object = "rows") -> tinyseq.Graph:
    """sum' = sum + x, y = 2 sum'."""
    graph = tinyseq.Graph()
    x, total = graph.input("x", [rows, 3]), graph.input("sum", [rows, 3])
    following = graph.add(x, total)
    graph.output("following", following, carries="sum")
    graph.output("y", graph.mul(following, 2.0))
    return graph


@pytest.fixture
def model(device) -> tinyseq.runtime.session.Session:
    return tinyseq.load(accumulator(), device="cuda")


X = np.arange(3, dtype=np.float32).reshape(1, 3) + 1


def there(device: EmulatedDevice, array: np.ndarray) -> DeviceArray:
    """An array on the device, as another package would hold it."""
    result = DeviceArray.new(device, array.shape, array.dtype)
    result[...] = array
    return result


def test_run(model):
    for _ in range(3):
        results = model.run({"x": X, "sum": 10 * X})
        np.testing.assert_array_equal(results["y"], 22 * X)
        assert type(results["y"]) is np.ndarray


def test_inputs_and_outputs_with_segments_of_their_own_lie_in_the_arena(device):
    with mock.patch.object(draft, "LARGE", 0):
        model = tinyseq.load(accumulator(), device="cuda")
        for _ in range(3):
            np.testing.assert_array_equal(model.run({"x": X, "sum": 10 * X})["y"], 22 * X)
            results = model.run({"x": there(device, X), "sum": 10 * X})
            np.testing.assert_array_equal(np.asarray(results["y"]), 22 * X)
    ((_, executor),) = model._backend._recent
    assert len(executor._plan.homes) == 4


def test_a_stream_advances_forks_and_goes_back(model):
    stream = model.stream()
    np.testing.assert_array_equal(stream.step({"x": X})["y"], 2 * X)
    saved, twin = stream.snapshot(), stream.fork()
    np.testing.assert_array_equal(stream.step({"x": X})["y"], 4 * X)
    np.testing.assert_array_equal(twin.step({"x": 5 * X})["y"], 12 * X)
    stream.restore(saved)
    np.testing.assert_array_equal(stream.step({"x": X})["y"], 4 * X)
    stream.reset()
    np.testing.assert_array_equal(stream.step({"x": X})["y"], 2 * X)


def test_state_moves_between_devices(model):
    on_cpu, on_device = tinyseq.load(accumulator()).stream(), model.stream()
    on_cpu.step({"x": X})
    on_device.restore(on_cpu.snapshot())
    np.testing.assert_array_equal(on_device.step({"x": X})["y"], 4 * X)
    on_cpu.restore(tinyseq.State.from_bytes(on_device.snapshot().to_bytes()))
    np.testing.assert_array_equal(on_cpu.step({"x": X})["y"], 6 * X)


def test_a_wrong_snapshot_changes_nothing(model):
    stream = model.stream()
    stream.step({"x": X})
    with pytest.raises(StateError, match="field 'sum'"):
        stream.restore({"sum": np.zeros((2, 3), np.float32)})
    np.testing.assert_array_equal(stream.step({"x": X})["y"], 4 * X)


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_remembered(device, model, strange):
    poisoned = np.concatenate([X, X])
    poisoned[1, 2] = strange
    stream, pool = model.stream(), model.pool(2)
    rows = [pool.open(), pool.open()]
    for _ in range(3):  # straight, then as a recording
        before = [np.array(stream.snapshot()["sum"]), *(pool.snapshot(row) for row in rows)]
        with pytest.raises(FeedError, match="state 'sum' would be NaN or infinite"):
            stream.step({"x": poisoned[1:]})
        with pytest.raises(FeedError, match="state 'sum' would be NaN or infinite"):
            pool.step(rows, {"x": poisoned})
        np.testing.assert_array_equal(stream.snapshot()["sum"], before[0])
        assert [pool.snapshot(row) for row in rows] == before[1:]
        stream.step({"x": X})
        pool.step(rows, {"x": np.concatenate([X, X])})
    with pytest.raises(StateError, match="NaN"):
        stream.restore({"sum": np.full_like(X, strange)})
    loose = tinyseq.load(accumulator(), device="cuda", finite=False).stream()
    loose.step({"x": poisoned[1:]})
    np.testing.assert_array_equal(loose.snapshot()["sum"], poisoned[1:])


def test_a_model_of_one_row_is_pooled(device):
    model = tinyseq.load(accumulator(rows=1), device="cuda")
    pool = model.pool(3)
    a, b = pool.open(), pool.open()
    pool.step([a, b], {"x": np.concatenate([X, 2 * X])})
    results = pool.step([b, a], {"x": np.concatenate([X, X])})
    np.testing.assert_array_equal(results["y"], np.concatenate([6 * X, 4 * X]))


def test_rows_of_a_pool_are_stepped_together(device, model):
    pool = model.pool(4)
    a, b, c = (pool.open() for _ in range(3))
    pool.step([a, b, c], {"x": np.concatenate([X, 2 * X, 3 * X])})
    results = pool.step([c, a], {"x": np.concatenate([X, X])})
    np.testing.assert_array_equal(results["y"], np.concatenate([8 * X, 4 * X]))
    pool.restore(b, pool.snapshot(a))
    np.testing.assert_array_equal(pool.step([b], {"x": X})["y"], 6 * X)


def test_arrays_on_the_device_stay_there(device, model):
    for _ in range(3):
        results = model.run({"x": there(device, X), "sum": X})
        assert isinstance(results["y"], DeviceArray)
        np.testing.assert_array_equal(np.asarray(results["y"]), 4 * X)


def test_results_go_where_out_is(device, model):
    stream = model.stream()
    out = {"y": there(device, 0 * X)}
    assert stream.step({"x": there(device, X)}, out) is out
    np.testing.assert_array_equal(np.asarray(out["y"]), 2 * X)
    out = {"y": np.zeros_like(X)}
    assert stream.step({"x": there(device, X)}, out) is out
    np.testing.assert_array_equal(out["y"], 4 * X)
    with pytest.raises(FeedError, match="must be an array for"):
        stream.step({"x": X}, {"y": there(device, np.zeros((2, 3), np.float32))})
    np.testing.assert_array_equal(stream.step({"x": X})["y"], 6 * X)


def test_results_on_the_device_are_not_written_over_each_other_or_the_state(device):
    graph = tinyseq.Graph()
    x, before = graph.input("x", [1, 3]), graph.input("sum", [1, 3])
    after = graph.add(before, x)
    graph.output("following", after, carries="sum")
    graph.output("y", graph.mul(after, 2.0))
    graph.output("z", graph.mul(x, -1.0))
    stream = tinyseq.load(graph, device="cuda").stream()
    block = there(device, np.concatenate([0 * X] * 3))
    for out, words in (
        ({"y": block[0:1], "z": block[0:1]}, r"out\['y'\] and out\['z'\] overlap"),
        ({"y": stream.state["sum"], "z": block[0:1]}, r"out\['y'\] overlaps the state 'sum'"),
    ):
        with pytest.raises(FeedError, match=words):
            stream.step({"x": X}, out)
    stream.step({"x": X}, {"y": block[0:1], "z": block[2:3]})
    np.testing.assert_array_equal(np.asarray(block), np.concatenate([2 * X, 0 * X, -X]))


def test_wrong_arrays_on_the_device_are_refused(device, model):
    for wrong in (np.zeros((1, 4), np.float32), X.astype(np.float64), np.zeros(3, np.float32)):
        with pytest.raises(FeedError, match="'x'"):
            model.stream().step({"x": there(device, wrong)})


def test_results_on_the_device_do_not_pass_the_host(device, model, monkeypatch):
    stream, x, out = model.stream(), there(device, X), {"y": there(device, 0 * X)}
    stream.step({"x": x}, out)
    read = type(device.queue()).read

    def read_status(queue, address: int, array: np.ndarray) -> None:
        """The word that says whether the step was refused, and nothing else."""
        assert array.nbytes == 8
        read(queue, address, array)

    for name in ("read", "write"):
        monkeypatch.setattr(type(device), name, lambda *given: pytest.fail("the host was asked"))
        monkeypatch.setattr(type(device.queue()), name, lambda *given: pytest.fail("the host was asked"))
    monkeypatch.setattr(type(device.queue()), "read", read_status)
    stream.step({"x": x}, out)
    monkeypatch.undo()
    np.testing.assert_array_equal(np.asarray(out["y"]), 4 * X)


def test_a_device_is_chosen_by_its_number(devices):
    streams = [tinyseq.load(accumulator(), device=f"cuda:{number}").stream() for number in (0, 1)]
    for turn, stream in enumerate(streams):
        before = [len(device.launches) for device in devices]
        y = stream.step({"x": there(devices[turn], X)})["y"]
        np.testing.assert_array_equal(np.asarray(y), 2 * X)
        assert y.device is devices[turn]
        assert y.__dlpack_device__() == (2, turn)
        assert [len(device.launches) > n for device, n in zip(devices, before)] == [turn == 0, turn == 1]
    streams[1].restore(streams[0].snapshot())
    np.testing.assert_array_equal(streams[1].step({"x": X})["y"], 4 * X)


class Foreign:
    """Another package's array."""

    def __init__(self, array: DeviceArray) -> None:
        self.__cuda_array_interface__ = array.__cuda_array_interface__


@pytest.mark.parametrize("seen", [lambda array: array, Foreign])
def test_arrays_of_another_device_are_refused(devices, seen):
    stream = tinyseq.load(accumulator(), device="cuda:1").stream()
    for _ in range(2):
        with pytest.raises(
            FeedError, match=r"input 'x': the array is on cuda:0 and the model on cuda:1; copy"
        ):
            stream.step({"x": seen(there(devices[0], X))})
        with pytest.raises(FeedError, match=r"out\['y'\]: the array is on cuda:0"):
            stream.step({"x": X}, {"y": seen(there(devices[0], X))})
        stream.step({"x": there(devices[1], X)})
    np.testing.assert_array_equal(stream.step({"x": X})["y"], 6 * X)


@pytest.mark.parametrize("name", ["cuda:", "cuda:x", "cuda:-1", "cuda:1:1", "cpu:0", "CUDA", "", 0, None])
def test_devices_that_are_none(name):
    with pytest.raises(DeviceError, match="is unknown; choose 'cpu', 'cuda', 'reference', or one of several"):
        tinyseq.load(accumulator(), device=name)


def test_a_pool_of_many_rows(device, model):
    rng = np.random.default_rng(0)
    pool = model.pool(60)
    rows = [pool.open() for _ in range(60)]
    state = np.zeros((60, 3), np.float32)
    for count in (60, 25, 60):
        chosen, x = rng.permutation(60)[:count], rng.normal(size=(count, 3)).astype(np.float32)
        y = pool.step([rows[place] for place in chosen], {"x": x})["y"]
        state[chosen] += x
        np.testing.assert_array_equal(y, 2 * state[chosen])


def test_strided_arrays_on_the_device_are_refused(device, model):
    strided = there(device, np.concatenate([X, X, X, X]))[::2]
    with pytest.raises(FeedError, match="contiguous copy"):
        model.run({"x": strided, "sum": np.concatenate([X, X])})


def test_integers_on_the_device(device):
    graph = tinyseq.Graph()
    x = graph.input("x", ["n"], np.int32)
    graph.output("y", graph.add(x, x), dtype=np.int32)
    model = tinyseq.load(graph, device="cuda")
    x = np.array([1, -2, 3], np.int32)
    result = model.run({"x": there(device, x)})["y"]
    assert result.dtype == np.int32
    np.testing.assert_array_equal(np.asarray(result), 2 * x)
    np.testing.assert_array_equal(model.run({"x": x})["y"], 2 * x)


def test_large_inputs_are_copied_in_parts(device, monkeypatch):
    """Those that no launch carries; feeds that are refused meanwhile, and arrays of the device."""
    monkeypatch.setattr(carriage, "MOST_BYTES", 16)
    monkeypatch.setattr(staging, "LEAST", 64)
    monkeypatch.setattr(staging, "most_threads", lambda: 4)
    graph = tinyseq.Graph()
    x, y, index = graph.input("x", [64, 4]), graph.input("y", [1]), graph.input("index", [2], np.int64)
    graph.output("sums", graph.add(x, y))
    graph.output("picked", graph.apply("Gather", x, index))
    model = tinyseq.load(graph, device="cuda")
    for turn in range(4):
        feeds = {
            "x": np.random.default_rng(turn).standard_normal((64, 4)).astype(np.float32),
            "y": np.float32([turn]),
            "index": np.array([turn, 63]),
        }
        found = model.run(feeds)
        np.testing.assert_array_equal(found["sums"], feeds["x"] + feeds["y"])
        np.testing.assert_array_equal(found["picked"], feeds["x"][feeds["index"]])
        with pytest.raises(FeedError):
            model.run({**feeds, "index": np.array([0, 64])})
        there = DeviceArray.new(device, (64, 4), np.float32)
        there[...] = feeds["x"]
        found = model.run({**feeds, "x": there})
        np.testing.assert_array_equal(np.asarray(found["sums"]), feeds["x"] + feeds["y"])


def test_weights_are_uploaded_once(device):
    graph = tinyseq.Graph()
    x = graph.input("x", ["n", 1000])
    graph.output("y", graph.add(x, np.ones((1, 1000), np.float32)))
    model = tinyseq.load(graph, device="cuda")
    for rows in range(1, 6):
        model.run({"x": np.zeros((rows, 1000), np.float32)})
    assert sum(memory.bytes == 4000 for memory in device.memories) <= 2


def test_a_device_array(device):
    array = there(device, np.arange(24, dtype=np.float32).reshape(4, 2, 3))
    np.testing.assert_array_equal(np.asarray(array[1]), np.arange(6, 12).reshape(2, 3))
    np.testing.assert_array_equal(np.asarray(array[::2])[1], np.arange(12, 18).reshape(2, 3))
    array[::3] = 1.0
    assert np.asarray(array)[[0, 3]].sum() == 12
    assert np.asarray(array[5:]).shape == (0, 2, 3)
    with pytest.raises(TypeError, match="first dimension"):
        array[:, 1]
    assert array.__cuda_array_interface__["strides"] == (24, 12, 4)
