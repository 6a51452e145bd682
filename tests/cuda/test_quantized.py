"""Products of bytes and quantising, emulated, against NumPy's integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda.emulator import EmulatedDevice
from tests.cuda.memory import On
from tests.cuda.test_product import FEWER, SMALL
from tinyseq.kernels.cuda import quantized
from tinyseq.kernels.cuda.launch import Facts
from tinyseq.kernels.cuda.product import launched, tiles_of
from tinyseq.kernels.cuda.quantized import quantize_dynamic
from tinyseq.kernels.cuda.weighted import linear
from tinyseq.kernels.formats import BYTE_BLOCK, QuantizedMatrix
from tinyseq.kernels.instructions import HAS_LENGTHS
from tinyseq.plan.packing import panels

FORMS = {"few": FEWER, "wide": SMALL[0], "square": SMALL[1]}


def block(w: np.ndarray, offsets: np.ndarray, scales: np.ndarray) -> np.ndarray:
    return panels(QuantizedMatrix(w.astype(np.int8), offsets.astype(np.int8), scales), BYTE_BLOCK)


def rounded(x: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.float32, int]:
    """x in bytes, the scale and the zero point that cover ``numbers`` and 0, by DynamicQuantizeLinear."""
    low, high = (np.float32(one(numbers, initial=0)) for one in (np.nanmin, np.nanmax))
    scale = (high - low) / np.float32(255) if high > low else np.float32(1)
    zero_point = int(np.clip(np.rint(-low / scale), 0, 255))
    steps = np.nan_to_num(np.rint(x / scale), nan=0, posinf=1e9, neginf=-1e9)
    return np.clip(steps + zero_point, 0, 255).astype(np.uint8), scale, zero_point


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_exact_sums(form, data):
    """Rows at any address, columns of which each has its own zero point."""
    rows, k, n, spare = (data.draw(st.integers(*ends)) for ends in ((1, 9), (0, 21), (1, 70), (0, 3)))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    wide, w = draw.integers(0, 256, (rows, k + spare)).astype(np.uint8), draw.integers(-128, 128, (k, n))
    offsets, shift = draw.integers(-128, 128, n), data.draw(st.integers(0, 255))
    on = On(EmulatedDevice(data.draw(st.integers(0, 99))))
    y = on.put(np.zeros((rows, n), np.int32))
    packed = on.put(block(w, offsets, np.ones(1, np.float32)))
    sizes = (1, 0, rows, k + spare, k, packed, n, on.put(np.array([shift], np.uint8)), y)
    kernel = quantized._linear_bytes_of(FORMS[form])
    on.run(launched(kernel, tiles_of(FORMS[form], rows, n), (on.put(wide), *sizes)))
    expected = (wide[:, :k].astype(int) - shift) @ (w - offsets)
    np.testing.assert_array_equal(on.get(y, (rows, n), np.int32), expected)


@pytest.mark.parametrize("several_blocks", [False, True])
@pytest.mark.parametrize("count", [1, 5, 700])
def test_quantize_dynamic(monkeypatch, count, several_blocks):
    """Of numbers with not-a-number, of one sign and of both."""
    if several_blocks:
        monkeypatch.setattr(quantized, "LONG", 600)
        monkeypatch.setattr(quantized, "MOST_RANGES", 3)
    draw = np.random.default_rng(count)
    for x in (
        draw.standard_normal(count),
        draw.uniform(1, 2, count),
        draw.uniform(-2, -1, count),
        np.zeros(count),
    ):
        x = x.astype(np.float32)
        x[count // 3 : count // 2] = np.nan
        on = On(EmulatedDevice(count))
        y, scale, zero = (
            on.put(np.zeros(count, np.uint8)),
            on.put(np.zeros(1, np.float32)),
            on.put(np.zeros(1, np.uint8)),
        )
        on.run(quantize_dynamic(on.put(x), count, y, scale, zero))
        expected = rounded(x, x)
        np.testing.assert_array_equal(on.get(y, (count,), np.uint8), expected[0])
        assert on.get(scale, (1,), np.float32)[0] == expected[1]
        assert on.get(zero, (1,), np.uint8)[0] == expected[2]


@pytest.mark.parametrize("lengths", [None, [2, 0, 3], [0, 0, 0]])
@pytest.mark.parametrize("long", [20, 10**6])
def test_linear_dynamic(monkeypatch, lengths, long):
    """Frames past the longest row do not count for the scale and are not written."""
    monkeypatch.setattr(quantized, "LONG", long)
    monkeypatch.setattr(quantized, "MOST_RANGES", 2)
    draw = np.random.default_rng(4)
    frames, rows, k, n = 5, 3, 6, 18
    longest = frames if lengths is None else max(lengths)
    x, bias = (draw.standard_normal(shape).astype(np.float32) for shape in ((frames, rows, k), n))
    x[longest:] *= 100
    w, offsets = draw.integers(-128, 128, (k, n)), draw.integers(-9, 9, n)
    scales = draw.uniform(0.1, 1, n).astype(np.float32)
    on = On(EmulatedDevice())
    y = on.put(np.full((frames, rows, n), 7, np.float32))
    packed = on.put(block(w, offsets, scales))
    scratch = on.put(np.zeros(frames * rows * (4 * n + k) + 3, np.uint8))
    where = on.put(np.array([0] if lengths is None else lengths, np.int64))
    flags = 0 if lengths is None else HAS_LENGTHS
    placed = on.put(x), frames, rows * k, rows, k, k, packed, n, on.put(bias), y, n
    on.run(linear(*placed, scratch, where, flags, BYTE_BLOCK.code, Facts((9, 0), 4, 0)))
    octets, scale, shift = rounded(x, x[:longest])
    sums = (octets.astype(int) - shift) @ (w - offsets)
    expected = bias + sums.astype(np.float32) * (scale * scales)
    expected[longest:] = 7
    np.testing.assert_allclose(on.get(y, expected.shape, np.float32), expected, rtol=1e-6)
