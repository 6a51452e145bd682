"""What is kept for inputs of a kind is little, whatever kinds there have been, and changes no result."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from types import SimpleNamespace

import numpy as np
import pytest

import tinyseq
from tests.models import one_node
from tests.test_decoder import OPTIONS, decoder_graph
from tests.test_turns import feeds_of
from tinyseq import Beam, Decoder
from tinyseq.common import idle
from tinyseq.common.idle import Idle


def things(sizes):
    return [SimpleNamespace(nbytes=size) for size in sizes]


@pytest.fixture
def little(monkeypatch):
    """Room for what holds 100 bytes together."""
    monkeypatch.setattr(idle, "MOST_BYTES", 100)


def test_the_last_one_left_for_a_key_is_taken_first():
    waiting, (one, other) = Idle(), things([1, 1])
    waiting.leave("a", one)
    waiting.leave("a", other)
    assert waiting.take("b") is None
    assert [waiting.take("a") for _ in range(3)] == [other, one, None]
    assert not len(waiting)


def test_those_that_have_waited_longest_make_room(little):
    gone = []
    waiting, given = Idle(gone.append), things([40, 50, 20, 90, 500, 1])
    for number, thing in enumerate(given[:3]):
        waiting.leave(number, thing)
    assert gone == given[:1]
    waiting.leave(1, waiting.take(1))
    waiting.leave(3, given[3])
    assert gone == [given[0], given[2], given[1]]
    waiting.leave(4, given[4])
    assert gone[3:] == given[3:4] and waiting.take(4) is given[4]
    waiting.leave(4, given[4])
    waiting.leave(5, given[5])
    assert gone[4:] == given[4:5] and len(waiting) == 1


def test_no_more_wait_than_may(monkeypatch):
    monkeypatch.setattr(idle, "MOST", 3)
    waiting = Idle()
    for number, thing in enumerate(things([0] * 9)):
        waiting.leave(number, thing)
    assert [number for number in range(9) if waiting.take(number)] == [6, 7, 8]


def test_threads_never_share_a_thing():
    waiting = Idle()

    def work(_) -> int:
        alone = 0
        for turn in range(400):
            thing = waiting.take(turn % 3) or SimpleNamespace(nbytes=1, lock=Lock())
            alone += thing.lock.acquire(blocking=False)
            time.sleep(0)
            thing.lock.release()
            waiting.leave(turn % 3, thing)
        return alone

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [400] * 4


def test_runs_of_many_shapes_keep_little(monkeypatch):
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((1, 64, 16)).astype(np.float32) for _ in range(2)]
    example = rng.standard_normal((3, 2, 16)).astype(np.float32)
    case = one_node("LSTM", [example, *weights], fed=[0], outputs=1, hidden_size=16)
    session, fresh = tinyseq.load(case.model), tinyseq.load(case.model)
    (name,) = case.feeds
    held = session.run(case.feeds) and session._backend._recent[0][1].nbytes
    monkeypatch.setattr(idle, "MOST_BYTES", 4 * held)
    for frames in (3, 5, 2, 3, 7, 4, 6, 1, 3, 8, 5, 2):
        feeds = {name: rng.standard_normal((frames, 2, 16)).astype(np.float32)}
        for key, array in session.run(feeds).items():
            assert array.tobytes() == fresh.run(feeds)[key].tobytes()
        kept = [size for *_, size in session._backend.idle._waiting]
        assert len(kept) <= 1 or sum(kept) <= 4 * held


def test_generations_of_many_sizes_keep_little(monkeypatch):
    """Neither searches nor what these leave behind; and what is larger than all that may wait serves the next
    of its kind."""
    monkeypatch.setattr(idle, "MOST_BYTES", 2**14)
    decoder = Decoder(tinyseq.load(decoder_graph(source=True)))
    options = Beam(num_beams=3, **OPTIONS)
    for rows in (1, 5, 2, 9, 1, 30, 5):
        feeds = feeds_of(rows, rows)
        wanted = tinyseq.generate(Decoder(tinyseq.load(decoder_graph(source=True))), feeds, options)
        assert tinyseq.generate(decoder, feeds, options) == wanted
        for waiting in (decoder.idle, decoder.session._backend.idle):
            sizes = [size for *_, size in waiting._waiting]
            assert len(sizes) <= 1 or sum(sizes) <= 2**14
    large = feeds_of(60, 0)
    tinyseq.generate(decoder, large, options)
    ((_, search, size),) = decoder.idle._waiting
    assert size > 2**14
    tinyseq.generate(decoder, large, options)
    assert decoder.idle._waiting[0][1] is search
