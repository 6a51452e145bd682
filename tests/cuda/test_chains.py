"""Chains of small instructions: the same bits as launches of their own, whatever depends on what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda.emulator import EmulatedDevice
from tests.cuda.memory import On
from tinyseq.kernels.cuda import chains
from tinyseq.kernels.cuda.launch import Facts
from tinyseq.kernels.cuda.schedule import schedule
from tinyseq.kernels.formats import FLOAT32
from tinyseq.kernels.instructions import APART, FUNCTION_CODES, GATHER, OPCODES, SEGMENT_SHIFT

SIZE = 600
"""Float32 in the one segment."""


def fill(place: int, count: int, value: float) -> list[int]:
    return [OPCODES["fill"], 5, place, count, int(np.float32(value).view(np.int32))]


def elementwise(name: str, kinds: str, places: list[int], sizes: list[int], *steps: list[int]) -> list[int]:
    places = [place + (1 << SEGMENT_SHIFT) for place in places]
    dims = [*sizes, *(step for operand in steps for step in operand)]
    row = [FUNCTION_CODES[name, kinds], *places, len(sizes), *dims]
    return [OPCODES["elementwise"], len(row) + 2, *row]


def linear(x: int, w: int, bias: int, y: int, m: int, k: int, n: int) -> list[int]:
    x, w, bias, y = (place + (1 << SEGMENT_SHIFT) for place in (x, w, bias, y))
    return [OPCODES["linear"], 17, x, 1, 0, m, 2, k, w, n, bias, y, n + 1, 0, 0, 0, FLOAT32.code]


def depthwise(x: int, w: int, bias: int, y: int, sizes: list[int], channels: int) -> list[int]:
    x, w, bias, y = (place + (1 << SEGMENT_SHIFT) for place in (x, w, bias, y))
    row = [x, w, bias, y, channels, 3, len(sizes), *sizes, *[12] * len(sizes), 0, 8, 20]
    return [OPCODES["depthwise"], len(row) + 2, *row]


def dense(name: str, kinds: str, a: int, b: int, c: int, y: int, count: int) -> list[int]:
    return elementwise(name, kinds, [a, b, c, y], [count], [4], [4], [4], [4])


def ran(rows: list[list[int]], memory: np.ndarray, seed: int) -> tuple[np.ndarray, list[str]]:
    """The segment's numbers after a program, and the kernels that were launched."""
    on = On(EmulatedDevice(seed))
    program, segments = np.array([word for row in rows for word in row], np.int64), [0, on.put(memory)]
    table, facts = on.put(np.array(segments)), Facts((9, 0), 4, 0)
    made = schedule(program, segments, on.put(program), on.failure.status, facts, table)
    # Fewer threads than on a device, so that each takes several elements.
    launches = [one._replace(threads=min(one.threads, 288)) for one in made.steps[0]]
    assert on.run(launches)
    return on.get(segments[1], memory.shape, memory.dtype), [one.kernel.name for one in launches]


@st.composite
def small(draw) -> list[int]:
    """A row over numbers anywhere in the segment, which others read and write too."""
    a, b, c, y = (4 * draw(st.integers(0, 99)) for _ in range(4))
    form = draw(st.integers(0, 7))
    if form == 0:
        return fill((1 << SEGMENT_SHIFT) + y, draw(st.integers(1, 40)), draw(st.floats(-9, 9, width=32)))
    if form == 1:
        return dense(draw(st.sampled_from(["copy", "tanh", "square"])), "f", a, a, a, 1400 + y, 50)
    if form == 2:
        return dense(draw(st.sampled_from(["add", "maximum", "subtract"])), "ff", a, b, a, 1400 + y, 50)
    if form == 3:
        return elementwise("fma", "fff", [a, b, c, 1400 + y], [3, 4, 5], [80, 20, 4], [4, 0, 12], [0, 0, 0],
                           [4, 12, 60])  # fmt: skip
    if form == 4:
        k, n = draw(st.sampled_from([(0, 3), (7, 3), (11, 3), (5, 20), (3, 70)]))
        return linear(a, b // 16 * 16, c, 1400 + y, draw(st.integers(1, 2)), k, n)
    if form == 5:
        return depthwise(a, b, c, 1400 + y, draw(st.sampled_from([[4], [2, 3]])), draw(st.integers(1, 7)))
    run = draw(st.sampled_from([3, 63, 64, 70, 260]))
    name = draw(st.sampled_from(["add", "maximum"]))
    return elementwise(name, "ff", [a, b, a, 1400 + y], [3, run], [4, 0], [4, 4], [4, 0], [4, 0])


@settings(max_examples=8, deadline=None)
@given(rows=st.lists(small(), min_size=2, max_size=6), seed=st.integers(0, 99))
def test_a_chain_computes_what_its_instructions_do(rows, seed):
    check(rows, seed)


@pytest.mark.parametrize("k, n", [(11, 3), (8, 20), (17, 1)])
def test_sums_of_a_chain_take_their_terms_in_order(k, n):
    folded = elementwise("add", "ff", [0, 0, 0, 2200], [3, 60], [4, 0], [4, 20], [4, 0], [4, 0])
    check([linear(4, 256, 60, 1400, 2, k, n), depthwise(4, 256, 60, 1800, [4], 7), folded], k)


def check(rows: list[list[int]], seed: int) -> None:
    """That a chain gives the same bits as its instructions one by one."""
    memory = np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32)
    chained, kernels = ran(rows, memory, seed)
    assert len(kernels) == 1 and kernels[0].startswith("chains.")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinyseq.kernels.cuda.schedule.is_short", lambda row, precision: False)
        apart, kernels = ran(rows, memory, seed)
    assert len(kernels) == len(rows)
    assert chained.tobytes() == apart.tobytes()


