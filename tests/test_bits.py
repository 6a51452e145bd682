"""Streams keep every bit: however a sequence is cut, batched, saved or begun again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyseq
from tests.models import lstm_with_state, recogniser, recurrent, scanned_cell

FEATURES = 3


def layer(op: str, **settings) -> bytes:
    return recurrent(op, features=FEATURES, outputs=["y"], **settings).model


def projected(hidden: int, units: int) -> tinyseq.Graph:
    rng = np.random.default_rng(0)
    sizes = [(4 * hidden, FEATURES), (4 * hidden, units), (8 * hidden,), (3 * hidden,), (units, hidden)]
    w, r, b, p, projection = (rng.uniform(-1, 1, (1, *size)).astype(np.float32) for size in sizes)
    g = tinyseq.Graph()
    x = g.input("x", ["frames", "rows", FEATURES])
    inputs = (w, r, b, None, None, None, p if hidden > 16 else None, projection)
    g.output("y", g.apply("LSTM", x, *inputs, hidden_size=hidden, name="layer"))
    return g


MODELS = {
    "rnn": layer("RNN", hidden=9),
    "rnn, no bias": layer("RNN", hidden=33, bias=False),
    "gru": layer("GRU", hidden=7),
    "gru, reset after": layer("GRU", hidden=20, linear_before_reset=1),
    "gru, no bias, reset after": layer("GRU", hidden=1, bias=False, linear_before_reset=1),
    "lstm": layer("LSTM", hidden=16),
    "lstm, no bias": layer("LSTM", hidden=5, bias=False),
    "lstm, constant state": layer("LSTM", hidden=6, initial=True, fed=[0]),
    "lstm, projected": projected(hidden=9, units=20),
    "lstm, projected, peepholes": projected(hidden=33, units=5),
    "lstm, named state": lstm_with_state(features=FEATURES),
    "two layers and a head": recogniser(FEATURES),
    "a cell in a Scan": scanned_cell(FEATURES, hidden=7),
}


@pytest.fixture(params=MODELS)
def session(request, isa) -> tinyseq.Session:
    return tinyseq.load(MODELS[request.param])


def sequence(frames: int, rows: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, rows, FEATURES)).astype(np.float32)


def whole(session: tinyseq.Session, x: np.ndarray) -> np.ndarray:
    """The output of one run from a fresh start."""
    carried = {
        value.name: np.zeros([size if isinstance(size, int) else x.shape[1] for size in value.shape], "f4")
        for value in session.inputs
        if value.name != "x"
    }
    return session.run({"x": x} | carried)["y"]


def steps(stream: tinyseq.Stream, chunks) -> np.ndarray:
    return np.concatenate([stream.step({"x": chunk})["y"] for chunk in chunks])


def same_bits(a: np.ndarray, b: np.ndarray) -> None:
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    np.testing.assert_array_equal(
        np.ascontiguousarray(a).view(np.int32), np.ascontiguousarray(b).view(np.int32)
    )


def same_state(a, b) -> None:
    assert set(a) == set(b)
    for name in a:
        same_bits(a[name], b[name])


@given(cuts=st.lists(st.integers(0, 25), max_size=6), seed=st.integers(0, 99))
def test_chunks_give_the_bits_of_the_whole(session, cuts, seed):
    x = sequence(25, seed=seed)
    same_bits(steps(session.stream(), np.split(x, sorted(cuts))), whole(session, x))


@pytest.mark.parametrize("session", sorted(set(MODELS) - {"lstm, constant state"}), indirect=True)
@given(rows=st.integers(1, 7), frames=st.integers(0, 6), seed=st.integers(0, 99))
def test_a_row_of_a_batch_is_the_row_alone(session, rows, frames, seed):
    x = sequence(frames, rows, seed)
    batch = whole(session, x)
    for row in range(rows):
        same_bits(np.take(batch, [row], axis=batch.ndim - 2), whole(session, x[:, row : row + 1]))


def test_a_copy_of_the_state_goes_on_alike(session):
    before, after = sequence(5), sequence(7, seed=1)
    stream = session.stream()
    stream.step({"x": before})
    saved = stream.snapshot()
    fork = stream.fork()
    fresh = session.stream()
    fresh.restore(tinyseq.State.from_bytes(saved.to_bytes()))
    expected = steps(stream, [after])
    for other in (fork, fresh):
        same_bits(steps(other, [after]), expected)
        same_state(other.snapshot(), stream.snapshot())
    stream.restore(saved)
    same_bits(steps(stream, [after]), expected)


def test_a_fork_is_independent(session):
    stream = session.stream()
    stream.step({"x": sequence(3)})
    saved = stream.snapshot()
    stream.fork().step({"x": sequence(3, seed=1)})
    same_state(stream.snapshot(), saved)


def test_reset_begins_again(session):
    x = sequence(9)
    stream = session.stream()
    first = steps(stream, [x])
    stream.reset()
    same_bits(steps(stream, [x]), first)


REFUSED = {
    "missing": {},
    "unknown": {"x": sequence(2), "z": sequence(2)},
    "dtype": {"x": sequence(2).astype(np.float64)},
    "rank": {"x": sequence(2)[0]},
    "size": {"x": sequence(2)[:, :, 1:]},
    "two rows": {"x": sequence(2, 2)},
}


@pytest.mark.parametrize("refused", REFUSED)
def test_a_refused_step_leaves_the_state(session, refused):
    stream = session.stream()
    stream.step({"x": sequence(4)})
    saved = stream.snapshot()
    with pytest.raises(tinyseq.FeedError):
        stream.step(REFUSED[refused])
    same_state(stream.snapshot(), saved)
    same_bits(stream.step({"x": sequence(4)})["y"], steps(restored(session, saved), [sequence(4)]))


def restored(session: tinyseq.Session, saved: tinyseq.State) -> tinyseq.Stream:
    stream = session.stream()
    stream.restore(saved)
    return stream


@given(data=st.data(), rows=st.integers(1, 12), inner=st.integers(0, 40), columns=st.integers(1, 70))
def test_products_of_computed_matrices_have_the_bits_of_packed_ones(isa, data, rows, inner, columns):
    """Whatever the number of rows, and however the matrices lie in memory."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    batch = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2)))
    turned = data.draw(st.booleans())
    a = rng.standard_normal((*batch, rows, inner)).astype(np.float32)
    b = rng.standard_normal((*batch, inner, columns)).astype(np.float32)
    if data.draw(st.booleans()):
        b = b[:, :1]
    g = tinyseq.Graph()
    left, right = g.input("a", list("pqmk")), g.input("b", list("rsnk" if turned else "rskn"))
    right = g.transpose(right, [0, 1, 3, 2]) if turned else right
    g.output("y", g.apply("MatMul", left, right))
    found = tinyseq.load(g).run({"a": a, "b": np.ascontiguousarray(b.swapaxes(2, 3)) if turned else b})["y"]
    for place in np.ndindex(*batch):
        one = tinyseq.Graph()
        one.output("y", one.apply("MatMul", one.input("a", list("mk")), b[place[0], place[1] % b.shape[1]]))
        same_bits(found[place], tinyseq.load(one).run({"a": a[place]})["y"])
