"""Arrays for results: they may lie anywhere but over each other, themselves and the state."""

import gc
import weakref

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from onnx import helper

import tinyseq
from tests.models import model, value

SHAPE = [2, 4]


def two_results(device: str) -> tinyseq.Stream:
    """y = x + h, z = -x; h is the sum of all x."""
    nodes = [
        helper.make_node("Add", ["x", "h"], ["hn"]),
        helper.make_node("Identity", ["hn"], ["y"]),
        helper.make_node("Neg", ["x"], ["z"]),
    ]
    given = [value("x", shape=SHAPE), value("h", shape=SHAPE)]
    results = [value(name, shape=SHAPE) for name in ("y", "z", "hn")]
    return tinyseq.load(model(nodes, given, results), device=device, state={"h": "hn"}).stream()


devices = pytest.mark.parametrize("device", ["cpu", "reference"])


def buffer(device: str, *shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32 if device == "cpu" else np.float64)


def strided(array: np.ndarray, *strides: int) -> np.ndarray:
    return as_strided(array, SHAPE, [stride * array.itemsize for stride in strides])


def shifted(array: np.ndarray, start: int) -> np.ndarray:
    return array.ravel()[start : start + 8].reshape(SHAPE)


REFUSED = {
    "one array for two": (lambda a, h: {"y": a[0], "z": a[0]}, r"out\['y'\] and out\['z'\] overlap"),
    "an array and a view of it": (lambda a, h: {"y": a[0], "z": a[0][:]}, r"out\['y'\] and out\['z'\]"),
    "an owner for two": (lambda a, h: dict.fromkeys("yz", a[0].copy()), r"out\['y'\] and out\['z'\]"),
    "shifted views": (lambda a, h: {"y": shifted(a, 0), "z": shifted(a, 7)}, r"out\['y'\] and out\['z'\]"),
    "the state": (lambda a, h: {"y": a[0], "z": h}, r"out\['z'\] overlaps the state 'h'"),
    "a view of the state": (lambda a, h: {"y": h[::-1], "z": a[0]}, r"out\['y'\] overlaps the state 'h'"),
    "one row for all": (lambda a, h: {"y": strided(a, 0, 1), "z": a[1]}, r"out\['y'\] has several elements"),
    "one element for all": (lambda a, h: {"y": a[0], "z": strided(a[1], 0, 0)}, r"strides \[0, 0\]"),
    "rows that overlap": (lambda a, h: {"y": strided(a, 2, 1), "z": a[1]}, r"out\['y'\] has several"),
}

TAKEN = {
    "arrays of their own": lambda a, x: {"y": a[0].copy(), "z": a[1].copy()},
    "parts of one": lambda a, x: {"y": a[0], "z": a[1]},
    "columns in turn": lambda a, x: {"y": a.reshape(2, 8)[:, 0::2], "z": a.reshape(2, 8)[:, 1::2]},
    "backwards": lambda a, x: {"y": a[0][::-1, ::-1], "z": a[1][::-1]},
    "transposed": lambda a, x: {"y": a[0].reshape(4, 2).T, "z": np.asfortranarray(a[1])},
}


@devices
@pytest.mark.parametrize("case", REFUSED)
def test_results_are_not_written_over_each_other_or_the_state(device, case):
    stream, x = two_results(device), np.full(SHAPE, 2, np.float32)
    make, words = REFUSED[case]
    stream.step({"x": x})
    for _ in range(2):
        with pytest.raises(tinyseq.FeedError, match=words):
            stream.step({"x": x}, make(buffer(device, 2, *SHAPE), stream.state["h"]))
    np.testing.assert_array_equal(stream.step({"x": x})["y"], np.full(SHAPE, 4))


@devices
@pytest.mark.parametrize("case", TAKEN)
def test_what_shares_no_element_is_taken(device, case):
    stream, x = two_results(device), np.arange(8, dtype=np.float32).reshape(SHAPE)
    out = TAKEN[case](buffer(device, 2, *SHAPE), x)
    for step in (1, 2, 3):
        assert stream.step({"x": x}, out) is out
        np.testing.assert_array_equal(out["y"], step * x)
        np.testing.assert_array_equal(out["z"], -x)


def test_results_may_be_written_over_what_was_fed():
    stream, x = two_results("cpu"), np.arange(16, dtype=np.float32).reshape(2, *SHAPE)
    fed = x[0].copy()
    stream.step({"x": x[0]}, {"y": x[1], "z": x[0]})
    np.testing.assert_array_equal(x, [-fed, fed])
    stream.step({"x": x[1]}, {"y": x[1], "z": x[0]})
    np.testing.assert_array_equal(x, [-fed, 2 * fed])


def test_arrays_that_were_found_apart_are_not_taken_for_others():
    """Views are looked at once; those that come in their place, of the same shape, anew."""
    stream, x, a = two_results("cpu"), np.ones(SHAPE, np.float32), buffer("cpu", 2, *SHAPE)
    out = {"y": a[0], "z": a[1]}
    stream.step({"x": x}, out)
    for wrong in (a[0], stream.state["h"]):
        out["z"] = wrong
        with pytest.raises(tinyseq.FeedError, match="overlap"):
            stream.step({"x": x}, out)
    out["z"] = a[1]
    np.testing.assert_array_equal(stream.step({"x": x}, out)["y"], 2 * x)


def test_a_stream_does_not_keep_arrays_for_results():
    stream, a = two_results("cpu"), buffer("cpu", 2, *SHAPE)
    views = [a[0], a[1]]
    gone = [weakref.ref(view) for view in views]
    stream.step({"x": np.ones(SHAPE, np.float32)}, dict(zip("yz", views)))
    del views
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_a_pools_results_are_not_written_over_each_other():
    shape = ["rows", 4]
    nodes = [helper.make_node("Add", ["x", "h"], ["hn"]), helper.make_node("Neg", ["x"], ["z"])]
    nodes.append(helper.make_node("Identity", ["hn"], ["y"]))
    given, results = [value("x", shape=shape), value("h", shape=shape)], ("y", "z", "hn")
    made = model(nodes, given, [value(name, shape=shape) for name in results])
    for device in ("cpu", "reference"):
        pool = tinyseq.load(made, device=device, state={"h": "hn"}).pool(2)
        rows, x, a = [pool.open(), pool.open()], np.ones(SHAPE, np.float32), buffer(device, 2, *SHAPE)
        with pytest.raises(tinyseq.FeedError, match=r"out\['y'\] and out\['z'\] overlap"):
            pool.step(rows, {"x": x}, {"y": a[0], "z": a[0]})
        pool.step(rows, {"x": x}, {"y": a[0], "z": a[1]})
        np.testing.assert_array_equal(a, [x, -x])
