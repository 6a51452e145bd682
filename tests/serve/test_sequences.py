"""Sequences of the Open Inference Protocol: streams that requests name by an id."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any

import numpy as np
import pytest
from onnx import helper

import tinyseq
from tests.models import lstm_with_state, model, running_sum, value
from tests.serve.inside import Answered, Inside, inside
from tinyseq.errors import FeedError
from tinyseq.serve.errors import FullError
from tinyseq.serve.protocols.parameters import Turn
from tinyseq.serve.protocols.sequences import NoSequenceError, Sequences

X = np.arange(12, dtype=np.float32).reshape(4, 1, 3)


def request(
    x: np.ndarray | None, name: Any = 7, start: bool = False, end: bool = False, **more: Any
) -> dict[str, Any]:
    """A request of a sequence."""
    asked: dict[str, Any] = {
        "parameters": {"sequence_id": name, "sequence_start": start, "sequence_end": end, **more}
    }
    if x is not None:
        tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
        asked["inputs"] = [tensor]
    return asked


def y(answer: Answered) -> np.ndarray:
    """The output of an answer."""
    assert answer.status == 200, answer.body
    (found,) = [each for each in answer.json["outputs"] if each["name"] == "y"]
    return np.array(found["data"], np.float32).reshape(found["shape"])


def served(use, folder, data: bytes = b"", **given: Any) -> None:
    """Uses an app with one model, ``m``: by default the negative sum of all that it was given."""
    inside(use, {"m": data or running_sum()}, folder, **given)


INFER = "/v2/models/m/infer"


def test_a_sequence_is_a_stream(tmp_path):
    stream = tinyseq.load(lstm_with_state()).stream()
    wanted = [stream.step({"x": part[None]})["y"] for part in X]

    async def use(app: Inside) -> None:
        for name in (7, "seven", 2**64 - 1):
            for place, part in enumerate(X):
                asked = request(part[None], name, place == 0, place == len(X) - 1)
                np.testing.assert_array_equal(y(await app.ask(INFER, asked)), wanted[place])
        assert app.services.admission.streams == 0
        assert app.services.metrics.ended["finished"] == 3

    served(use, tmp_path, lstm_with_state())


def test_several_run_at_a_time_and_requests_keep_their_order(tmp_path):
    async def use(app: Inside) -> None:
        names = [1, 2, "1"]
        asked = [
            app.ask(INFER, request(X[place] + offset, name, place == 0, place == 3))
            for place in range(4)
            for offset, name in enumerate(names)
        ]
        found = [y(each) for each in await asyncio.gather(*asked)]
        for place in range(4):
            for offset in range(3):
                wanted = -(X[: place + 1] + offset).sum(axis=0)
                np.testing.assert_array_equal(found[3 * place + offset], wanted)

    served(use, tmp_path)


def test_a_request_without_a_start_names_what_is_wrong(tmp_path):
    async def use(app: Inside) -> None:
        answer = await app.ask(INFER, request(X[0]))
        assert answer.status == 400 and "must specify the START flag" in answer.json["error"]
        await app.ask(INFER, request(X[0], start=True, end=True))
        assert (await app.ask(INFER, request(X[0]))).status == 400
        answer = await app.ask(INFER, request(X[0], name=0, start=True))
        assert answer.status == 400 and "sequence_id" in answer.json["error"]
        for name in (-1, 2**64, 1.5, None, "x" * 129, [], True):
            answer = await app.ask(INFER, request(X[0], name=name, start=True))
            assert answer.status == 400 and "sequence_id" in answer.json["error"], name

    served(use, tmp_path)


def test_a_start_within_a_sequence_begins_it_anew(tmp_path):
    async def use(app: Inside) -> None:
        for _ in range(2):
            np.testing.assert_array_equal(y(await app.ask(INFER, request(X[1], start=True))), -X[1])
            np.testing.assert_array_equal(y(await app.ask(INFER, request(X[2]))), -X[1] - X[2])
        assert app.services.admission.streams == 1
        assert app.services.metrics.ended["restarted"] == 1

    served(use, tmp_path)


def test_what_is_refused_leaves_the_state_as_it_was(tmp_path):
    async def use(app: Inside) -> None:
        await app.ask(INFER, request(X[1], start=True))
        nan = np.full_like(X[0], np.nan)
        for wrong in (request(nan), request(nan, end=True), request(X[0][:, :2]), request(None)):
            assert (await app.ask(INFER, wrong)).status == 400
        np.testing.assert_array_equal(y(await app.ask(INFER, request(X[2], end=True))), -X[1] - X[2])
        assert (await app.ask(INFER, request(nan, start=True))).status == 400
        assert "START" in (await app.ask(INFER, request(X[0]))).json["error"]
        assert app.services.admission.streams == 0

    served(use, tmp_path)


def test_it_ends_when_nothing_comes_for_a_while(tmp_path):
    async def use(app: Inside) -> None:
        await app.ask(INFER, request(X[1], 1, start=True))
        await app.ask(INFER, request(X[1], 2, start=True))
        for _ in range(8):
            await asyncio.sleep(0.25)
            assert (await app.ask(INFER, request(X[1], 2))).status == 200
        assert app.services.admission.streams == 1
        assert app.services.metrics.ended["idle"] == 1
        assert "1 seconds" in (await app.ask(INFER, request(X[1], 1))).json["error"]

    served(use, tmp_path, idle_seconds=1.0)


def test_limits_refuse_by_503_and_say_when_to_come_again(tmp_path):
    async def use(app: Inside) -> None:
        await app.ask(INFER, request(X[1], 1, start=True))
        await app.ask(INFER, request(X[1], 2, start=True))
        answer = await app.ask(INFER, request(X[1], 3, start=True))
        assert answer.status == 503 and answer.headers["retry-after"] == "5"
        many = await asyncio.gather(*(app.ask(INFER, request(X[1], 1)) for _ in range(9)))
        assert [each.status for each in many] == [200] * 4 + [503] * 5
        assert "limits.chunks_ahead" in many[-1].json["error"]
        np.testing.assert_array_equal(y(await app.ask(INFER, request(X[1], 1))), -6 * X[1])

    served(use, tmp_path, streams=2, chunks_ahead=4)


class SlowStream:
    """A stream that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Any]] = []
        self.closed = ""

    def submit(self, feeds: Any, done: Any) -> None:
        self.asked.append((feeds, done))

    finish = submit

    def close(self, reason: str) -> None:
        self.closed = reason


