"""Recurrent layers on tensor cores, emulated: rounded is what is multiplied, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda.emulator import EmulatedDevice
from tests.cuda.memory import On
from tests.cuda.test_product import numbers, rounded
from tinyseq.kernels.cells import VARIANT_CODES, Variant
from tinyseq.kernels.cuda import recurrent_cores
from tinyseq.kernels.cuda.launch import Facts
from tinyseq.kernels.cuda.recurrent import RecurrentOperands
from tinyseq.kernels.formats import FLOAT32
from tinyseq.kernels.instructions import HAS_LENGTHS, HAS_Y
from tinyseq.plan.packing import panels

KINDS = {"LSTM": Variant("LSTM"), "GRU": Variant("GRU, reset after"), "RNN": Variant("RNN")}
GRID, CLUSTER = (8, 0), (9, 0)
"""The compute capabilities whose devices take one form and the other."""
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def expected(kind, xw, r, bias, h, c, lengths, precision):
    """All of y, and the last h and c."""
    y = np.zeros((*xw.shape[:2], h.shape[1]))
    h, c = h.astype(np.float64), c.astype(np.float64)
    for t, x in enumerate(xw.astype(np.float64)):
        s = rounded(h.astype(np.float32), precision) @ rounded(r, precision)
        if kind == "LSTM":
            i, o, f, g = np.split(x + s, 4, 1)
            new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            new_h = sigmoid(o) * np.tanh(new_c)
        elif kind == "GRU":
            (xz, xr, xn), (sz, sr, sn) = np.split(x, 3, 1), np.split(s + bias, 3, 1)
            z, reset = sigmoid(xz + sz), sigmoid(xr + sr)
            new_h, new_c = (1 - z) * np.tanh(xn + reset * sn) + z * h, c
        else:
            new_h, new_c = np.tanh(x + s), c
        valid = (t < lengths)[:, None]
        h, c = np.where(valid, new_h, h), np.where(valid, new_c, c)
        y[t] = np.where(valid, h, 0)
    return y, h, c


class Run:
    """A layer's operands on an emulated device."""

    def __init__(
        self, kind, precision, xw, r, bias, h, c, lengths, capability=GRID, reverse=0, seed=0
    ) -> None:
        on, (frames, rows, _), hidden = On(EmulatedDevice(seed)), xw.shape, h.shape[1]
        layout = {
            "code": VARIANT_CODES[KINDS[kind]], "xw": on.put(xw), "r": on.put(panels(r)), "second": 0,
            "bias": on.put(bias), "constants": 0, "options": 0, "h": on.put(h), "c": on.put(c),
            "y": on.put(np.full((frames, rows, hidden), 7, np.float32)), "scratch": 0, "rounded": 0,
            "lengths": on.put(lengths.astype(np.int64)), "frames": frames, "rows": rows, "hidden": hidden,
            "units": hidden, "reverse": reverse, "y_frame": rows * hidden, "y_row": hidden,
            "flags": HAS_Y | HAS_LENGTHS, "format": FLOAT32.code,
        }  # fmt: skip
        layer, facts = (
            RecurrentOperands(**layout, h0=layout["h"], c0=layout["c"]),
            Facts(capability, 132, on.put(np.zeros(2, np.int32)), precision),
        )
        on.run(recurrent_cores.sequence(KINDS[kind], layer, facts))
        self.y = on.get(layer.y, (frames, rows, hidden), np.float32)
        self.h, self.c = (on.get(at, (rows, hidden), np.float32) for at in (layer.h, layer.c))


def operands(kind, frames, rows, hidden, seed):
    draw, width = np.random.default_rng(seed), GATES[kind] * hidden
    xw, r, bias = numbers(draw, frames, rows, width), numbers(draw, hidden, width), numbers(draw, width)
    return xw, r / np.float32(hidden**0.5), bias, numbers(draw, rows, hidden) / 2, numbers(draw, rows, hidden)


@pytest.mark.parametrize("capability", [GRID, CLUSTER])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=2, deadline=None)
@given(data=st.data())
def test_against_rounded_products(kind, capability, data):
    frames, rows, octets = (
        data.draw(st.integers(1, 4)),
        data.draw(st.integers(1, 9)),
        data.draw(st.integers(1, 5)),
    )
    precision, seed = data.draw(st.sampled_from(["bfloat16", "float16"])), data.draw(st.integers(0, 99))
    lengths = np.array(data.draw(st.lists(st.integers(0, frames), min_size=rows, max_size=rows)))
    given_ = operands(kind, frames, rows, 8 * octets, seed)
    made = Run(kind, precision, *given_, lengths, capability, seed=seed)
    y, h, c = expected(kind, *given_, lengths, precision)
    # A state that lies between two numbers of the precision may be rounded to either.
    bound = {"bfloat16": 1e-2, "float16": 2e-3}[precision]
    np.testing.assert_allclose(made.y, y, atol=bound)
    np.testing.assert_allclose(made.h, h, atol=bound)
    if kind == "LSTM":
        np.testing.assert_allclose(made.c, c, atol=bound)


@pytest.mark.parametrize("capability", [GRID, CLUSTER])
def test_rows_and_frames_change_no_bit(capability):
    xw, r, bias, h, c = operands("LSTM", 4, 3, 24 if capability == GRID else 40, 5)
    whole = Run("LSTM", "bfloat16", xw, r, bias, h, c, np.full(3, 4), capability)
    begun = np.full(1, 4)
    first = Run("LSTM", "bfloat16", xw[:3, 1:2], r, bias, h[1:2], c[1:2], begun, capability, seed=1)
    then = Run("LSTM", "bfloat16", xw[3:, 1:2], r, bias, first.h, first.c, begun, capability, seed=2)
    assert np.concatenate([first.y, then.y]).tobytes() == np.ascontiguousarray(whole.y[:, 1:2]).tobytes()
    assert then.c.tobytes() == whole.c[1:2].tobytes()


@pytest.mark.parametrize("hidden, rows", [(70, 2), (5, 9)])
def test_clusters_take_units_of_any_number(hidden, rows):
    given_ = operands("LSTM", 2, rows, hidden, 6)
    made = Run("LSTM", "float16", *given_, np.full(rows, 2), CLUSTER)
    y, _, _ = expected("LSTM", *given_, np.full(rows, 2), "float16")
    np.testing.assert_allclose(made.y, y, atol=2e-3)
