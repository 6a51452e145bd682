"""What streams keep between chunks, on an emulated device."""

from __future__ import annotations

import numpy as np
import pytest

from tests.strategies.streams import Layers, placed, signal

KEPT = {
    "whole numbers": lambda own: (
        own.whole(2**40).then("CumSum", np.array(1)).then("Div", np.array(2**38)).real()
    ),
    "a mean": lambda own: own.then("ReduceMean", np.array([1])),
    "numbers of frames": placed,
}


@pytest.mark.parametrize("make", KEPT.values(), ids=KEPT)
def test_what_is_kept_is_that_of_the_processor(make, device):
    streams = []
    for where in ("cuda", "cpu"):
        layers = Layers(rows=1)
        make(layers)
        streams.append(layers.model(where).stream())
    for part in np.split(signal(6), [2, 3], 1):
        found, wanted = (stream.step({"x": part})["y"] for stream in streams)
        np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-6)
    one, other = (stream.snapshot() for stream in streams)
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=1e-6)
