"""What streams remember is finite, and saved states are whole and of the right model."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

import tinyseq
from tests.models import lstm_with_state, recogniser, running_sum
from tinyseq.errors import FeedError, StateError

DEVICES = ["cpu", "reference"]
STRANGE = [np.nan, np.inf, -np.inf]


def chunk(rows: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((4, rows, 3)).astype(np.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make", [lstm_with_state, recogniser])
def test_a_step_that_would_be_remembered_as_nan_is_refused(isa, make, device):
    model = tinyseq.load(make(), device=device)
    stream, twin = model.stream(), model.stream()
    x = chunk()
    for strange in STRANGE[:1]:
        for known in (stream, twin):
            known.step({"x": x})
        poisoned = x.copy()
        poisoned[2, 0, 1] = strange
        before = stream.snapshot()
        with pytest.raises(FeedError, match=r"state '.*' would be NaN or infinite.*finite=False"):
            stream.step({"x": poisoned})
        assert stream.snapshot() == before
    np.testing.assert_array_equal(stream.step({"x": x})["y"], twin.step({"x": x})["y"])


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("device", DEVICES)
def test_infinity_is_refused_where_it_would_be_remembered(isa, device, strange):
    model = tinyseq.load(running_sum(), device=device)
    stream = model.stream()
    stream.step({"x": np.ones((1, 3), np.float32)})
    with pytest.raises(FeedError, match="state 'h' would be NaN or infinite"):
        stream.step({"x": np.array([[0, strange, 0]], np.float32)})
    assert stream.state["h"].tolist() == [[1, 1, 1]]
    loose = tinyseq.load(running_sum(), device=device, finite=False).stream()
    loose.step({"x": np.array([[0, strange, 0]], np.float32)})
    np.testing.assert_array_equal(loose.state["h"], [[0, strange, 0]])
    saved = loose.snapshot()
    with pytest.raises(StateError, match="field 'h' holds NaN or infinity"):
        stream.restore(saved)
    assert stream.state["h"].tolist() == [[1, 1, 1]]
    loose.fork().restore(saved)


def test_overflow_is_refused_as_well(isa):
    stream = tinyseq.load(running_sum()).stream()
    most = np.full((1, 3), np.finfo(np.float32).max, np.float32)
    stream.step({"x": most})
    with pytest.raises(FeedError, match="state 'h' would be"):
        stream.step({"x": most})
    np.testing.assert_array_equal(stream.state["h"], most)


@pytest.mark.parametrize("device", DEVICES)
def test_a_poisoned_row_changes_no_row(isa, device):
    model = tinyseq.load(lstm_with_state(), device=device)
    pool = model.pool(3)
    rows = [pool.open() for _ in range(3)]
    pool.step(rows, {"x": chunk(3)})
    before = [pool.snapshot(row) for row in rows]
    x = chunk(3)
    x[0, 1, 0] = np.nan
    with pytest.raises(FeedError, match="would be NaN"):
        pool.step(rows, {"x": x})
    assert [pool.snapshot(row) for row in rows] == before
    with pytest.raises(StateError, match="NaN"):
        pool.restore(rows[0], {name: np.full_like(array, np.nan) for name, array in before[0].items()})
    assert pool.snapshot(rows[0]) == before[0]
    pool.step(rows[::2], {"x": np.ascontiguousarray(x[:, ::2])})


@pytest.mark.parametrize("finite", [0, "no", None])
def test_finite_is_a_yes_or_no(finite):
    with pytest.raises(tinyseq.ModelError, match="finite is True or False"):
        tinyseq.load(running_sum(), finite=finite)


def saved(make=lstm_with_state) -> bytes:
    stream = tinyseq.load(make()).stream()
    stream.step({"x": chunk()})
    return stream.snapshot().to_bytes()


def test_saved_states_say_what_they_are():
    data = saved()
    notes = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    notes = json.loads(notes["tinyseq.state"])
    assert set(notes) == {"version", "model", "checksum"} and notes["version"] == 1
    assert saved() == data


def test_a_saved_state_is_for_every_copy_of_its_model(tmp_path):
    model = tinyseq.load(lstm_with_state())
    stream = model.stream()
    stream.step({"x": chunk()})
    model.save(tmp_path / "model.tinyseq")
    state = tinyseq.State.from_bytes(stream.snapshot().to_bytes())
    for other in (lstm_with_state(), tmp_path / "model.tinyseq"):
        for same in (state, copy.deepcopy(stream.snapshot()), pickle.loads(pickle.dumps(stream.snapshot()))):
            twin = tinyseq.load(other).stream()
            twin.restore(same)
            assert twin.snapshot() == stream.snapshot()


@pytest.mark.parametrize(
    "name", ["silero-chunk", "gtcrn", "dtln-2", "romanizer-decoder", "nsnet2", "voicefilter"]
)
def test_a_saved_model_has_the_fingerprint_of_its_source(asset, tmp_path, name):
    model = tinyseq.load(asset(name))
    model.save(tmp_path / "model.tinyseq")
    copied = tinyseq.load(tmp_path / "model.tinyseq")
    assert copied.fingerprint == model.fingerprint
    assert copied.state == model.state


def test_a_state_of_another_model_is_refused():
    """Of the same fields, the weights being others."""
    other = tinyseq.load(lstm_with_state(features=5)).stream()
    stream = tinyseq.load(lstm_with_state()).stream()
    before = stream.snapshot()
    for state in (other.snapshot(), tinyseq.State.from_bytes(other.snapshot().to_bytes())):
        with pytest.raises(StateError, match="of another model: its fingerprint is"):
            stream.restore(state)
    assert stream.snapshot() == before
    stream.restore(dict(other.snapshot()))


@given(st.data())
def test_damage_is_found(data):
    whole = saved()
    place = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    damaged = whole[:place] + bytes([value]) + whole[place + 1 :]
    cut = data.draw(st.integers(0, len(whole) - 1))
    for wrong in (damaged, whole[:cut]):
        try:
            state = tinyseq.State.from_bytes(wrong)
        except StateError:
            continue
        assert state == tinyseq.State.from_bytes(whole)  # a byte of white space


def test_states_of_before_and_of_later_are_refused():
    fields = load(saved())
    with pytest.raises(StateError, match=r"no saved state.*restore\(safetensors.numpy.load\(data\)\)"):
        tinyseq.State.from_bytes(save(fields))
    tinyseq.load(lstm_with_state()).stream().restore(load(save(fields)))
    with pytest.raises(StateError, match="of version 2; this tinyseq reads 1"):
        tinyseq.State.from_bytes(save(fields, {"tinyseq.state": '{"version": 2}'}))