def move(x: int, indices: int, y: int, outer: int, count: int, run: int, store: int) -> list[int]:
    """Runs of float32 of x[outer, 5, run], which two indices in a row pick: one of 5, one of 1."""
    places = [x + (1 << SEGMENT_SHIFT), indices + (2 << SEGMENT_SHIFT), y + (1 << SEGMENT_SHIFT)]
    row = [*places, outer, 20 * run, count, 2, 4 * run, store, 5, 1, 4 * run, 0, 2 * count]
    return [OPCODES["gather"], len(row) + 2, *row]


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_moves_in_a_chain(data):
    outer, count, run = (data.draw(st.integers(1, most)) for most in (2, 5, 8))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    picks = np.stack(
        [[draw.permutation(5)[:count] - 5 * draw.integers(0, 2), np.zeros(count)] for _ in range(outer)]
    )
    picks = np.ascontiguousarray(picks.transpose(0, 2, 1)).astype(np.int64)
    if wrong := data.draw(st.sampled_from([0, 0, 5, -6])):
        picks[outer - 1, count - 1, 0] = wrong
    store = data.draw(st.sampled_from([GATHER, APART]))
    rows = [move(0, 0, 4 * 200, outer, count, run, store), fill((1 << SEGMENT_SHIFT) + 4 * 500, 9, 7)]
    memory, results = draw.standard_normal(SIZE).astype(np.float32), []
    for chained in (True, False):
        on = On(EmulatedDevice(3))
        program = np.array([word for row in rows for word in row], np.int64)
        segments, status = [0, on.put(memory), on.put(picks)], on.failure.status
        table, facts = on.put(np.array(segments)), Facts((9, 0), 4, 0)
        with pytest.MonkeyPatch.context() as patch:
            if not chained:
                patch.setattr("tinyseq.kernels.cuda.schedule.is_short", lambda row, precision: False)
            made = schedule(program, segments, on.put(program), status, facts, table)
        assert len(made.steps[0]) == (1 if chained else 2)
        fine = on.run([one._replace(threads=min(one.threads, 64)) for one in made.steps[0]])
        assert fine == (not wrong)
        failed = int(on.get(status, (1,), np.int64)[0])
        after = on.get(segments[1], memory.shape, memory.dtype)
        assert (after[500:509] == 7).all() == fine
        # Where one fails, others may or may not have moved.
        results.append((failed, after.tobytes() if fine else b""))
    assert results[0] == results[1]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, None])
def test_a_chain_ends_where_a_check_fails(wrong):
    memory = np.ones(SIZE, np.float32)
    if wrong is not None:
        memory[137] = wrong
    check_of = [OPCODES["finite"], 4, (1 << SEGMENT_SHIFT) + 4 * 100, 40]
    rows = [fill((1 << SEGMENT_SHIFT) + 4 * 300, 5, 7), check_of, fill((1 << SEGMENT_SHIFT) + 4 * 400, 5, 7)]
    on = On(EmulatedDevice())
    program, segments = np.array([word for row in rows for word in row], np.int64), [0, on.put(memory)]
    made = schedule(
        program, segments, on.put(program), on.failure.status, Facts((9, 0), 4, 0), on.put(np.array(segments))
    )
    [launch] = made.steps[0]
    assert on.run([launch._replace(threads=64)]) == (wrong is None)
    after = on.get(segments[1], memory.shape, memory.dtype)
    assert (after[300:305] == 7).all()
    assert (after[400:405] == (7 if wrong is None else 1)).all()
    if wrong is not None:
        assert on.get(on.failure.status, (1,), np.int64) == len(rows[0])


def test_what_is_long_or_alone_is_no_part_of_a_chain():
    memory = np.zeros(chains.MOST + 100, np.float32)
    short, long = (dense("negate", "f", 0, 0, 0, 0, count) for count in (8, chains.MOST + 1))
    _, kernels = ran([short, long, short, short], memory, 0)
    assert [name.split(".")[0] for name in kernels] == ["elementwise", "elementwise", "chains"]
    assert not chains.is_short(dense("power", "ff", 0, 0, 0, 0, 8))
    folded = elementwise("add", "ff", [0, 0, 0, 0], [2, 2, 2], [0] * 3, [8, 8, 4], [0] * 3, [0] * 3)
    assert not chains.is_short(folded)
