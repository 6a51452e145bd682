"""Layers gathered from the instructions around them: what makes up one, and what does not."""

from __future__ import annotations

from contextlib import suppress
from types import FunctionType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyseq
from bench.cuda import models
from tests.cuda.emulator import EmulatedDevice
from tests.cuda.races import Race
from tests.models import recurrent
from tinyseq.ir.model import Model
from tinyseq.kernels.cells import VARIANT_CODES, Variant
from tinyseq.kernels.cuda import committing, driver, forms, frame_few_rows, gathering, schedule
from tinyseq.kernels.cuda import recurrent as layers
from tinyseq.kernels.cuda.committing import commit_together
from tinyseq.kernels.cuda.gathering import PlacedInstruction, gathered
from tinyseq.kernels.cuda.launch import Facts, Tail
from tinyseq.kernels.cuda.rebinding import HOME
from tinyseq.kernels.formats import BYTE_BLOCK, FLOAT32, WeightFormat
from tinyseq.kernels.instructions import APART, FUNCTION_CODES, GATHER, HAS_Y

HIDDEN, INPUTS, ROWS = 8, 5, 2
X, H0, C0, H, C, XW, Y, SCRATCH, W, R, BIAS, OTHER = (2**20 * place for place in range(1, 13))
COPY = FUNCTION_CODES["copy", "f"]
FACTS = Facts((9, 0), 132, 2**30)


def copy(source: int, target: int, count: int = ROWS * HIDDEN, step: int = 4) -> PlacedInstruction:
    dims = Tail(0, [count, *[step] * 4])
    return PlacedInstruction("elementwise", (COPY, source, source, source, target, 1, dims))


def fill(target: int, bits: int = 0) -> PlacedInstruction:
    return PlacedInstruction("fill", (target, ROWS * HIDDEN, bits))


def linear(x: int = X, y: int = XW, frames: int = 1, of: WeightFormat = FLOAT32) -> PlacedInstruction:
    rows = (1, 0, frames * ROWS, INPUTS)
    operands = (x, *rows, INPUTS, W, 4 * HIDDEN, BIAS, y, 4 * HIDDEN, 0, 0, 0, of.code)
    return PlacedInstruction("linear", operands)


def pick(x: int, y: int, indices: int = OTHER, store: int = GATHER) -> PlacedInstruction:
    """Rows of x, by number."""
    return PlacedInstruction("gather", (x, indices, y, 1, 0, ROWS, 1, 64, store, Tail(0, [9, 64, 0]), None))


def lstm(
    frames: int = 1, y: int = Y, general: bool = False, of: WeightFormat = FLOAT32, rows: int = ROWS,
    hidden: int = HIDDEN,
) -> PlacedInstruction:  # fmt: skip
    code = VARIANT_CODES[Variant("LSTM", general)]
    places = (XW, R, 0, 0, 0, 0, H, C, y, 0, 0, 0)
    sizes = (frames, rows, hidden, hidden, 0, rows * hidden, hidden, HAS_Y, of.code)
    return PlacedInstruction("recurrent", (code, *places, *sizes))


def finite(state: int, count: int = ROWS * HIDDEN) -> PlacedInstruction:
    return PlacedInstruction("finite", (state, count, None), place=state)


CHECKS, COPIES = (finite(H), finite(C)), (copy(H, H0), copy(C, C0))
AFTER = *CHECKS, *COPIES
WHOLE = copy(H0, H), copy(C0, C), linear(), lstm()


