"""Recurrent layers on the device, in every form: against the reference, bit by bit, with planted faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

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
from tinyseq.kernels.cells import LATE, VARIANT_CODES, Variant
from tinyseq.kernels.cuda import cells, driver, forms, frame_few_rows, frame_many_rows, passing, small, sums
from tinyseq.kernels.cuda import recurrent as layers
from tinyseq.kernels.cuda.exchange import GRID, Exchange
from tinyseq.kernels.cuda.forms import Form, form_for
from tinyseq.kernels.cuda.intrinsics import thread, threads
from tinyseq.kernels.cuda.launch import Facts, Kernel, Launch
from tinyseq.kernels.cuda.rebinding import HOME
from tinyseq.kernels.cuda.schedule import TWINS
from tinyseq.kernels.formats import FLOAT32
from tinyseq.kernels.instructions import HAS_Y
from tinyseq.kernels.llvm.intrinsics import floats
from tinyseq.plan.packing import panels


class Way(NamedTuple):
    """How layers are run: what is in the place of ``forms.form_for``, up to how many units a sum has few
    parts, up to how many frames weights are not kept, and from how many units on a block has one gate then.
    Without a form, blocks have layers of up to so many
    units to themselves."""

    form: Callable[[int], Form | None]
    short: int = 0
    few_frames: int = 0
    by_gate: int = 9999
    by_pair: int = 9999


def shared(exchange: Exchange, warps: int, units: int) -> Callable[[int], Form]:
    return lambda hidden: Form(exchange, -(-hidden // (warps * units)), warps, units, 16 // units)


def none(hidden: int) -> None:
    return None


WAYS = {
    "small": Way(none, sums.SHORT),
    "cluster": Way(lambda hidden: forms.CLUSTERED),
    "grid": Way(shared(GRID, 8, 1)),
    "frames": Way(none),
    "live": Way(none, sums.SHORT, 99),
    "live, many parts": Way(none, 0, 99),
    "live, by gate": Way(none, 0, 99, 1),
    "live, by pair": Way(none, 0, 99, 1, 1),
    "live, by cluster": Way(lambda hidden: forms.CLUSTERED, 0, 99),
}
LSTM = VARIANT_CODES[Variant("LSTM")]
FEW_PARTS, MANY_PARTS = ("small", "live"), (
    "cluster", "grid", "live, by gate", "live, by pair", "live, many parts"
)  # fmt: skip
"""Ways of one order of summation."""

OPS = {
    "RNN": ("RNN", {}),
    "LSTM": ("LSTM", {}),
    "LSTM, coupled": ("LSTM", {"input_forget": 1}),
    "GRU, reset after": ("GRU", {"linear_before_reset": 1}),
    "GRU, reset before": ("GRU", {"linear_before_reset": 0}),
}


@contextmanager
def going(way: Way) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forms, "form_for", lambda hidden, rows, facts: way.form(hidden))
        patch.setattr(forms, "SHORT", way.short)
        patch.setattr(sums, "SHORT", way.short)
        patch.setattr(layers, "FEW_FRAMES", way.few_frames)
        patch.setattr(frame_few_rows, "BY_GATE_FROM", way.by_gate)
        patch.setattr(frame_few_rows, "BY_PAIR_FROM", way.by_pair)
        yield patch


def run(case: Case, way: Way, seed: int = 0, times: int = 1) -> dict:
    """What the last of some runs on an emulated device gives, in one way."""
    device = EmulatedDevice(seed)
    with going(way) as patch:
        patch.setattr(driver, "open_device", lambda number: device)
        model = tinyseq.load(case.model, device="cuda")
        return [model.run(case.feeds) for _ in range(times)][-1]


def agrees(case: Case, way: Way, seed: int = 0) -> None:
    expected = tinyseq.load(case.model, device="reference").run(case.feeds)
    close(run(case, way, seed), expected, bound_of("LSTM"))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=2, deadline=None)
@given(data=st.data())
def test_against_the_reference(way, op, data):
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
    agrees(case, WAYS[way], data.draw(st.integers(0, 99)))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    "way, hidden",
    [
        ("small", 98),
        ("cluster", 70),
        ("grid", 100),
        ("live", 68),
        ("live, by gate", 68),
        ("live, by pair", 68),
    ],
)
def test_more_units(way, hidden, op):
    name, attributes = OPS[op]
    agrees(recurrent(name, 2, 2, 3, hidden, initial=True, direction="reverse", **attributes), WAYS[way])


@pytest.mark.parametrize("way", ["live", "live, many parts", "live, by gate", "live, by pair"])
def test_more_input(way):
    """More than is in shared memory at a time."""
    agrees(recurrent("LSTM", 1, 2, (passing.STAGES + 1) * passing.STEPS + 33, 4, initial=True), WAYS[way])


@pytest.mark.parametrize("way", ["live, many parts", "live, by gate", "live, by pair"])
@pytest.mark.parametrize("op", ["LSTM", "GRU, reset after"])
def test_a_state_of_more_stages_than_the_input(way, op):
    name, attributes = OPS[op]
    agrees(recurrent(name, 1, 1, 11, passing.STEPS + 4, initial=True, **attributes), WAYS[way])


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("attributes", [{}, {"clip": 0.5}, {"clip": 0.5, "linear_before_reset": 1}])
def test_many_rows_frame_by_frame(op, attributes):
    if op == "LSTM":
        attributes = {"peepholes": True, "input_forget": 1} if attributes else {}
    if op != "GRU":
        attributes = {name: value for name, value in attributes.items() if name != "linear_before_reset"}
    lengths = [row % 3 for row in range(18)]
    agrees(recurrent(op, 2, 18, 3, 7, initial=True, lengths=lengths, **attributes), WAYS["frames"])


@pytest.mark.parametrize("op, hidden", [("RNN", 68), ("LSTM", 9), ("GRU, reset after", 9)])
def test_tiles_of_rows(op, hidden):
    """Rows of several blocks, steps of k beyond those that are in shared memory at a time."""
    name, attributes = OPS[op]
    agrees(recurrent(name, 1, 34, 3, hidden, initial=True, **attributes), WAYS["frames"])


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
        run(recurrent(name, 2, 3, 3, 7, initial=True, clip=clip, **attributes), WAYS["frames"])
        for clip in (None, 1e6)
    )
    assert {key: array.tobytes() for key, array in plain.items()} == {
        key: array.tobytes() for key, array in general.items()
    }


@pytest.mark.parametrize("op", ["LSTM", "GRU, reset after", "GRU, reset before"])
@pytest.mark.parametrize("ways", [FEW_PARTS, MANY_PARTS], ids=["few parts", "many parts"])
def test_forms_rows_and_frames_change_no_bit(ways, op):
    name, attributes = OPS[op]
    case = recurrent(name, 3, 2, 5, 9, initial=True, fed=(0, 5, 6), **attributes)
    made = [run(case, WAYS[way], seed) for seed, way in enumerate(ways)]
    for results in made[1:]:
        for key, result in made[0].items():
            assert results[key].tobytes() == result.tobytes()

    def part(frames: slice, rows: slice, states: dict) -> Case:
        given = {"x": case.feeds["x"][frames, rows]}
        given |= {key: state[:, rows] for key, state in states.items()}
        return Case(case.model, given)

    initial = {key: array for key, array in case.feeds.items() if key != "x"}
    for way in ways[-2:]:
        alone = run(part(slice(None), slice(1, 2), initial), WAYS[way])
        assert alone["y"].tobytes() == made[0]["y"][:, :, 1:2].tobytes()
    first = run(part(slice(0, 1), slice(None), initial), WAYS[ways[-1]])
    finals = {
        key: first[final]
        for key, final in zip(sorted(initial), ("y_c", "y_h") if len(initial) > 1 else ("y_h",))
    }
    rest = run(part(slice(1, None), slice(None), finals), WAYS[ways[0]])
    assert np.concatenate([first["y"], rest["y"]]).tobytes() == made[0]["y"].tobytes()


@pytest.mark.parametrize("op", OPS)
def test_rows_of_one_block_have_the_bits_of_rows_alone(op):
    name, attributes = OPS[op]
    rows = 2 * EmulatedDevice.multiprocessors + 1
    case = recurrent(name, 5, rows, 3, 5, initial=True, lengths=[n % 6 for n in range(rows)], **attributes)
    whole = run(case, WAYS["small"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmulatedDevice, "multiprocessors", rows)
        alone = run(case, WAYS["small"])
    assert {key: array.tobytes() for key, array in whole.items()} == {
        key: array.tobytes() for key, array in alone.items()
    }


@pytest.mark.parametrize("op", ["LSTM", "GRU, reset before"])
@pytest.mark.parametrize("kept, live, hidden", [("small", "live", 12), ("cluster", "live, by cluster", 9)])
def test_few_frames_of_many_rows_have_the_bits_of_many_frames(kept, live, hidden, op):
    name, attributes = OPS[op]
    case = recurrent(name, 1, frame_few_rows.FEWER_ROWS + 3, 3, hidden, initial=True, **attributes)
    expected, results = run(case, WAYS[kept]), run(case, WAYS[live])
    assert all(results[key].tobytes() == expected[key].tobytes() for key in expected)


NUMBERS = np.random.default_rng(0).normal(0, 40, 2000).astype(np.float32)
NUMBERS = np.concatenate([NUMBERS, NUMBERS / 40, np.array([0, -0.0, np.nan, np.inf, -np.inf], np.float32)])


@pytest.mark.parametrize("op", OPS)
def test_gates_have_the_bits_of_their_activations(op):
    variant = Variant(op.partition(",")[0] if op.startswith("LSTM") else op)
    cell, on = variant.cell, On(EmulatedDevice())
    early = cells.early_of(variant)

    def apply(x, y, count, gate):
        for i in range(thread(), count, threads()):
            floats(y)[i] = early(floats(x)[i], gate)

    apply.__module__ = f"{HOME}.planted"
    x, y = on.put(NUMBERS), on.put(NUMBERS)
    for gate, number in enumerate(cell.early):
        expected = NUMBERS
        if number != LATE:
            graph = tinyseq.Graph()
            graph.output("y", graph.apply(cell.activations[number], graph.input("x", [len(NUMBERS)])))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(driver, "open_device", lambda number: EmulatedDevice())
                expected = tinyseq.load(graph, device="cuda").run({"x": NUMBERS})["y"]
        assert on.run([Launch(Kernel(apply), 1, 32, (x, y, len(NUMBERS), gate))])
        np.testing.assert_array_equal(on.get(y, NUMBERS.shape, np.float32), expected)


def test_a_grid_meets_again():
    case = recurrent("LSTM", 2, 1, 3, 20, initial=True)
    expected = run(case, WAYS["grid"])
    again = run(case, WAYS["grid"], times=3)
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
    with going(WAYS["grid"]):
        operands = on.put(xw), on.put(panels(r)), 0, 0, 0, 0, on.put(h), on.put(c), y, 0, 0, 0
        sizes = frames, 1, hidden, hidden, 0, hidden, hidden, HAS_Y, FLOAT32.code
        launches = TWINS["recurrent"](LSTM, *operands, *sizes, Facts((9, 0), 4, meeting))
    assert on.run(launches)
    return on.get(y, (frames, hidden), np.float32)


def test_the_count_of_meetings_wraps_around():
    assert lstm_on_grid(2**31 - 2).tobytes() == lstm_on_grid(0).tobytes()


def _not_waiting(meeting, ticket):
    return ticket


_not_waiting.__module__ = f"{HOME}.planted"


@pytest.mark.parametrize("op", ["RNN", "GRU, reset before"])
@pytest.mark.parametrize("way, exchange", [("cluster", "CLUSTERS"), ("grid", "GRID")])
def test_a_missing_meeting_shows(way, exchange, op, monkeypatch):
    name, attributes = OPS[op]
    case = recurrent(name, 3, 2, 3, 20, **attributes)
    monkeypatch.setattr(forms, exchange, getattr(forms, exchange)._replace(wait=_not_waiting))

    def faulty(hidden: int) -> Form:
        return WAYS[way].form(hidden)._replace(exchange=getattr(forms, exchange))

    with pytest.raises((AssertionError, EmulationError)):
        for seed in range(3):
            agrees(case, WAYS[way]._replace(form=faulty), seed)


def _passing():
    return


_passing.__module__ = f"{HOME}.planted"


@pytest.mark.parametrize("way, rows", [("small", 2), ("live", 2), ("frames", 17)])
def test_a_missing_barrier_shows(way, rows, monkeypatch):
    kernels = frame_few_rows.few_rows_of, frame_many_rows.many_rows_of, small.small_of
    for module in (frame_few_rows, frame_many_rows, small):
        monkeypatch.setattr(module, "barrier", _passing)
    for kernel in kernels:
        kernel.cache_clear()
    try:
        with pytest.raises((AssertionError, EmulationError)):
            for seed in range(3):
                agrees(recurrent("GRU", 3, rows, 3, 20, initial=True), WAYS[way], seed)
    finally:
        for kernel in kernels:
            kernel.cache_clear()


H100, A100 = Facts((9, 0), 132, 0), Facts((8, 0), 108, 0)


@pytest.mark.parametrize(
    "facts, hidden, rows, name",
    [
        (H100, 129, 1000, "cluster"), (H100, 256, 1, "cluster"), (A100, 129, 16, "grid"),
        (A100, 256, 1, "grid"), (A100, 256, 17, None),
        (H100, 1024, 16, "grid"), (H100, 1024, 17, None), (H100, 1025, 1, None), (A100, 1024, 1, None),
    ],
)  # fmt: skip
def test_the_form_fits_the_device(facts, hidden, rows, name):
    form = form_for(hidden, rows, facts)
    assert (form and form.exchange.name) == name


def launches(frames: int, hidden: int = 1024, rows: int = 1) -> list[Launch]:
    sizes = frames, rows, hidden, hidden, 0, hidden, hidden, HAS_Y, FLOAT32.code
    return TWINS["recurrent"](LSTM, *[2**20] * 12, *sizes, H100)


def test_few_frames_are_launches_of_their_own():
    assert launches(0) == []
    for hidden in (64, 128, 1024):
        [kept] = launches(99, hidden)
        assert [kept.kernel] == [launch.kernel for launch in launches(layers.FEW_FRAMES + 1, hidden)]
        few = launches(layers.FEW_FRAMES, hidden)
        assert len(few) == layers.FEW_FRAMES
        assert kept.kernel not in [launch.kernel for launch in few]
    [launch] = launches(99)
    assert launch.together
    assert launch.blocks == 128


@pytest.mark.parametrize(
    "capability, hidden, count",
    [((9, 0), 128, 1), ((8, 0), 64, 1), ((8, 0), 65, 9), ((12, 0), 64, 1), ((12, 0), 65, 9)],
)
def test_a_small_layer_has_room(capability, hidden, count):
    sizes = 9, 1, hidden, hidden, 0, hidden, hidden, HAS_Y, FLOAT32.code
    facts = Facts(capability, 100, 0)
    assert len(TWINS["recurrent"](LSTM, *[2**20] * 12, *sizes, facts)) == count


def test_rows_of_a_small_layer_have_blocks_of_their_own():
    assert [launch.blocks for launch in launches(99, 64, 100)] == [100]
    assert [launch.blocks for launch in launches(99, 64, 200)] == [100]
    assert [launch.blocks for launch in launches(99, 64, 8000)] == [1000]
