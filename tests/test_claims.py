"""What belongs to one thread at a time refuses a second one: nothing is mixed, lost or waited for."""

import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from threading import Barrier, Thread

import numpy as np
import pytest
from onnx import helper

import tinyseq
from tests.models import model, recogniser, running_sum, value
from tests.test_decoder import OPTIONS, decoder_graph
from tests.test_recognizer import FEATURES, heard, made, run_out, sound, whole
from tests.test_turns import feeds_of
from tinyseq import Decoder, Greedy
from tinyseq.decode.generation.generate import begin
from tinyseq.runtime.claim import Claim, put_back, take_all
from tinyseq.speech import VoiceDetector

IN_USE = "in use by another thread"
TIMES = 400


@contextmanager
def hasty_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextmanager
def holding(claims):
    held = take_all(claims)
    try:
        yield
    finally:
        put_back(held)


def in_threads(*calls: Callable[[], object]) -> list[int]:
    """Makes each call often in a thread of its own, all at once; how often each was taken, for the others
    were refused."""
    taken, wrong, barrier = [0] * len(calls), [], Barrier(len(calls))

    def go(number: int) -> None:
        barrier.wait()
        try:
            for _ in range(TIMES):
                try:
                    calls[number]()
                except tinyseq.StateError as error:
                    assert IN_USE in str(error)
                else:
                    taken[number] += 1
        except BaseException as error:
            wrong.append(error)

    threads = [Thread(target=go, args=(number,)) for number in range(len(calls))]
    with hasty_switches():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong, wrong
    return taken


def wide() -> bytes:
    """tanh of the input, which takes long enough for another thread to come in between."""
    return model(
        [helper.make_node("Tanh", ["x"], ["y"]), helper.make_node("Identity", ["h"], ["hn"])],
        [value("x", shape=["rows", 50_000]), value("h", shape=["rows", 4])],
        [value("y", shape=["rows", 50_000]), value("hn", shape=["rows", 4])],
    )


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_streams_results_are_of_what_its_own_thread_fed(device):
    stream = tinyseq.load(wide(), device=device).stream()

    def step(number: float) -> None:
        y = stream.step({"x": np.full((1, 50_000), number, np.float32)})["y"]
        np.testing.assert_allclose(y, np.tanh(number), atol=1e-6)

    taken = in_threads(lambda: step(0.25), lambda: step(-1.5))
    assert sum(taken) > 0


def test_a_pools_results_are_of_what_its_own_thread_fed():
    pool = tinyseq.load(wide()).pool(3)

    def step(row: int, number: float) -> None:
        y = pool.step([row], {"x": np.full((1, 50_000), number, np.float32)})["y"]
        np.testing.assert_allclose(y, np.tanh(number), atol=1e-6)

    def come_and_go() -> None:
        row = pool.open()
        while True:
            try:
                return pool.close(row)
            except tinyseq.StateError as error:
                assert IN_USE in str(error)

    a, b = pool.open(), pool.open()
    taken = in_threads(lambda: step(a, 0.25), lambda: step(b, -1.5), come_and_go)
    assert sum(taken) > 0


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_no_step_is_lost_and_none_counts_twice(device):
    stream = tinyseq.load(running_sum(), device=device).stream()
    one = {"x": np.ones((1, 3), np.float32)}
    taken = in_threads(*[lambda: stream.step(one)] * 3, lambda: stream.restore(stream.snapshot()))
    total = stream.step(one)["y"]
    assert total.max() == total.min() and -total.min() <= sum(taken[:3]) + 1
    taken = in_threads(*[lambda: stream.step(one)] * 3, stream.snapshot)
    np.testing.assert_array_equal(stream.step(one)["y"], total - sum(taken[:3]) - 1)