@pytest.mark.parametrize(
    "ahead",
    [
        WHOLE, WHOLE[1:], WHOLE[2:], (*WHOLE[:2], lstm()), (fill(H), fill(C), *WHOLE[2:]),
        (copy(C0, C), copy(H0, H), *WHOLE[2:]), (*WHOLE, lstm()),
        (*WHOLE[:2], linear(frames=3), lstm(frames=3)),
    ],
)  # fmt: skip
def test_what_makes_up_a_layer(ahead):
    count, between, launches = gathered(ahead, FACTS)
    assert between is None
    assert ahead[count - 1].name == "recurrent"
    assert count == [one.name for one in ahead].index("recurrent") + 1
    kernels = [launch.kernel.name.rpartition(".")[2] for launch in launches]
    frames = ahead[count - 1].value("frames")
    in_place = not any(one.value("y") == H for one in ahead[: count - 1] if one.name != "linear")
    assert kernels == ["step"] * frames + ["_copy_rows"] * (in_place and frames == 1)


@pytest.mark.parametrize(
    "ahead",
    [
        (), WHOLE[:1], WHOLE[:3], (lstm(),), (linear(), linear(), lstm()),
        (copy(H0, H, 3), *WHOLE[1:]), (copy(H0, H, step=8), *WHOLE[1:]), (fill(H, 1), *WHOLE[1:]),
        (copy(H0, Y), *WHOLE[1:]), (copy(H0, H), copy(C0, C), copy(H0, Y), linear(), lstm()),
        (linear(frames=2), lstm()), (linear(y=Y), lstm()), (linear(), lstm(general=True)),
        (*WHOLE[:2], linear(frames=99), lstm(frames=99)), (*WHOLE[:2], lstm(frames=0)),
        (*WHOLE[:2], linear(of=BYTE_BLOCK), lstm()), (*WHOLE[:3], lstm(of=BYTE_BLOCK)),
        (*WHOLE[:2], linear(y=H), lstm()), (*WHOLE[:2], linear(y=C0), lstm()),
        (*WHOLE[:2], pick(H, XW), lstm()),
        (*WHOLE[:2], pick(X, C), lstm()), (*WHOLE[:2], pick(X, XW, C), lstm()), (pick(X, XW), lstm()),
        (*WHOLE[:2], pick(X, XW, store=APART), lstm()),
    ],
)  # fmt: skip
def test_what_does_not(ahead):
    assert gathered(ahead, FACTS) is None


@pytest.mark.parametrize("between", [linear(y=OTHER), linear(frames=2), pick(X, XW)])
def test_what_comes_before_the_copies(between):
    found = gathered((*WHOLE[:2], between, lstm(), *AFTER), FACTS)
    assert found.between == 2
    assert found.count == 8
    found = gathered((*WHOLE[:2], linear(), lstm(general=True)), FACTS)
    assert found.between == 2


def test_rows_that_pass_by():
    """Many rows of a layer whose weights are not kept."""
    ahead = [copy(H0, H, 64 * 512), copy(C0, C, 64 * 512), pick(X, XW), lstm(rows=64, hidden=512)]
    found = gathered([*ahead, *AFTER], FACTS)
    assert (found.count, found.between) == (4, 2)
    assert [launch.kernel.name.rpartition(".")[2] for launch in found.launches] == ["many"]
    few = [copy(H0, H, 64 * 256), copy(C0, C, 64 * 256), pick(X, XW), lstm(rows=64, hidden=256)]
    assert gathered(few, FACTS) is not None
    kept = [*few[:3], lstm(layers.FEW_FRAMES + 1, rows=64, hidden=256)]
    assert gathered(kept, FACTS) is None


@pytest.mark.parametrize("x", [H, C, XW, Y, Y - 4 * ROWS * INPUTS + 4, Y + 4 * ROWS * HIDDEN - 4])
def test_what_is_read_is_not_written(x):
    assert gathered((*WHOLE[:2], linear(x), lstm()), FACTS) is None
    assert gathered((copy(x, H), *WHOLE[1:]), FACTS) is None
    apart = Y - 4 * ROWS * INPUTS
    assert gathered((*WHOLE[:2], linear(apart), lstm()), FACTS) is not None


