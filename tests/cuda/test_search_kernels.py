"""Kernels of searches, emulated: what they leave in memory is what the CPU's leave, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.cuda.emulator import EmulatedDevice
from tinyseq.backends.device_program import DeviceProgram
from tinyseq.errors import UnsupportedError
from tinyseq.kernels.cuda import scores, searches
from tinyseq.kernels.cuda.launch import RUNNING, Facts, Tail
from tinyseq.kernels.instructions import (
    FIRST_FULL,
    HEAD,
    KEEP_OPEN,
    MAX_ROWS,
    MIN_ROWS,
    MOST_HOPEFUL,
    NODE,
    POSITION,
    ROWS,
    SCRATCH,
    STATUS,
    UNITS,
    UNTIL,
)
from tinyseq.kernels.program import Buffer, Program, float_word

FEW = settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

pytestmark = pytest.mark.usefixtures("few_blocks")


@pytest.fixture(autouse=True, params=[4, 32])
def few_threads(request, monkeypatch):
    """Blocks so small that there is more of everything than threads."""
    for module in (scores, searches):
        monkeypatch.setattr(module, "THREADS", request.param)


def alike(
    instruction: str, *operands: object, scratch: tuple = (), cut: Callable = lambda buffer: ()
) -> None:
    """Runs an instruction on the CPU and on an emulated device; refuses results that differ.

    ``scratch`` has no meaning afterwards, ``cut`` tells which part of a buffer has.
    """
    buffers = {b for o in operands if (b := o[0] if isinstance(o, tuple) else o).__class__ is Buffer}
    start = {buffer: buffer.array.copy() for buffer in buffers}
    program = Program()
    program.add(instruction, *operands)
    assert program.run() == -1
    wanted = {buffer: buffer.array[cut(buffer)].tobytes() for buffer in buffers.difference(scratch)}
    parts = {buffer: cut(buffer) for buffer in wanted}
    for buffer, array in start.items():
        buffer.array[...], buffer.mirror = array, None
    device = EmulatedDevice(seed=len(buffers))
    status = device.memory(8)
    device.write(status.address, 8, np.array([RUNNING]).view(np.uint8).reshape(1, -1))
    there = DeviceProgram(device, device.queue(), status, Facts((9, 0), 1, 0))
    there.add(instruction, *operands)
    assert there.run() == -1
    for _, mirror in there._mirrors():
        mirror.ahead = True
    there.fetch()
    for buffer, found in wanted.items():
        assert buffer.array[parts[buffer]].tobytes() == found


def rows_of(draw, rows: int, count: int) -> np.ndarray:
    """Scores with ties, infinities and not-a-number among them."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    y = rng.normal(0, 2, (rows, count)).astype(np.float32)
    y = np.round(y) if draw(st.booleans()) else y
    if draw(st.booleans()):
        y[rng.random(y.shape) < 0.2] = rng.choice(np.array([np.nan, -np.inf], np.float32))
    if draw(st.booleans()):
        y[rng.integers(rows)] = -np.inf
    return y


def word(value: int) -> Buffer:
    return Buffer(np.array([value], np.int64))


sizes = st.tuples(st.integers(1, 5), st.sampled_from([1, 7, 33, 70]))


@FEW
@given(data=st.data(), size=sizes, kind=st.integers(0, 2))
def test_log_softmax(data, size, kind):
    y = Buffer(rows_of(data.draw, *size))
    given_rows = data.draw(st.integers(0, size[0]))
    scratch = Buffer(np.zeros(SCRATCH, np.float32))
    alike("log_softmax", y, scratch, word(given_rows), size[1], kind, scratch=(scratch,))


@FEW
@given(data=st.data(), size=sizes)
def test_bans_and_penalties(data, size):
    rows, count = size
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    length, room = data.draw(st.integers(1, 9)), 9
    history = Buffer(rng.integers(0, min(count, 4) + 1, (rows, NODE, room)))
    y, used, now = (
        Buffer(rows_of(data.draw, rows, count)),
        word(data.draw(st.integers(0, rows))),
        word(length),
    )
    before = now, NODE * room
    # Scratch has the CPU's former scores.
    scratch = Buffer(np.zeros(max(count, SCRATCH), np.float32))
    tokens = rng.integers(0, count + 2, 3).tolist()
    alike("ban_tokens", y, used, count, len(tokens), *tokens)
    alike("ban_ngrams", y, history, used, count, *before, data.draw(st.integers(1, 3)))
    alike("force_token", y, used, count, data.draw(st.integers(0, count - 1)))
    y.array[...] = rows_of(data.draw, rows, count)
    penalty = float_word(1.3)
    alike("penalize_repetition", y, history, scratch, used, count, *before, penalty, scratch=(scratch,))


