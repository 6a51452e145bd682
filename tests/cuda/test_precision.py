"""The precision in which a device multiplies: what is rounded, what is not, and who refuses."""

from __future__ import annotations

import numpy as np
import pytest

import tinyseq
from tests.models import recurrent
from tinyseq.errors import DeviceError

BOUNDS = {"tf32": 4e-3, "bfloat16": 3e-2, "float16": 4e-3}


def differences(case, precision: str) -> tuple[dict, dict]:
    """How far results on the device are from the reference's, exact and in a precision."""
    expected = tinyseq.load(case.model, device="reference").run(case.feeds)
    made = [
        tinyseq.load(case.model, device="cuda", precision=one).run(case.feeds)
        for one in ("float32", precision)
    ]
    return tuple({key: np.abs(one[key] - expected[key]).max() for key in expected} for one in made)


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("op, options", [("LSTM", {}), ("GRU", {"linear_before_reset": 1})])
def test_a_layer(device, precision, op, options):
    exact, rounded = differences(recurrent(op, 3, 2, 5, 16, seed=3, **options), precision)
    assert max(exact.values()) < 1e-5
    assert 1e-5 < max(rounded.values()) < BOUNDS[precision]
    kernels = " ".join(launch.kernel.name for launch in device.launches)
    assert ("recurrent_cluster" in kernels) == (precision != "tf32")


def test_layers_without_a_rounded_form_are_exact_but_for_the_products_before_them(device):
    _, rounded = differences(recurrent("GRU", 2, 2, 5, 7, seed=3, linear_before_reset=0), "bfloat16")
    assert 1e-5 < max(rounded.values()) < BOUNDS["bfloat16"]


@pytest.mark.parametrize("device_name", ["cpu", "reference"])
def test_other_devices_refuse(device_name):
    case = recurrent("RNN", 1, 1, 2, 2)
    with pytest.raises(DeviceError, match=r"does not compute in precision='tf32'.*or with device='cuda'"):
        tinyseq.load(case.model, device=device_name, precision="tf32")
    assert tinyseq.load(case.model, device=device_name, precision="float32").precision == "float32"


@pytest.mark.parametrize("precision", ["half", 16])
def test_an_unknown_precision_is_refused(precision):
    with pytest.raises(
        DeviceError, match="is unknown; choose 'float32', 'bfloat16', 'float16', 'int16', 'int8', 'tf32'"
    ):
        tinyseq.load(recurrent("RNN", 1, 1, 2, 2).model, device="cuda", precision=precision)


def test_streams_step_in_the_precision_of_their_model(device):
    case = recurrent("LSTM", 4, 1, 5, 16, seed=4)
    model = tinyseq.load(case.model, device="cuda", precision="float16")
    whole, stream = model.run(case.feeds)["y"], model.stream()
    parts = [stream.step({"x": case.feeds["x"][t : t + 1]})["y"] for t in range(4)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert model.with_any_state().precision == "float16"