class SlowModel:
    """A model with one such stream."""

    def __init__(self) -> None:
        self.stream = SlowStream()

    def open_stream(self) -> SlowStream:
        return self.stream


def slow(use) -> None:
    """Runs something with sequences of a slow model, one that has begun, and what steps it."""

    async def main() -> None:
        sequences, model = Sequences(60, 8, False), SlowModel()
        sequence = sequences.begin(("m", "", 1, ""), model)

        def step(feeds: Any, seconds: float | None = None, start: bool = False, end: bool = False):
            return asyncio.create_task(sequences.step(sequence, Turn(1, start, end), feeds, seconds))

        await use(sequences, model.stream, step)
        sequences.close("drained")

    asyncio.run(main())


def test_who_waits_too_long_for_its_turn_is_refused_and_not_stepped():
    async def use(sequences: Sequences, stream: SlowStream, step: Any) -> None:
        tasks = [step("a", start=True), step("b", 0.01), step("c"), step("d", 0.01, end=True)]
        await asyncio.sleep(0.1)
        assert [feeds for feeds, _ in stream.asked] == ["a"] and len(sequences) == 1
        for place in (1, 3):
            with pytest.raises(FullError, match="waited"):
                await tasks[place]
        stream.asked[0][1]("A")
        stream.asked[1][1]("C")
        assert [await tasks[0], await tasks[2]] == ["A", "C"]
        assert [feeds for feeds, _ in stream.asked] == ["a", "c"] and not stream.closed

    slow(use)


def test_who_still_waits_when_a_sequence_ends_is_told_so():
    async def use(sequences: Sequences, stream: SlowStream, step: Any) -> None:
        tasks = [step("a", start=True), step("b"), step("c")]
        await asyncio.sleep(0)
        stream.asked[0][1](FeedError("no"))
        with pytest.raises(FeedError):
            await tasks[0]
        for task in tasks[1:]:
            with pytest.raises(NoSequenceError, match="refused"):
                await task
        assert len(sequences) == 0 and stream.closed == "refused"

    slow(use)


def test_who_no_longer_waits_is_stepped_all_the_same():
    async def use(sequences: Sequences, stream: SlowStream, step: Any) -> None:
        tasks = [step("a", start=True), step("b")]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        stream.asked[0][1]("A")
        stream.asked[1][1]("B")
        assert await tasks[1] == "B"

    slow(use)