@pytest.mark.parametrize(
    "after, count",
    [
        (AFTER, 4), (AFTER[::-1], 2), (COPIES, 2), (COPIES[:1], 1), (CHECKS, 0), ((), 0),
        ((CHECKS[0], *COPIES), 3), (AFTER[:3], 0), ((*AFTER, *AFTER), 4), ((CHECKS[0], *AFTER), 0),
        ((finite(H, 3), *COPIES), 0), ((copy(H, H0, 3),), 0), ((copy(H, C),), 0), ((copy(X, H0),), 0),
        ((COPIES[0], fill(Y)), 1),
    ],
)  # fmt: skip
def test_what_a_layer_commits(after, count):
    found, _, launches = gathered((*WHOLE, *after), FACTS)
    assert found == len(WHOLE) + count
    commits = [launch.arguments[-1] for launch in launches]
    assert commits == [FACTS.meeting + committing.COUNTER if count else 0]


def test_what_a_layer_in_place_has_no_copy_of():
    assert gathered((WHOLE[0], *WHOLE[2:], *AFTER), FACTS).count == 3


def test_what_is_jumped_to_is_not_gathered():
    rows = [(10 * number, [number]) for number in range(4)]
    assert schedule._straight(rows, {0}) == rows
    assert schedule._straight(rows, {20}) == rows[:2]


def kernels(device: EmulatedDevice) -> list[str]:
    names = [launch.kernel.name.rpartition(".")[2] for launch in device.launches]
    return [name for name in names if name != "_carry"]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_step_of_a_stream(kind, device):
    model = models.layer(kind, HIDDEN).model
    stream, expected = (tinyseq.load(model, device=name).stream() for name in ("cuda", "reference"))
    draw = np.random.default_rng(0)
    for _ in range(3):
        device.launches.clear()
        x = draw.standard_normal((1, 1, HIDDEN)).astype(np.float32)
        np.testing.assert_allclose(stream.step({"x": x})["y"], expected.step({"x": x})["y"], 1e-5, 1e-6)
        assert kernels(device)[0] == "step"
        assert "linear" not in kernels(device)


@pytest.mark.parametrize("op, attributes", [("RNN", {}), ("GRU", {"linear_before_reset": 0}), ("LSTM", {})])
@pytest.mark.parametrize("rows", [3, 18])
def test_gathering_changes_no_bit(op, attributes, rows, device, monkeypatch):
    monkeypatch.setattr(forms, "SHORT", 0)
    monkeypatch.setattr(forms, "form_for", lambda hidden, rows, facts: None)
    lengths = [n % 3 for n in range(rows)]
    case = recurrent(op, 2, rows, 5, 7, initial=True, lengths=lengths, fed=(0, 5, 6), **attributes)
    results, launched = [], []
    for most in (gathering.LONGEST, 0):
        monkeypatch.setattr(schedule, "LONGEST", most)
        device.launches.clear()
        results.append(tinyseq.load(case.model, device="cuda").run(case.feeds))
        launched.append(len(kernels(device)))
    # Of few numbers, all copies are one launch.
    assert launched[0] < launched[1] + (rows > 16)
    for name, array in results[0].items():
        assert array.tobytes() == results[1][name].tobytes()


@pytest.fixture(params=[0, 16], ids=["by the last block", "together"])
def together(request, monkeypatch) -> None:
    """Blocks up to which a state is committed as a cluster."""
    monkeypatch.setattr(frame_few_rows, "most_together", lambda facts: request.param)


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize(
    "model, rows",
    [
        (recurrent("RNN", 2, 1, 5, 9).model, 1), (models.layer("GRU", 9, 3).model, 3),
        (recurrent("GRU", 2, 1, 70, 70, linear_before_reset=0).model, 1),
        (models.layer("LSTM", 38, 3).model, 3),
    ],
)  # fmt: skip
def test_committing_changes_no_bit(model, rows, device, monkeypatch):
    inputs = tinyseq.load(model).stream_inputs[0].shape[-1]
    chunks = np.random.default_rng(1).standard_normal((2, 2, rows, inputs)).astype(np.float32)
    results, launched = [], []
    for most in (gathering.LONGEST, 0):
        monkeypatch.setattr(schedule, "LONGEST", most)
        stream = tinyseq.load(model, device="cuda").stream()
        outputs = [stream.step({"x": x})["y"].tobytes() for x in chunks]
        device.launches.clear()
        stream.step({"x": chunks[0]})
        launched.append(kernels(device))
        results.append((outputs, stream.snapshot()))
    assert set(launched[0]) == {"step"}
    assert "chain" in launched[1]
    assert results[0] == results[1]


