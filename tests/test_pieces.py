"""State that is put together from parts of itself and new elements is moved and written where it lies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyseq
from tests.test_rings import instructions
from tinyseq.plan.pieces import Pieces, place_in
from tinyseq.plan.view import Span, View, dense_strides

CHANNELS, WIDTH = 4, 5


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def kept(pasts: list[int], how: str) -> tinyseq.Graph:
    """Convolutions over so many frames of the past, all of which are in one state: [2, C, all frames, F]."""
    graph, frames = tinyseq.Graph(), sum(pasts)
    y, cache = graph.input("x", [1, CHANNELS, 1, WIDTH]), graph.input("cache", [2, CHANNELS, frames, WIDTH])
    halves = []
    for half in range(2):
        own = graph.slice(cache, 0, half, half + 1)
        following, start = [], 0
        for number, past in enumerate(pasts):
            both = graph.concat([graph.slice(own, 2, start, start + past), y], 2)
            kernels = weights(CHANNELS, 1, 2, 3, seed=number + 9 * half)
            sliding = {"dilations": (past, 1), "pads": (0, 1, 0, 1), "group": CHANNELS}
            y = graph.apply("Relu", graph.apply("Conv", both, kernels, **sliding))
            following.append(graph.slice(both, 2, 1, past + 1))
            start += past
        if how == "concat":
            halves.append(graph.concat(following, 2))
            continue
        start = 0
        for past, part in zip(pasts, following):
            places = np.stack(
                np.meshgrid([0], range(CHANNELS), range(start, start + past), indexing="ij"), -1
            )
            own = graph.apply("ScatterND", own, places, part)
            start += past
        halves.append(own)
    if how == "concat":
        new = graph.concat(halves, 0)
    else:
        new = cache
        for half, part in enumerate(halves):
            new = graph.apply("ScatterND", new, np.array([[half]]), part)
    graph.output("y", y)
    graph.output("cache_out", new)
    return graph


@settings(max_examples=20, deadline=None)
@given(
    pasts=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    how=st.sampled_from(["concat", "scatter"]),
    seed=st.integers(0, 99),
)
def test_streams_give_the_bits_of_runs(pasts, how, seed):
    session, rng = tinyseq.load(kept(pasts, how), state={"cache": "cache_out"}), np.random.default_rng(seed)
    stream, cache = session.stream(), np.zeros((2, CHANNELS, sum(pasts), WIDTH), np.float32)
    for _ in range(2 * sum(pasts)):
        x = rng.standard_normal((1, CHANNELS, 1, WIDTH)).astype(np.float32)
        run = session.run({"x": x, "cache": cache})
        np.testing.assert_array_equal(stream.step({"x": x})["y"], run["y"])
        cache = run["cache_out"]
        np.testing.assert_array_equal(stream.state["cache"], cache)


@pytest.mark.parametrize("how", ["concat", "scatter"])
def test_a_step_moves_what_it_keeps_in_place(how):
    pasts = [2, 9]
    stream = tinyseq.load(kept(pasts, how), state={"cache": "cache_out"}).stream()
    found = instructions(stream, {"x": weights(1, CHANNELS, 1, WIDTH)})
    moves = sorted(row[1:] for name, row in found if name == "shift")
    line, past = sum(pasts) * WIDTH, [count - 1 for count in pasts]
    assert moves == sorted([CHANNELS, line, count * WIDTH, WIDTH] for count in past * 2)
    copied = [np.prod(row[6 : 6 + row[5]]) for name, row in found if name == "elementwise"]
    assert max(copied) <= 2 * CHANNELS * WIDTH


@pytest.mark.parametrize("how", ["concat", "scatter"])
def test_a_frame_that_is_not_finite_changes_nothing(how):
    stream = tinyseq.load(kept([2, 9], how), state={"cache": "cache_out"}).stream()
    x = weights(1, CHANNELS, 1, WIDTH)
    stream.step({"x": x})
    before = stream.snapshot()
    with pytest.raises(tinyseq.FeedError, match="would be NaN or infinite"):
        stream.step({"x": np.full_like(x, np.inf)})
    assert stream.snapshot() == before


def swapped(first: int, second: int) -> tinyseq.Graph:
    """Parts of a state that take each other's place."""
    graph, count = tinyseq.Graph(), first + second
    x, s = graph.input("x", [1, WIDTH]), graph.input("s", [count, WIDTH])
    graph.output("y", graph.add(graph.slice(s, 0, 0, 1), x))
    graph.output("s_out", graph.concat([graph.slice(s, 0, first, count), graph.slice(s, 0, 0, first)], 0))
    return graph


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 4), (4, 1), (3, 2)])
def test_parts_may_take_each_others_place(first, second):
    stream = tinyseq.load(swapped(first, second), state={"s": "s_out"}).stream()
    s = weights(first + second, WIDTH)
    stream.state["s"][...] = s
    for _ in range(5):
        stream.step({"x": weights(1, WIDTH)})
        s = np.concatenate([s[first:], s[:first]])
        np.testing.assert_array_equal(stream.state["s"], s)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_what_is_found_is_what_was_put_there(data):
    """Any cut of a tensor that is made of any boxes."""
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    order = data.draw(st.permutations(range(len(shape))))
    strides = [0] * len(shape)
    for axis, stride in zip(order, dense_strides(tuple(shape[axis] for axis in order))):
        strides[axis] = stride
    whole = View(Span(0, 0), shape, tuple(strides))
    held, parts = np.full(shape, -1), []
    for number in range(data.draw(st.integers(1, 4))):
        runs = [
            sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))) for n in shape
        ]
        runs = runs if number else [(0, n) for n in shape]
        box = tuple(slice(a, b) for a, b in runs)
        sizes = tuple(b - a for a, b in runs)
        source = View(Span(0, 0), sizes, dense_strides(sizes), 100 * number)
        held[box] = 100 * number + np.arange(np.prod(sizes)).reshape(sizes)
        parts.append((whole.sliced([(a, 1, b - a) for a, b in runs]), source))
    pieces = Pieces(whole, parts)
    assert pieces.known()
    cuts = [
        (start, step, data.draw(st.integers(1, (n - 1 - start) // step + 1)))
        for n in shape
        for start, step in [(data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, 3)))]
    ]
    turned = data.draw(st.permutations(range(len(shape))))
    view = whole.sliced(cuts).transposed(turned)
    wanted = held[tuple(slice(a, a + n * step, step) for a, step, n in cuts)].transpose(turned)
    found = pieces.find(view, 1000)
    assert found is not None and place_in(whole, view) is not None
    made = np.full(view.shape, -1)
    for bounds, piece in found:
        places = np.full(piece.shape, piece.offset)
        for axis, stride in enumerate(piece.strides):
            places += stride * np.arange(piece.shape[axis]).reshape(-1, *[1] * (len(piece.shape) - axis - 1))
        made[tuple(slice(a, a + n) for a, _, n in bounds)] = places
    np.testing.assert_array_equal(made, wanted)