def test_what_is_due_comes_at_the_end(tmp_path):
    weight = np.array([1, 10, 100], np.float32).reshape(1, 1, 3)
    conv = model(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1])],
        [value("x", shape=(1, 1, "time"))],
        [value("y", shape=(1, 1, "time"))],
        {"w": weight},
    )
    x = np.arange(1, 7, dtype=np.float32).reshape(1, 1, 6)
    wanted = tinyseq.load(conv).run({"x": x})["y"]

    async def use(app: Inside) -> None:
        first = y(await app.ask(INFER, request(x[:, :, :3], start=True)))
        assert first.shape == (1, 1, 2)
        rest = y(await app.ask(INFER, request(x[:, :, 3:], end=True)))
        np.testing.assert_array_equal(np.concatenate([first, rest], 2), wanted)
        first = y(await app.ask(INFER, request(x, start=True)))
        rest = y(await app.ask(INFER, request(None, end=True)))
        np.testing.assert_array_equal(np.concatenate([first, rest], 2), wanted)

    served(use, tmp_path, conv)


def test_a_model_that_cannot_be_streamed_says_why(tmp_path):
    data = model(
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        [value("x", shape=("time", 3))],
        [value("y", shape=("time", 3))],
    )
    with pytest.raises(tinyseq.ModelError):
        tinyseq.load(data).stream()

    async def use(app: Inside) -> None:
        answer = await app.ask(INFER, request(X[0], start=True))
        assert answer.status == 400 and "Softmax" in answer.json["error"]
        config = (await app.ask("/v2/models/m/config")).json
        assert "sequence_batching" not in config

    served(use, tmp_path, data)


def test_a_sequence_goes_on_with_its_model_when_that_is_replaced(tmp_path):
    async def use(app: Inside) -> None:
        await app.ask(INFER, request(X[1], 1, start=True))
        (tmp_path / "m.onnx").write_bytes(lstm_with_state())
        assert (await app.ask("/v2/repository/models/m/load", b"")).status == 200
        np.testing.assert_array_equal(y(await app.ask(INFER, request(X[2], 1))), -X[1] - X[2])
        assert (await app.ask(INFER, request(X[2], 2, start=True))).status == 400
        assert (await app.ask(INFER, request(X[2][None], 2, start=True))).status == 200
        assert (await app.ask("/v2/repository/models/m/unload", b"")).status == 200
        assert (await app.ask(INFER, request(X[2], 1, end=True))).status == 200
        assert (await app.ask(INFER, request(X[2][None], 3, start=True))).status == 404

    served(use, tmp_path)


def test_it_ends_some_time_after_its_model_was_replaced(tmp_path):
    async def use(app: Inside) -> None:
        await app.ask(INFER, request(X[1], start=True))
        await app.ask("/v2/repository/models/m/load", b"")
        assert (await app.ask(INFER, request(X[1]))).status == 200
        app.services.models.tick(monotonic() + 11)
        assert "START" in (await app.ask(INFER, request(X[1]))).json["error"]
        assert app.services.metrics.ended["retired"] == 1 and app.services.admission.streams == 0

    served(use, tmp_path, retire_seconds=10.0)


def test_with_several_workers_a_sequence_belongs_to_its_connection(tmp_path):
    async def use(app: Inside) -> None:
        asked = request(X[1], start=True)
        assert (await app.ask(INFER, asked, client=("10.0.0.1", 5000))).status == 200
        assert (await app.ask(INFER, request(X[1]), client=("10.0.0.1", 5000))).status == 200
        answer = await app.ask(INFER, request(X[1]), client=("10.0.0.1", 5001))
        assert answer.status == 400 and "several workers" in answer.json["error"]
        # What a proxy tells of a client has no port, and so is no connection.
        answer = await app.ask(INFER, asked, client=("10.0.0.1", 0))
        assert answer.status == 400 and "--workers 1" in answer.json["error"]

    served(use, tmp_path, workers=2)


def test_parameters_are_checked(tmp_path):
    wrong: list[tuple[Mapping[str, Any], str]] = [
        ({"sequence_start": 1}, "sequence_start"),
        ({"sequence_end": "true"}, "sequence_end"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "1"}, "timeout"),
        ({"priority": 1.5}, "priority"),
        ({"triton_unknown": True}, "triton_unknown"),
    ]

    async def use(app: Inside) -> None:
        for parameters, name in wrong:
            answer = await app.ask(INFER, {**request(X[0]), "parameters": parameters})
            assert answer.status == 400 and name in answer.json["error"], parameters

    served(use, tmp_path)