class Calling:
    """An input that makes a call when it is read, in the midst of a step."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        self._call()
        return np.ones((1, 3), np.float32)


def refused(call: Callable[[], object]) -> Callable[[], None]:
    def check() -> None:
        with pytest.raises(tinyseq.StateError, match=IN_USE):
            call()
        check.times += 1

    check.times = 0
    return check


X = np.ones((1, 3), np.float32)

OF_A_STREAM = {
    "step": lambda stream: stream.step({"x": X}),
    "reset": lambda stream: stream.reset(),
    "snapshot": lambda stream: stream.snapshot(),
    "restore": lambda stream: stream.restore({"h": X}),
    "fork": lambda stream: stream.fork(),
}


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("name", OF_A_STREAM)
def test_a_call_within_a_step_is_refused(device, name):
    stream = tinyseq.load(running_sum(), device=device).stream()
    check = refused(lambda: OF_A_STREAM[name](stream))
    stream.step({"x": Calling(check)})
    assert check.times
    np.testing.assert_array_equal(stream.step({"x": X})["y"], -2 * X)


def pooled() -> tinyseq.Session:
    """The sum of all that a row was given."""
    nodes = [helper.make_node("Add", ["x", "h"], ["hn"]), helper.make_node("Neg", ["hn"], ["y"])]
    shape = ["rows", 3]
    return tinyseq.load(
        model(
            nodes,
            [value("x", shape=shape), value("h", shape=shape)],
            [value("y", shape=shape), value("hn", shape=shape)],
        )
    )


OF_A_POOL = {
    "step": lambda pool: pool.step([0], {"x": X}),
    "open": lambda pool: pool.open(),
    "close": lambda pool: pool.close(0),
    "reset": lambda pool: pool.reset(0),
    "snapshot": lambda pool: pool.snapshot(0),
    "restore": lambda pool: pool.restore(0, {"h": X}),
    "take": lambda pool: pool.take([{"h": X}]),
    "give": lambda pool: pool.give([{"h": X}]),
    "step_rows": lambda pool: pool.step_rows(1, {"x": X}),
}


@pytest.mark.parametrize("name", OF_A_POOL)
def test_a_call_within_a_pools_step_is_refused(name):
    pool = pooled().pool(2)
    assert pool.open() == 0
    check = refused(lambda: OF_A_POOL[name](pool))
    pool.step([0], {"x": Calling(check)})
    assert check.times
    np.testing.assert_array_equal(pool.step([0], {"x": X})["y"], -2 * X)


class Interrupt(BaseException):
    """As Ctrl-C gives it."""


@pytest.mark.parametrize("failure", [Interrupt, KeyboardInterrupt, MemoryError, IndexError])
def test_what_has_failed_is_free_again(failure):
    def fail() -> None:
        raise failure

    stream, pool = tinyseq.load(running_sum()).stream(), pooled().pool(1)
    pool.open()
    for step in (stream.step, lambda feeds: pool.step([0], feeds)):
        with pytest.raises((failure, tinyseq.FeedError)):
            step({"x": Calling(fail)})
        with pytest.raises(tinyseq.FeedError):
            step({"x": np.ones(7, np.float32)})
        np.testing.assert_array_equal(step({"x": X})["y"], -X)
    with pytest.raises(tinyseq.StateError):
        stream.restore({"other": X})
    stream.reset()


class Interrupted(list):
    """Free, and interrupted as soon as it was taken."""

    def pop(self):
        super().pop()
        raise KeyboardInterrupt


def test_an_interrupt_just_behind_the_taking_leaves_it_free():
    stream, pool = tinyseq.load(running_sum()).stream(), pooled().pool(1)
    stream._free = stream._claim.free = pool._claim.free = free = Interrupted([None])
    for call in (stream.reset, lambda: stream.step({"x": X}), lambda: pool.step([0], {"x": X})):
        with pytest.raises(KeyboardInterrupt):
            call()
        assert free == [None]


def test_several_are_held_all_or_none():
    claims = [Claim("thing") for _ in range(3)]
    with holding(claims):
        for claim in claims:
            with pytest.raises(tinyseq.StateError, match=f"this thing is {IN_USE}"):
                claim.take()
    claims[2].take()
    with pytest.raises(tinyseq.StateError), holding(claims):
        pytest.fail("it is held")
    assert [claim.free for claim in claims] == [[None], [None], []]


def test_a_process_forked_within_a_step_waits_for_nothing():
    stream = tinyseq.load(running_sum()).stream()
    codes = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            try:
                stream.snapshot()
            except tinyseq.StateError:
                os._exit(7)
            os._exit(8)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    stream.step({"x": Calling(fork)})
    assert set(codes) == {7}


LOGP = np.log(np.random.default_rng(0).dirichlet(np.ones(5), 8)).astype(np.float32)

OF_A_DECODERS_STREAM = {
    "step": lambda stream: stream.step(LOGP),
    "step of several": lambda stream: stream._decoder.step([stream._decoder.stream(), stream], [LOGP, LOGP]),
    "partial": lambda stream: stream.partial(),
    "finish": lambda stream: stream.finish(),
    "frames": lambda stream: stream.frames,
    "reset": lambda stream: stream.reset(),
    "snapshot": lambda stream: stream.snapshot(),
    "restore": lambda stream: stream.restore({"size": np.array(0)}),
    "fork": lambda stream: stream.fork(),
}


@pytest.mark.parametrize("name", OF_A_DECODERS_STREAM)
def test_a_decoders_stream_in_use_is_refused(name):
    stream = tinyseq.CtcDecoder().stream()
    stream.step(LOGP)
    with holding([stream._claim]), pytest.raises(tinyseq.StateError, match=f"this stream is {IN_USE}"):
        OF_A_DECODERS_STREAM[name](stream)
    OF_A_DECODERS_STREAM[name](stream)


@pytest.mark.parametrize("options", [tinyseq.CtcGreedy(), tinyseq.CtcBeamSearch()], ids=["greedy", "beam"])
def test_a_decoders_stream_hears_each_chunk_once(options):
    decoder = tinyseq.CtcDecoder(options)
    stream = decoder.stream()
    rows = np.tile(LOGP, (60, 1))
    taken = in_threads(lambda: stream.step(rows), lambda: stream.step(rows), stream.partial, stream.finish)
    whole = decoder.stream()
    for _ in range(taken[0] + taken[1]):
        whole.step(rows)
    assert stream.frames == whole.frames and stream.finish() == whole.finish()


@pytest.fixture(scope="module")
def recognizer() -> tinyseq.Recognizer:
    return made(tinyseq.load(recogniser(FEATURES)))


def test_a_stream_that_is_decoded_elsewhere_loses_nothing(recognizer):
    busy, other = recognizer.create_stream(), recognizer.create_stream()
    for stream in (busy, other):
        stream.accept_waveform(16_000, sound(200))
    saved = other.snapshot()
    with holding([busy._decoding]):
        for verb in (recognizer.decode, recognizer.get_result, recognizer.is_endpoint, recognizer.reset):
            with pytest.raises(tinyseq.StateError, match=f"this stream is {IN_USE}"):
                verb(busy)
        with pytest.raises(tinyseq.StateError, match=IN_USE):
            recognizer.decode([other, busy])
        for call in (busy.snapshot, busy.fork, lambda: busy.restore(saved)):
            with pytest.raises(tinyseq.StateError, match=IN_USE):
                call()
        busy.accept_waveform(16_000, sound(60, 1))
    with holding([busy._claim]):
        for call in (lambda: busy.accept_waveform(16_000, sound(1)), busy.input_finished, busy.snapshot):
            with pytest.raises(tinyseq.StateError, match=IN_USE):
                call()
        recognizer.decode([other, busy])
    busy.input_finished()
    other.input_finished()
    run_out(recognizer, busy, other)
    waveform = np.concatenate([sound(200), sound(60, 1)])
    assert heard(recognizer, busy) == whole(recognizer, waveform)
    assert heard(recognizer, other) == whole(recognizer, sound(200))


def test_a_stream_is_heard_by_one_thread_and_decoded_by_others(recognizer):
    waveform = sound(20 * 50)
    stream, parts = recognizer.create_stream(), iter(np.split(waveform, 50))

    def hear() -> None:
        for part in parts:
            stream.accept_waveform(16_000, part)
            return

    decode = lambda: recognizer.decode(stream)  # noqa: E731
    in_threads(hear, decode, decode, lambda: recognizer.get_result(stream))
    stream.input_finished()
    run_out(recognizer, stream)
    assert heard(recognizer, stream) == whole(recognizer, waveform)


def test_a_voice_stream_that_is_in_use_takes_nothing():
    detector = VoiceDetector()
    busy, other = detector.stream(), detector.stream()
    before, waveform = other.snapshot(), sound(2000)
    with holding([busy._claim]):
        for call in (
            lambda: busy.accept_waveform(16_000, waveform),
            lambda: detector.accept_waveforms([other, busy], 16_000, [waveform] * 2),
            lambda: busy.restore(before),
            busy.finish,
            busy.reset,
            busy.snapshot,
            busy.fork,
        ):
            with pytest.raises(tinyseq.StateError, match=f"this stream is {IN_USE}"):
                call()
    assert busy.snapshot() == other.snapshot() == before


def test_a_generation_is_not_stepped_by_what_it_tells():
    decoder, feeds, options = (
        Decoder(tinyseq.load(decoder_graph(source=True))),
        feeds_of(2, 0),
        Greedy(**OPTIONS),
    )
    told = []

    def stream(*token: int) -> None:
        with pytest.raises(tinyseq.StateError, match=f"this generation is {IN_USE}"):
            generating.step()
        with pytest.raises(tinyseq.StateError, match=IN_USE):
            generating.end()
        told.append(token)

    generating = begin(decoder, feeds, options, streamer=stream)
    while generating.step():
        pass
    found = [own[0].tokens for own in generating.end()]
    assert told and found == [own[0].tokens for own in tinyseq.generate(decoder, feeds, options)]
