"""Recurrent layers on the device, in every form: against the reference, bit by bit, with planted faults."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyseq
from tests.cuda.emulator import EmulatedDevice, EmulationError
from tests.cuda.memory import On
from tests.models import Case, recurrent
from tests.test_differential import bound_of, close
from tests.test_projection import layers_of_any_kind
from tinyseq.kernels.cells import VARIANT_CODES, Variant
from tinyseq.kernels.cuda import driver, forms
from tinyseq.kernels.cuda.exchange import BLOCK, CLUSTER, CLUSTERS, GRID, Exchange
from tinyseq.kernels.cuda.forms import Form, form_for
from tinyseq.kernels.cuda.launch import Facts, Launch
from tinyseq.kernels.cuda.rebinding import HOME
from tinyseq.kernels.cuda.schedule import TWINS
from tinyseq.kernels.instructions import HAS_Y
from tinyseq.plan.packing import panels


def of_grid(exchange: Exchange) -> Callable[[int], Form]:
    return lambda hidden: Form(exchange, -(-hidden // 8), 8, 1, 16)


FORMS: dict[str, Callable[[int], Form | None]] = {
    "block": lambda hidden: Form(BLOCK, 1, 16, 4, 8),
    "cluster": lambda hidden: Form(CLUSTERS, CLUSTER, 16, 1, 8),
    "cluster of pairs": lambda hidden: Form(CLUSTERS, CLUSTER, 16, 2, 8),
    "grid": of_grid(GRID),
    "frames": lambda hidden: None,
}
LSTM = VARIANT_CODES[Variant("LSTM")]
PERSISTENT = [name for name in FORMS if name != "frames"]

OPS = {
    "RNN": ("RNN", {}),
    "LSTM": ("LSTM", {}),
    "LSTM, coupled": ("LSTM", {"input_forget": 1}),
    "GRU, reset after": ("GRU", {"linear_before_reset": 1}),
    "GRU, reset before": ("GRU", {"linear_before_reset": 0}),
}


def run(case: Case, form: Callable[[int], Form | None], seed: int = 0, times: int = 1) -> dict:
    """What the last of some runs on an emulated device gives, in one form."""
    device = EmulatedDevice(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "open_device", lambda number: device)
        patch.setattr(forms, "form_for", lambda hidden, rows, facts: form(hidden))
        model = tinyseq.load(case.model, device="cuda")
        return [model.run(case.feeds) for _ in range(times)][-1]


def agrees(case: Case, form: Callable[[int], Form | None], seed: int = 0) -> None:
    expected = tinyseq.load(case.model, device="reference").run(case.feeds)
    close(run(case, form, seed), expected, bound_of("LSTM"))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=2, deadline=None)
@given(data=st.data())
def test_against_the_reference(form, op, data):
    name, attributes = OPS[op]
    frames, rows = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
    lengths = st.lists(st.integers(0, frames), min_size=rows, max_size=rows)
    case = recurrent(
        name, frames, rows, 3, data.draw(st.integers(1, 24)),
        lengths=data.draw(st.none() | lengths),
        initial=data.draw(st.booleans()),
        direction=data.draw(st.sampled_from(["forward", "reverse"])),
        seed=data.draw(st.integers(0, 99)),
        **attributes,
    )  # fmt: skip
    agrees(case, FORMS[form], data.draw(st.integers(0, 99)))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("form, hidden", [("block", 64), ("cluster", 70), ("grid", 100)])
def test_more_units(form, hidden, op):
    name, attributes = OPS[op]
    agrees(recurrent(name, 2, 2, 3, hidden, initial=True, direction="reverse", **attributes), FORMS[form])


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("attributes", [{}, {"clip": 0.5}, {"clip": 0.5, "linear_before_reset": 1}])
def test_many_rows_frame_by_frame(op, attributes):
    if op == "LSTM":
        attributes = {"peepholes": True, "input_forget": 1} if attributes else {}
    if op != "GRU":
        attributes = {name: value for name, value in attributes.items() if name != "linear_before_reset"}
    lengths = [row % 3 for row in range(18)]
    agrees(recurrent(op, 2, 18, 3, 7, initial=True, lengths=lengths, **attributes), FORMS["frames"])


@settings(max_examples=5, deadline=None)
@given(case=layers_of_any_kind(), seed=st.integers(0, 99))
def test_projected_layers(case, seed):
    graph, feeds = case
    expected = tinyseq.load(graph, device="reference").run(feeds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "open_device", lambda number: EmulatedDevice(seed))
        close(tinyseq.load(graph, device="cuda").run(feeds), expected, bound_of("LSTM"))


@pytest.mark.parametrize("op", OPS)
def test_activations_named_at_run_time_change_no_bit(op):
    name, attributes = OPS[op]
    plain, general = (
        run(recurrent(name, 2, 3, 3, 7, initial=True, clip=clip, **attributes), FORMS["frames"])
        for clip in (None, 1e6)
    )
    assert {key: array.tobytes() for key, array in plain.items()} == {
        key: array.tobytes() for key, array in general.items()
    }


@pytest.mark.parametrize("op", ["LSTM", "GRU, reset before"])
def test_forms_rows_and_frames_change_no_bit(op):
    name, attributes = OPS[op]
    case = recurrent(name, 3, 3, 3, 17, initial=True, fed=(0, 5, 6), **attributes)
    made = [run(case, FORMS[form], seed) for seed, form in enumerate(PERSISTENT)]
    for results in made[1:]:
        for key, result in made[0].items():
            assert results[key].tobytes() == result.tobytes()

    def part(frames: slice, rows: slice, states: dict) -> Case:
        given = {"x": case.feeds["x"][frames, rows]}
        given |= {key: state[:, rows] for key, state in states.items()}
        return Case(case.model, given)

    initial = {key: array for key, array in case.feeds.items() if key != "x"}
    alone = run(part(slice(None), slice(2, 3), initial), FORMS["grid"])
    assert alone["y"].tobytes() == made[0]["y"][:, :, 2:3].tobytes()
    first = run(part(slice(0, 1), slice(None), initial), FORMS["block"])
    finals = {
        key: first[final]
        for key, final in zip(sorted(initial), ("y_c", "y_h") if len(initial) > 1 else ("y_h",))
    }
    rest = run(part(slice(1, None), slice(None), finals), FORMS["cluster"])
    assert np.concatenate([first["y"], rest["y"]]).tobytes() == made[0]["y"].tobytes()


def test_a_grid_meets_again():
    case = recurrent("LSTM", 2, 1, 3, 20, initial=True)
    expected = run(case, FORMS["grid"])
    again = run(case, FORMS["grid"], times=3)
    assert all(again[key].tobytes() == expected[key].tobytes() for key in expected)


def lstm_on_grid(counter: int) -> np.ndarray:
    """y of an LSTM whose grid has met ``counter`` times before."""
    draw, on, frames, hidden = np.random.default_rng(3), On(EmulatedDevice()), 3, 18
    xw, r, h, c = (
        draw.standard_normal(shape).astype(np.float32)
        for shape in ((frames, 4 * hidden), (hidden, 4 * hidden), (1, hidden), (1, hidden))
    )
    y = on.put(np.zeros((frames, hidden), np.float32))
    meeting = on.put(np.array([counter, counter], np.int64).astype(np.int32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forms, "form_for", lambda hidden, rows, facts: FORMS["grid"](hidden))
        operands = on.put(xw), on.put(panels(r)), 0, 0, 0, 0, on.put(h), on.put(c), y, 0, 0, 0
        sizes = frames, 1, hidden, hidden, 0, hidden, hidden, HAS_Y
        launches = TWINS["recurrent"](LSTM, *operands, *sizes, Facts((9, 0), 4, meeting))
    assert on.run(launches)
    return on.get(y, (frames, hidden), np.float32)


def test_the_count_of_meetings_wraps_around():
    assert lstm_on_grid(2**31 - 2).tobytes() == lstm_on_grid(0).tobytes()


def _not_waiting(meeting, ticket):
    return ticket


_not_waiting.__module__ = f"{HOME}.planted"


@pytest.mark.parametrize("op", ["RNN", "GRU, reset before"])
@pytest.mark.parametrize("form", ["block", "cluster", "grid"])
def test_a_missing_barrier_shows(form, op):
    name, attributes = OPS[op]
    case = recurrent(name, 3, 2, 3, 20, **attributes)

    def faulty(hidden: int) -> Form:
        fine = FORMS[form](hidden)
        return fine._replace(exchange=fine.exchange._replace(wait=_not_waiting))

    with pytest.raises((AssertionError, EmulationError)):
        for seed in range(3):
            agrees(case, faulty, seed)


H100, A100 = Facts((9, 0), 132, 0), Facts((8, 0), 108, 0)


@pytest.mark.parametrize(
    "facts, hidden, rows, name",
    [
        (H100, 64, 1000, "block"), (A100, 32, 1000, "block"), (A100, 33, 16, "grid"),
        (H100, 65, 1000, "cluster"), (H100, 256, 1, "cluster"),
        (A100, 256, 1, "grid"), (A100, 256, 17, None),
        (H100, 1024, 16, "grid"), (H100, 1024, 17, None), (H100, 1025, 1, None), (A100, 1024, 1, None),
    ],
)  # fmt: skip
def test_the_form_fits_the_device(facts, hidden, rows, name):
    form = form_for(hidden, rows, facts)
    assert (form and form.exchange.name) == name


def launches(frames: int, hidden: int = 1024) -> list[Launch]:
    sizes = frames, 1, hidden, hidden, 0, hidden, hidden, HAS_Y
    return TWINS["recurrent"](LSTM, *[2**20] * 12, *sizes, H100)


def test_the_form_does_not_depend_on_the_frames():
    for hidden in (64, 128, 1024):
        kernels = {launch.kernel for frames in (1, 7) for launch in launches(frames, hidden)}
        assert len(kernels) == 1
    assert len(launches(7)) == 1
    assert launches(0) == []
    [launch] = launches(1)
    assert launch.together
    assert launch.blocks == 128
