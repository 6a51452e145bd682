"""The batcher by itself: turns, order, threads, rows that come and go, and what it must not lose."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinyseq
from tests.serve import small
from tinyseq.serve.admission import Admission
from tinyseq.serve.batcher import Batcher
from tinyseq.serve.config import Config, Limits
from tinyseq.serve.errors import FullError, TokenError
from tinyseq.serve.kinds import Kind
from tinyseq.serve.load import Load
from tinyseq.serve.metrics import Metrics, families
from tinyseq.serve.models import Models, awaited
from tinyseq.serve.tokens import Token, Tokens
from tinyseq.speech.voice_detector import MODEL


class Told:
    """Steps that write down who was stepped with whom."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.turns: list[list[str]] = []
        self.threads: set[int] = set()
        self.seconds = seconds

    def step(self, kind, streams, given):
        self.turns.append(list(streams))
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        return [tinyseq.FeedError("no") if chunk is None else (kind, chunk) for chunk in given]


class Quick(Kind):
    """A kind whose steps are known to be quick."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self.steps = 1e-6, 3


AT_ONCE = Limits(window_ms=0)


def made(steps, limits: Limits = AT_ONCE) -> tuple[Batcher, Metrics, Admission]:
    metrics = Metrics()
    admission = Admission(limits, metrics)
    batcher = Batcher(
        steps, limits, admission, metrics.of_model("m", "1"), Load(limits), ThreadPoolExecutor(2)
    )
    return batcher, metrics, admission


def test_each_line_has_one_turn_before_any_has_a_second():
    async def run() -> None:
        steps, kind, done = Told(), Quick(), []
        batcher, metrics, _ = made(steps)
        greedy, others = batcher.line("greedy"), [batcher.line(name) for name in "abc"]
        for number in range(5):
            greedy.step(kind, number, done.append)
        for line in others:
            line.step(kind, 0, done.append)
        await asyncio.sleep(0.05)
        assert steps.turns == [["greedy", "a", "b", "c"], *[["greedy"]] * 4]
        assert [chunk for _, chunk in done] == [0, 0, 0, 0, 1, 2, 3, 4]
        assert metrics.of_model("m", "1").chunks == 8

    asyncio.run(run())


def test_no_more_rows_than_there_may_be_and_no_line_starves():
    async def run() -> None:
        steps, kind = Told(), Quick()
        batcher, _, _ = made(steps, Limits(window_ms=0, rows=2))
        lines = [batcher.line(name) for name in "abcde"]
        for line in lines:
            line.step(kind, 0, lambda result: None)
            line.step(kind, 1, lambda result: None)
        await asyncio.sleep(0.05)
        assert all(len(turn) <= 2 for turn in steps.turns)
        order = [name for turn in steps.turns for name in turn]
        assert sorted(order[:5]) == list("abcde") and sorted(order[5:]) == list("abcde")

    asyncio.run(run())


def test_kinds_are_steps_of_their_own():
    async def run() -> None:
        steps, one, other = Told(), Quick(), Quick()
        batcher, _, _ = made(steps)
        for number, name in enumerate("abcd"):
            batcher.line(name).step(other if number % 2 else one, 0, lambda result: None)
        await asyncio.sleep(0.05)
        assert steps.turns == [["a", "c"], ["b", "d"]]

    asyncio.run(run())


def test_long_steps_leave_the_event_loop_and_keep_all_orders():
    async def run() -> None:
        steps, kind, done = Told(0.05), Kind(), []
        batcher, _, admission = made(steps)
        line, other = batcher.line("line"), batcher.line("other")
        line.step(kind, 1, done.append, 100)
        line.call(lambda: "called", done.append)
        line.step(kind, 2, done.append, 100)
        await asyncio.sleep(0.02)
        assert admission.queued_bytes == 200
        # While a step is in a thread: a line that is closed, and one that is new.
        freed = []
        other.step(kind, 3, done.append, 50)
        late = batcher.line("late")
        late.step(kind, 4, done.append)
        other.close(lambda: freed.append(True))
        assert admission.queued_bytes == 200 and not freed
        await asyncio.sleep(0.4)
        assert [each if each == "called" else each[1] for each in done] == [1, "called", 4, 2] or [
            each if each == "called" else each[1] for each in done
        ] == [1, "called", 2, 4]
        assert freed == [True] and admission.queued_bytes == 0
        assert steps.threads - {threading.get_ident()}

    asyncio.run(run())


def test_a_line_that_is_closed_in_a_thread_is_freed_behind_it():
    async def run() -> None:
        steps, kind, done, freed = Told(0.1), Kind(), [], []
        batcher, _, admission = made(steps)
        line = batcher.line("line")
        line.step(kind, 1, done.append, 10)
        line.step(kind, 2, done.append, 10)
        await asyncio.sleep(0.03)
        line.close(lambda: freed.append(len(steps.turns)))
        await asyncio.sleep(0.3)
        assert freed == [1] and done == [] and admission.queued_bytes == 0 and batcher.lines == 0

    asyncio.run(run())


def test_a_result_that_nobody_can_use_harms_no_other(caplog):
    async def run() -> None:
        steps, kind, done = Told(), Quick(), []
        batcher, _, _ = made(steps)

        def fails(result: object) -> None:
            raise RuntimeError("a handler's fault")

        first, second = batcher.line("first"), batcher.line("second")
        first.step(kind, 1, fails)
        second.step(kind, None, done.append)
        first.step(kind, 2, done.append)
        await asyncio.sleep(0.05)
        assert isinstance(done[0], tinyseq.FeedError) and done[1][1] == 2

    asyncio.run(run())
    assert "a handler's fault" in caplog.text


def test_rows_grow_and_shrink_with_the_streams():
    async def run() -> None:
        session = tinyseq.load(MODEL)
        metrics = Metrics()
        models = Models(Config(), Admission(Limits(), metrics), metrics)
        served = models.add("vad", session)
        draw = np.random.default_rng(0)
        chunks = draw.standard_normal((3, 70, 1, 576)).astype(np.float32) * 0.1
        lone = [session.stream() for _ in range(70)]
        rate = np.array(16000)
        streams = [served.open_stream() for _ in range(70)]

        async def step(number: int, turn: int) -> None:
            got = await streams[number].step({"input": chunks[turn, number], "sr": rate})
            wanted = lone[number].step({"input": chunks[turn, number], "sr": rate})
            assert np.array_equal(got["output"], wanted["output"])

        await asyncio.gather(*[step(number, 0) for number in range(70)])
        assert served.rows.count == 128 and served.metrics.streams == 70
        for number in range(3, 70):
            streams[number].close()
        await asyncio.gather(*[step(number, 1) for number in range(3)])
        assert served.rows.count == 16 and served.metrics.streams == 3
        await asyncio.gather(*[step(number, 2) for number in range(3)])
        state = await awaited(streams[0].snapshot)
        assert state == lone[0].snapshot()
        twin = served.open_stream(state.to_bytes())
        got = await twin.step({"input": chunks[0, 5], "sr": rate})
        assert np.array_equal(got["output"], lone[0].step({"input": chunks[0, 5], "sr": rate})["output"])
        assert metrics.ended == {"finished": 67}
        models.close()

    asyncio.run(run())


WAYS = {"framed": ({"x": 1}, {"y": 1}), "late": ({"x": 0}, {"y": 1}), "backward": ({"x": 1}, {"y": 2})}


@pytest.mark.parametrize("name", small.MODELS)
def test_inference_has_the_bits_of_a_run(name):
    async def run() -> None:
        session = small.MODELS[name]()
        metrics = Metrics()
        models = Models(Config(), Admission(Limits(requests=20), metrics), metrics)
        served = models.add(name, session)
        draw = np.random.default_rng(0)
        (value,) = [each for each in session.inputs if each.name == "x"]

        async def ask(frames: int) -> None:
            sizes = {"frames": frames, "rows": 1}
            shape = [sizes.get(size, size) for size in value.shape]
            x = draw.standard_normal(shape).astype(np.float32)
            got = await served.infer({"x": x})
            own = {"h": np.zeros((1, small.WIDTH), np.float32)} if name == "of_one_row" else {}
            wanted = session.run({"x": x, **own})
            assert list(got) == list(wanted)
            assert all(np.array_equal(got[key], wanted[key]) for key in wanted)

        await asyncio.gather(*[ask(frames) for frames in (3, 4, 3, 4, 3, 3, 5, 3, 3)])
        together = [kind.way for kind in served.whole._kinds.values()]
        assert name == "of_one_row" or (all(way in (None, WAYS[name]) for way in together) and any(together))
        with pytest.raises(tinyseq.FeedError, match="missing 'x'"):
            await served.infer({})
        with pytest.raises(FullError, match="requests"):
            await asyncio.gather(*[ask(3) for _ in range(30)])
        models.close()

    asyncio.run(run())


def test_the_guard_refuses_when_chunks_take_long():
    now = [100.0]
    metrics = Metrics()
    admission = Admission(Limits(guard_ms=50), metrics, lambda: now[0])
    histogram = metrics.of_model("m", "1").latency
    admission.took(now[0], histogram.add(np.full(3000, 0.004)))
    admission.open_stream()
    admission.took(now[0], histogram.add(np.full(100, 0.09)))
    with pytest.raises(FullError) as refused:
        admission.open_stream()
    assert refused.value.reason == "guard" and refused.value.retry_after == 5
    now[0] += 11
    admission.open_stream()
    assert admission.streams == 2
    assert {family.name for family in families(metrics, Limits())} >= {"tinyseq_guarded_seconds"}


def test_tokens_are_taken_whole_or_not_at_all():
    tokens = Tokens(b"a secret of sixteen")
    token = Token("stream", "fingerprint", 7, bytes(range(256)) * 3)
    text = tokens.make(token)
    assert tokens.open(text, "stream", "fingerprint") == token
    draw = np.random.default_rng(0)
    for _ in range(300):
        letters = list(text)
        place = draw.integers(len(letters))
        letters[place] = draw.choice([each for each in "ABCabc019-_" if each != letters[place]])
        with pytest.raises(TokenError):
            tokens.open("".join(letters), "stream", "fingerprint")
    for given in ("", "A", "????", text[:-1], "é"):
        with pytest.raises(TokenError):
            tokens.open(given, "stream", "fingerprint")
    for kind, model in (("speech", "fingerprint"), ("stream", "other")):
        with pytest.raises(TokenError, match=r"another model|is of a"):
            tokens.open(text, kind, model)
    with pytest.raises(TokenError, match="another secret"):
        Tokens(b"another secret of it").open(text, "stream", "fingerprint")
