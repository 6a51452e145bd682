"""Long rings: frames of the past that stay where they lie while few of them are looked at."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyseq
from tests.strategies.streams import Layers, in_chunks, layered
from tests.strategies.streams import signal as wave
from tinyseq.kernels.instructions import INSTRUCTIONS
from tinyseq.plan.ring import LONG

CHANNELS, DILATION, FRAMES = 16, 100, 700


def far(make, channels: int = CHANNELS, device: str = "cpu") -> tinyseq.Session:
    """A model of few frames that are far apart."""
    own = Layers()
    own.graph = tinyseq.Graph()
    own.x = own.graph.input("x", ["rows", "frames", channels])
    make(own)
    return own.model(device)


def wide(own: Layers) -> None:
    weights = own.weights(CHANNELS, CHANNELS, 3), own.weights(CHANNELS)
    own.slid("Conv", *weights, dilations=(DILATION,), pads=(2 * DILATION, 0))


def by_channel(own: Layers) -> None:
    weights = own.weights(CHANNELS, 1, 3)
    own.slid("Conv", weights, group=CHANNELS, dilations=(DILATION,), pads=(2 * DILATION, 0))


def by_groups(own: Layers) -> None:
    weights = own.weights(CHANNELS, 4, 3)
    own.slid("Conv", weights, group=4, dilations=(DILATION,), pads=(2 * DILATION, 0))


def late(own: Layers) -> None:
    wide(own)
    own.slid("Conv", own.weights(CHANNELS, CHANNELS, 3), pads=(1, 1)).then("Relu")
    by_channel(own)


def delayed(own: Layers) -> None:
    """All that is kept is looked at."""
    own.cut(0, -2 * DILATION).then("Relu")


MADE = {"wide": wide, "by channel": by_channel, "by groups": by_groups, "late": late, "delayed": delayed}


def signal(frames: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, frames, CHANNELS)).astype(np.float32)


def instructions(stream: tinyseq.Stream, feeds: dict[str, np.ndarray]) -> list[tuple[str, list[int]]]:
    """The names and operands of what a step runs."""
    words, found = stream._runner.bound(feeds)._alive[0].program.tolist(), []
    while words:
        row, words = words[: words[1]], words[words[1] :]
        found.append((INSTRUCTIONS[row[0]].name, row[2:]))
    return found


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_long_rings_give_in_chunks_what_a_run_gives(isa, make):
    session, x = far(make), signal()
    whole = session.run({"x": x})["y"]
    for cuts in (range(1, 450), [1, 2, 7, 7, 100, 101, 320, 610, 611], [300, 301], []):
        np.testing.assert_array_equal(in_chunks(session, x, cuts), whole)
    report = tinyseq.check_stream(session, frames=230, trials=3)
    assert report.passed, report


@pytest.mark.parametrize("make", [wide, by_channel])
def test_a_step_of_one_frame_moves_a_long_ring_once(make):
    session = far(make)
    stream = session.stream()
    (ring,) = stream.state.values()
    assert ring.size >= LONG
    found = instructions(stream, {"x": signal(1)})
    moves = [(row[1], *row[3:]) for name, row in found if name == "shift"]
    assert moves == [(1, ring.size - CHANNELS, CHANNELS)]
    assert all(np.prod(row[6 : 6 + row[5]]) < ring.size / 4 for name, row in found if name == "elementwise")
    assert all(row[1] < ring.size / 4 for name, row in found if name == "finite")


def test_a_frame_that_is_not_finite_changes_no_long_ring():
    stream, x = far(wide).stream(), signal()
    stream.step({"x": x[:, :300]})
    before = stream.snapshot()
    for place in (0, 1):
        poisoned = x[:, 300:302].copy()
        poisoned[0, place, 3] = np.inf
        with pytest.raises(tinyseq.FeedError, match="would be NaN or infinite"):
            stream.step({"x": poisoned})
        assert stream.snapshot() == before


COUNT = LONG // 4
FOLLOWING = {
    "the last": lambda graph, both, new: graph.apply("Slice", both, *map(np.array, ([-COUNT], [2**62], [1]))),
    "the first": lambda graph, both, new: graph.apply("Slice", both, *map(np.array, ([0], [COUNT], [1]))),
    "those between": lambda graph, both, new: graph.apply(
        "Slice", both, *map(np.array, ([1], [COUNT + 1], [1]))
    ),
    "others": lambda graph, both, new: graph.apply("Neg", new),
}
SAME = {
    "the last": lambda both: both[:, -COUNT:],
    "the first": lambda both: both[:, :COUNT],
    "those between": lambda both: both[:, 1 : COUNT + 1],
    "others": lambda both: -both[:, :COUNT],
}


@pytest.mark.parametrize("finite", [True, False])
@pytest.mark.parametrize("one", FOLLOWING)
@pytest.mark.parametrize("other", FOLLOWING)
def test_what_states_take_of_a_ring_is_that_of_before(one, other, finite):
    """Two states that go on as parts of the frames of one of them and new ones."""
    graph = tinyseq.Graph()
    sizes = {"x": "frames", "new": COUNT, "old": COUNT}
    x, new, old = (graph.input(name, [1, size, 4]) for name, size in sizes.items())
    both = graph.concat([new, x], 1)
    graph.output("new_out", FOLLOWING[one](graph, both, new))
    graph.output("old_out", FOLLOWING[other](graph, both, new))
    graph.output("y", graph.apply("Mul", old, np.float32(1)))
    pairs = {"new": "new_out", "old": "old_out"}
    stream = tinyseq.load(graph, state=pairs, finite=finite).stream()
    rng = np.random.default_rng(0)
    stream.state["new"][...] = rng.standard_normal((1, COUNT, 4))
    for frames in (1, 3, COUNT + 2, 0):
        heard = rng.standard_normal((1, frames, 4)).astype(np.float32)
        whole = np.concatenate([stream.state["new"], heard], 1)
        if frames == 0 and "those between" in (one, other):
            continue
        stream.step({"x": heard})
        np.testing.assert_array_equal(stream.state["new"], SAME[one](whole))
        np.testing.assert_array_equal(stream.state["old"], SAME[other](whole))


@settings(max_examples=max(100, settings.default.max_examples))
@given(data=st.data(), layers=layered())
def test_all_that_is_kept_may_stay_where_it_lies(data, layers):
    with patch("tinyseq.plan.lower.movement.LONG", 1):
        session = layers.model().with_any_state()
        x = wave(data.draw(st.integers(1, 40)))
        try:
            whole = session.run({"x": x})["y"]
            y = in_chunks(session, x, data.draw(st.lists(st.integers(0, x.shape[1]), max_size=6).map(sorted)))
        except (tinyseq.ModelError, tinyseq.FeedError):
            return
    np.testing.assert_array_equal(y, whole)