@FEW
@given(data=st.data())
def test_rows_and_histories(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    slots, size, room = 6, data.draw(st.integers(1, 6)), 5
    rows = word(data.draw(st.integers(1, size)))
    feeds = Buffer(rng.integers(0, slots, (4, slots)))
    given_rows = [Buffer(np.full(size, -7)) for _ in range(4)]
    alike("feed", feeds, slots, rows, *given_rows, size, 99)
    trace = Buffer(rng.integers(0, slots, (room, slots, NODE)))
    if data.draw(st.booleans()):
        trace.array[:, ::2, 3] = np.arange(0, slots, 2)  # these have kept their places
    lengths = Buffer(rng.integers(1, room + 1, slots))
    history = Buffer(np.zeros((slots, NODE, room), np.int64))
    ends = feeds, 2 * slots * 8
    alike("unroll", trace, ends, lengths, 1, history, rows, slots, room)


class Under:
    """A search under way, of so many places."""

    def __init__(self, data, slots: int, prompt: int, most: int, units: int, rows: int) -> None:
        rng = self.rng = np.random.default_rng(data.draw(st.integers(0, 999)))
        self.status = Buffer(np.zeros(STATUS, np.int64))
        position = prompt + data.draw(st.integers(0, most - 1))
        words = {
            UNITS: units,
            ROWS: rows,
            POSITION: position,
            MIN_ROWS: 2,
            MAX_ROWS: slots,
            UNTIL: prompt + most,
        }
        for place, value in words.items():
            self.status.array[place] = value
        self.trace = Buffer(rng.integers(0, slots, (prompt + most, slots, NODE)))
        self.trace.array[:, :, 2] = rng.normal(size=(prompt + most, slots)).view(np.int64)
        self.feeds = Buffer(rng.integers(0, slots, (4, slots)))

    def cut(self, *lists: Buffer) -> Callable:
        """Which part of a buffer the next step reads: the first of ``lists`` and of the feeds."""

        def cut(buffer: Buffer) -> tuple:
            units, rows = (int(self.status.array[place]) for place in (UNITS, ROWS))
            return (slice(None), slice(rows)) if buffer is self.feeds else (slice(units),) * (buffer in lists)

        return cut


@FEW
@given(data=st.data(), count=st.sampled_from([1, 7, 70]), ends=st.lists(st.integers(0, 7), max_size=2))
def test_pick(data, count, ends):
    slots, prompt, most = data.draw(st.sampled_from([1, 5, 40])), 2, 3
    rows = data.draw(st.integers(1, slots))
    under = Under(data, slots, prompt, most, rows, rows)
    live = Buffer(under.rng.permutation(slots))
    live.array[:rows].sort()
    heads, keys = Buffer(under.rng.normal(size=(slots, HEAD))), Buffer(np.zeros(slots, np.int64))
    y = Buffer(rows_of(data.draw, rows, count))
    options = 0, prompt, most, 1, len(ends), *ends
    operands = y, under.trace, heads, live, keys, under.feeds, under.status, count, slots, *options
    alike("pick", *operands, cut=under.cut(live))


@settings(FEW, max_examples=25)
@given(
    data=st.data(),
    width=st.integers(1, 4),
    groups=st.integers(1, 2),
    compete=st.booleans(),
    early=st.sampled_from([KEEP_OPEN, FIRST_FULL, MOST_HOPEFUL]),
    ends=st.lists(st.integers(0, 7), max_size=2, unique=True),
    count=st.sampled_from([1, 6, 40]),
)
def test_beam(data, width, groups, compete, early, ends, count):
    beams, prompt, most, places = 3 * groups, 2, 3, data.draw(st.integers(1, 4))
    places = width if compete else places
    slots, wanted = beams * width, width if compete else width * max(2, 1 + len(ends))
    counts = data.draw(st.lists(st.integers(1, width), min_size=1, max_size=beams))
    under = Under(data, slots, prompt, most, len(counts), sum(counts))
    rng = under.rng
    live = Buffer(np.zeros(beams, np.int64))
    live.array[: len(counts)] = np.sort(rng.permutation(beams)[: len(counts)])
    rows_of_beams = Buffer(np.array(counts + [0] * (beams - len(counts)), np.int64))
    running = Buffer(np.round(rng.normal(0, 2, slots)))
    running.array[rng.random(slots) < 0.2] = -np.inf
    heads = Buffer(np.round(rng.normal(0, 2, (beams, places, HEAD))))
    heads.array[:, :, HEAD - 1] = rng.integers(0, 3, (beams, places))
    pool, best = Buffer(np.zeros((beams, places, NODE), np.int64)), Buffer(np.zeros((beams, wanted, 2)))
    y = Buffer(rows_of(data.draw, sum(counts), count))
    lengths = np.arange(1, most + 1, dtype=np.float64)
    options = (
        *(groups * width, groups, wanted, places, int(compete), early, prompt, most, 0),
        *(int(early == MOST_HOPEFUL), 0, 0, len(ends), *ends),
    )
    nothing = Buffer(np.zeros((0, 0), np.float32))
    operands = [y, running, under.trace, pool, heads, best, live, rows_of_beams, under.feeds, under.status]
    operands += [Buffer(lengths**0.7), nothing, nothing, width, count, slots, *options]
    alike("beam", *operands, scratch=(best,), cut=under.cut(live, rows_of_beams))


def test_what_has_no_twin_is_refused():
    options = [1, 1, 2, 1, 0, 0, 1, 4, 0, 0, float_word(0.5), 0, 0]
    with pytest.raises(UnsupportedError, match="other groups"):
        searches.beam(*[0] * 13, 1, 2, 2, Tail(0, options))
    with pytest.raises(UnsupportedError, match="draws"):
        searches.pick(*[0] * 9, Tail(0, [1]))