@st.composite
def stacks(draw) -> tuple[tinyseq.Graph, int, int]:
    """Layers of any kind on each other, perhaps with a dense one at last, whose states are in any order; its
    rows and inputs."""
    rows, inputs = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    graph, rng = tinyseq.Graph(), np.random.default_rng(draw(st.integers(0, 99)))
    y, size, states = graph.input("x", ["frames", rows, inputs]), inputs, []
    for layer in range(draw(st.sampled_from([1, 1, 2, 3]))):
        kind, hidden = draw(st.sampled_from(["RNN", "LSTM", "GRU"])), draw(st.sampled_from([1, 7, 12, 18]))
        gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind] * hidden
        w, r = (rng.uniform(-1, 1, (1, gates, k)).astype(np.float32) for k in (size, hidden))
        b = rng.uniform(-1, 1, (1, 2 * gates)).astype(np.float32)
        names = [f"{name}{layer}" for name in ("h", "c")[: 1 + (kind == "LSTM")]]
        given = [graph.input(name, [1, rows, hidden]) for name in names]
        resets = {"linear_before_reset": draw(st.integers(0, 1))} if kind == "GRU" else {}
        y, *finals = graph.apply(
            kind, y, w, r, b, None, *given, outputs=1 + len(names), hidden_size=hidden, **resets
        )
        y, size = graph.apply("Squeeze", y, np.array([1])), hidden
        states += zip(names, finals, strict=True)
    if draw(st.integers(0, 3)) == 3:
        y = graph.dense(y, rng.uniform(-1, 1, (size, 2)).astype(np.float32))
    graph.output("y", y)
    for name, final in draw(st.permutations(states)):
        graph.output(f"next_{name}", final, carries=name)
    return graph, rows, inputs


@settings(max_examples=6, deadline=None)
@given(stack=stacks(), parts=st.lists(st.sampled_from([1, 1, 2, 3]), min_size=2, max_size=3), data=st.data())
def test_streams_of_random_layers(stack, parts, data):
    """Chunks have the bits of the whole, and those of ungathered instructions; a step that fails changes no
    state; the CPU agrees."""
    graph, rows, inputs = stack
    x = np.random.default_rng(7).standard_normal((sum(parts), rows, inputs)).astype(np.float32)
    chunks = np.split(x, np.cumsum(parts)[:-1])
    wrong, bad = data.draw(st.integers(0, len(parts) - 1)), np.full_like(chunks[0], np.nan)
    results = []
    for most in (gathering.LONGEST, 0):
        device = EmulatedDevice(most)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(schedule, "LONGEST", most)
            patch.setattr(frame_few_rows, "BY_GATE_FROM", data.draw(st.sampled_from([1, 512])))
            together = data.draw(st.sampled_from([0, 16]))
            patch.setattr(frame_few_rows, "most_together", lambda facts, together=together: together)
            patch.setattr(driver, "open_device", lambda number, device=device: device)
            model = tinyseq.load(graph, device="cuda")
            stream, outputs = model.stream(), []
            for number, chunk in enumerate(chunks):
                if number == wrong:
                    before = stream.snapshot()
                    with pytest.raises(tinyseq.FeedError, match="would be NaN or infinite"):
                        stream.step({"x": bad})
                    assert stream.snapshot() == before
                outputs.append(stream.step({"x": chunk})["y"])
            whole = model.stream().step({"x": x})["y"]
        assert np.concatenate(outputs).tobytes() == whole.tobytes()
        results.append((whole.tobytes(), stream.snapshot()))
    assert results[0] == results[1]
    expected = tinyseq.load(graph, device="cpu").stream().step({"x": x})["y"]
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize("unlike", [np.nan, np.inf])
def test_what_is_not_finite_is_not_committed(unlike, device):
    model = models.layer("LSTM", HIDDEN).model
    stream = tinyseq.load(model, device="cuda").stream()
    fine = np.ones((1, 1, HIDDEN), np.float32)
    first = stream.step({"x": fine})["y"].tobytes()
    before = stream.snapshot()
    with pytest.raises(tinyseq.FeedError, match="would be NaN or infinite"):
        stream.step({"x": fine * np.float32(unlike)})
    assert kernels(device)[-1] == "step"
    assert stream.snapshot() == before
    stream.reset()
    assert stream.step({"x": fine})["y"].tobytes() == first


