"""Elementwise kernels, emulated: every way to walk the elements, and folds that do not depend on others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda.emulator import EmulatedDevice
from tests.cuda.memory import On
from tinyseq.kernels.cuda.elementwise import LONG, LONGER, elementwise, shift
from tinyseq.kernels.cuda.launch import MOST_BLOCKS, Tail
from tinyseq.kernels.instructions import FUNCTION_CODES, FUNCTIONS

DTYPES = {"f": np.float32, "i": np.int64, "b": np.uint8}


def computed(name: str, kinds: str, operands: list[np.ndarray], y: np.ndarray, skip: int = 0, seed: int = 0):
    """A function of strided arrays into ``y``, all ``skip`` elements behind the start of their memory."""
    on, views = On(EmulatedDevice(seed)), [*operands, *[operands[0]] * (3 - len(operands)), y]
    places = []
    for view in views:
        # All that a view is part of goes to the device, so that its strides hold there.
        base = view if view.base is None else view.base
        offset = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        places.append(
            on.put(np.concatenate([np.zeros(skip, base.dtype), base.ravel()])) + skip * base.itemsize
        )
        places[-1] += offset
    values = [*y.shape, *(step for view in views for step in view.strides)]
    dims = Tail(on.put(np.array(values, np.int64)), values)
    on.run(elementwise(FUNCTION_CODES[name, kinds], *places, y.ndim, dims))
    span = y.base if y.base is not None else y
    return on.get(places[-1], span.shape, span.dtype), [launch.kernel.name for launch in on.device.launches]


WAYS = [(1, 0, "fours"), (1, 1, "line"), (2, 0, "box"), (3, 0, "box"), (4, 0, "space")]


@pytest.mark.parametrize("rank, skip, name", WAYS)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_every_way_to_walk(rank, skip, name, data):
    """Operands turned, one of them broadcast."""
    sizes = tuple(data.draw(st.integers(1, 5 if rank > 1 else 1100)) for _ in range(rank))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    a, b, c = (draw.standard_normal(sizes[::-1]).astype(np.float32).T for _ in range(3))
    c = np.broadcast_to(c.ravel()[:1].reshape([1] * rank), sizes)
    made, kernels = computed("fma", "fff", [a, b, c], np.zeros(sizes, np.float32), skip)
    np.testing.assert_allclose(made, a.astype(np.float64) * b + c, rtol=1e-6, atol=1e-6)
    assert kernels[0].endswith(f".{name}")


@pytest.mark.parametrize("function, kinds", sorted(FUNCTION_CODES))
def test_every_function_has_every_way(function, kinds):
    count = 2**18
    for sizes in ([count], [count // 4, 4], [count // 8, 2, 2, 2]):
        dims = Tail(0, [*sizes, *[8] * (4 * len(sizes))])
        (launch,) = elementwise(FUNCTION_CODES[function, kinds], 0, 0, 0, 0, len(sizes), dims)
        assert launch.blocks * launch.threads * 4 >= count or launch.blocks == MOST_BLOCKS


@pytest.mark.parametrize(
    "function, kinds", [("add", "ff"), ("power", "ff"), ("copy", "i"), ("copy", "b"), ("less", "ff")]
)
def test_several_elements_of_a_thread(function, kinds, monkeypatch):
    monkeypatch.setattr("tinyseq.kernels.cuda.elementwise.MANY", 1)
    draw = np.random.default_rng(0)
    operands = [(10 * draw.uniform(0, 1, (700, 3))).astype(DTYPES[kind]).T for kind in kinds]
    expected = {"add": np.add, "power": np.power, "copy": np.positive, "less": np.less}[function](*operands)
    result = DTYPES[FUNCTIONS[FUNCTION_CODES[function, kinds]].result]
    made, kernels = computed(function, kinds, operands, np.zeros((3, 700), result))
    np.testing.assert_allclose(made, expected, rtol=1e-5)
    assert kernels == ["elementwise._box_of.<locals>.box"]


def test_more_elements_than_threads(monkeypatch):
    monkeypatch.setattr("tinyseq.kernels.cuda.launch.MOST_BLOCKS", 1)
    x = np.arange(3000, dtype=np.float32)
    for y in (
        np.zeros(3000, np.float32),
        np.zeros((30, 100), np.float32),
        np.zeros((2, 3, 5, 100), np.float32),
    ):
        made, _ = computed("negate", "f", [x.reshape(y.shape)], y)
        np.testing.assert_array_equal(made.ravel(), -x)


@pytest.mark.parametrize("run", [1, 7, LONG - 1, LONG, 100, LONGER, LONGER + 300])
@pytest.mark.parametrize("name", ["add", "maximum", "subtract"])
@pytest.mark.parametrize("shape", ["flat", "turned", "one", "several", "both"])
def test_folds(name, run, shape):
    """What is folded beside an element does not change a bit of it."""
    draw = np.random.default_rng(run)
    x = draw.standard_normal((3, run)).astype(np.float32)
    x = np.asfortranarray(x) if shape == "turned" else x[:1] if shape == "one" else x
    start = np.float32([0.5, 1.5, 2.5])[: len(x)]
    made = folded(name, start, x, shape)
    total = x.sum(1, dtype=np.float64)
    expected = {"add": start + total, "maximum": np.maximum(start, x.max(1)), "subtract": start - total}
    np.testing.assert_allclose(made, expected[name], rtol=1e-5, atol=1e-4)
    assert made[-1:].tobytes() == folded(name, start[-1:], x[-1:].copy(), "one").tobytes()


def folded(name: str, start: np.ndarray, x: np.ndarray, shape: str) -> np.ndarray:
    """start[rows] and x[rows, run] together, the dimensions told as of several where they are of one."""
    on, (rows, run), (row_step, step) = On(EmulatedDevice(3)), x.shape, x.strides
    sizes, steps, kept = [rows, run], [row_step, step], [4, 0]
    if shape == "one":
        sizes, steps, kept = [run], [step], [0]
    elif shape == "several" and run % 2 == 0:
        sizes, steps, kept = [rows, 2, run // 2], [row_step, step * run // 2, step], [4, 0, 0]
    elif shape == "both":
        sizes, steps, kept = [1, rows, run], [0, row_step, step], [0, 4, 0]
    values = [*sizes, *kept, *steps, *[0] * len(sizes), *kept]
    y = on.put(np.zeros(rows, np.float32))
    a, b, dims = on.put(start), on.put(x.ravel("K")), Tail(on.put(np.array(values)), values)
    on.run(elementwise(FUNCTION_CODES[name, "ff"], a, b, a, y, len(sizes), dims))
    return on.get(y, (rows,), np.float32)


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 3),
    count=st.integers(0, 900),
    by=st.integers(1, 400),
    gap=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_numbers_that_move_up_are_read_before_they_are_written(rows, count, by, gap, seed):
    shape, on = (rows, count + by + gap), On(EmulatedDevice(seed))
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    at = on.put(x)
    on.run(shift(at, rows, shape[1], count, by))
    moved = np.concatenate([x[:, by : by + count], x[:, count:]], 1)
    np.testing.assert_array_equal(on.get(at, x.shape, x.dtype), moved)