def _always_last(address, last):
    return last


_always_last.__module__ = f"{HOME}.planted"


def with_infinity(unit: int) -> Model:
    """A layer of 40 units, one of which has weights for its input that are infinite."""
    model = models.layer("LSTM", 40).model.model()
    w, *_ = model.graph.constants.values()
    w[0, unit] = np.inf
    return model


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize("unit", [0, 39])
def test_one_number_that_is_not_finite_keeps_all_from_being_committed(unit, device):
    stream = tinyseq.Session(with_infinity(unit), device="cuda").stream()
    stream.step({"x": np.ones((1, 1, 40), np.float32)})
    before = stream.snapshot()
    with pytest.raises(tinyseq.FeedError, match="would be NaN or infinite"):
        stream.step({"x": np.zeros((1, 1, 40), np.float32)})  # not-a-number of this unit alone
    assert stream.snapshot() == before


def _own(pointer, rank):
    return pointer


_own.__module__ = f"{HOME}.planted"


def test_committing_what_others_have_not_heard_of_shows(device, monkeypatch):
    names = {**vars(committing), "neighbour": _own}
    monkeypatch.setattr(frame_few_rows, "commit_together", FunctionType(commit_together.__code__, names))
    frame_few_rows.few_rows_of.cache_clear()
    model = with_infinity(39)
    try:
        stream = tinyseq.Session(model, device="cuda").stream()
        before = stream.snapshot()
        with suppress(tinyseq.FeedError):
            stream.step({"x": np.zeros((1, 1, 40), np.float32)})
        assert stream.snapshot() != before
    finally:
        frame_few_rows.few_rows_of.cache_clear()


def test_committing_before_all_are_done_shows(device, monkeypatch):
    monkeypatch.setattr(frame_few_rows, "most_together", lambda facts: 0)
    monkeypatch.setattr(committing, "arrive_in_turn", _always_last)
    frame_few_rows.few_rows_of.cache_clear()
    model = models.layer("LSTM", 40).model
    try:
        stream = tinyseq.load(model, device="cuda").stream()
        with pytest.raises(Race):
            stream.step({"x": np.ones((1, 1, 40), np.float32)})
    finally:
        frame_few_rows.few_rows_of.cache_clear()


def test_a_layer_in_place(monkeypatch):
    """A state that no copy has begun is read and written where it lies."""
    results = []
    for few_frames in (0, 99):
        monkeypatch.setattr(layers, "FEW_FRAMES", few_frames)
        monkeypatch.setattr(schedule, "LONGEST", 0)
        device = EmulatedDevice()
        monkeypatch.setattr(driver, "open_device", lambda number, device=device: device)
        case = recurrent("LSTM", 1, 2, 3, 7, initial=True)
        results.append(tinyseq.load(case.model, device="cuda").run(case.feeds))
    assert all(results[0][name].tobytes() == results[1][name].tobytes() for name in results[0])
