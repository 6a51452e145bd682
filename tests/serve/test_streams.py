"""Live streams by the native protocol: the bits of a lone stream, whatever others do."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import tinyseq
from tests.serve import small, telegraph
from tests.serve.native import Client, in_json
from tests.serve.server import serving

RATE = {"sr": np.array(16000)}
SILERO = "/v2/models/silero_vad/stream"


def sound(seed: int, chunks: int) -> np.ndarray:
    """Chunks of noise that swells, float32[chunks, 1, 576]."""
    draw = np.random.default_rng(seed)
    loud = np.abs(np.sin(np.arange(chunks) / 7 + seed))[:, None, None]
    return (draw.standard_normal((chunks, 1, 576)) * 0.3 * loud).astype(np.float32)


def alone(session: tinyseq.Session, chunks: np.ndarray) -> list[np.ndarray]:
    """What a lone stream gives."""
    stream = session.stream()
    return [np.array(stream.step({"input": chunk, **RATE})["output"]) for chunk in chunks]


def test_a_stream_says_what_it_is(server, silero):
    with Client(server.url(SILERO, "ws")) as client:
        ready = client.ready
    assert ready["type"] == "ready" and (ready["model"], ready["version"]) == ("silero_vad", "1")
    assert ready["fingerprint"] == silero.fingerprint and ready["seq"] == 0 and ready["latency"] == 0
    assert ready["inputs"] == [
        {"name": "input", "datatype": "FP32", "shape": [-1, -1]},
        {"name": "sr", "datatype": "INT64", "shape": []},
    ]
    assert ready["outputs"] == [{"name": "output", "datatype": "FP32", "shape": [-1, 1]}]


def test_many_streams_at_once_give_the_bits_of_lone_ones(server, silero):
    def client(seed: int) -> bool:
        chunks = sound(seed, 30 + seed)
        with Client(server.url(SILERO, "ws"), RATE) as own:
            got = [own.step(input=chunk)["output"] for chunk in chunks]
        return all(map(np.array_equal, got, alone(silero, chunks)))

    with ThreadPoolExecutor(24) as threads:
        assert all(threads.map(client, range(24)))
    assert server.metric("tinyseq_steps_total") < server.metric("tinyseq_chunks_total")


def test_json_and_bytes_may_take_turns(server, silero):
    chunks = sound(1, 8)
    with Client(server.url(SILERO, "ws"), RATE) as client:
        for number, (chunk, wanted) in enumerate(zip(chunks, alone(silero, chunks)), 1):
            if number % 2:
                assert np.array_equal(client.step(input=chunk)["output"], wanted)
                continue
            answer = client.ask(**in_json(input=chunk, **RATE))
            assert answer["type"] == "outputs" and answer["seq"] == number
            (output,) = answer["outputs"]
            assert output["shape"] == [1, 1] and np.float32(output["data"][0]) == wanted.item()


def test_inputs_without_rows_may_come_with_each_chunk(server, silero):
    chunks = sound(8, 6)

    def client(number: int) -> bool:
        with Client(server.url(SILERO, "ws")) as own:
            got = [own.step(input=chunk, **RATE)["output"] for chunk in chunks]
            last = own.step(input=chunks[0], sr=np.array(8000))
        assert "type" in last or last["output"].shape == (1, 1)
        return all(map(np.array_equal, got, alone(silero, chunks)))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(client, range(4)))


def test_a_chunk_may_be_its_header_alone(server, silero):
    (chunk,) = sound(9, 1)
    wanted = alone(silero, np.stack([chunk] * 5))

    def client(number: int) -> bool:
        with Client(server.url(SILERO, "ws"), {**RATE, "input": chunk}) as own:
            return all([np.array_equal(own.step()["output"], each) for each in wanted])

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(client, range(6)))


def test_a_state_token_goes_on_elsewhere_in_the_same_bits(server, silero):
    chunks = sound(2, 20)
    wanted = alone(silero, chunks)
    with Client(server.url(SILERO, "ws"), RATE) as client:
        for chunk in chunks[:9]:
            client.step(input=chunk)
        state = client.ask(state=True)
        assert state["type"] == "state" and state["seq"] == 9
        client.step(input=chunks[0])
    with Client(server.url(SILERO, "ws"), RATE) as client:
        ready = client.ask(resume=state["token"])
        assert ready["type"] == "ready" and ready["seq"] == 9
        got = [client.step(input=chunk)["output"] for chunk in chunks[9:]]
        assert all(map(np.array_equal, got, wanted[9:]))
        assert client.ask(state=True)["seq"] == 20


def test_states_are_sent_by_the_clock_behind_the_chunks_that_they_hold(server, silero):
    chunks = sound(3, 30)
    with Client(server.url(f"{SILERO}?state_every=0.01", "ws"), RATE) as client:
        answered, states = 0, []
        for number, chunk in enumerate(chunks):
            if number % 10 == 9:
                time.sleep(0.02)  # longer than a state is waited for
            client.send(input=chunk)
        while answered < len(chunks):
            answer = client.receive()
            if answer.get("type") == "state":
                assert answer["seq"] == answered
                states.append(answer)
            else:
                answered += 1
    assert states
    with Client(server.url(SILERO, "ws"), RATE) as client:
        at = client.ask(resume=states[-1]["token"])["seq"]
        got = [client.step(input=chunk)["output"] for chunk in chunks[at:]]
    assert all(map(np.array_equal, got, alone(silero, chunks)[at:]))


def test_what_a_model_refuses_changes_nothing_and_the_stream_goes_on(server, silero):
    chunks = sound(4, 12)
    wanted = alone(silero, chunks)
    bad = np.full((1, 576), np.nan, np.float32)
    with Client(server.url(SILERO, "ws"), RATE) as client, Client(server.url(SILERO, "ws"), RATE) as other:
        for number, chunk in enumerate(chunks):
            client.send(input=chunk)
            other.send(input=bad)
            assert np.array_equal(client.receive()["output"], wanted[number])
            refused = other.receive()
            assert refused["type"] == "error" and refused["seq"] == 2 * number + 1
            assert "NaN" in refused["error"]
            assert np.array_equal(other.step(input=chunk)["output"], wanted[number])


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({"input": np.zeros((2, 576), np.float32)}, "axis 0"),
        ({"input": np.zeros((576,), np.float32)}, "axis 0"),
        ({"input": np.zeros((1, 576), np.int32)}, "float32"),
        ({"other": np.zeros((1, 576), np.float32)}, "other"),
        ({"input": np.zeros((1, 0), np.float32)}, ""),
    ],
)
def test_chunks_that_do_not_fit_are_refused_by_name(server, silero, feeds, said):
    chunks = sound(5, 2)
    with Client(server.url(SILERO, "ws"), RATE) as client:
        client.step(input=chunks[0])
        for answer in (client.step(**feeds), client.ask(**in_json(**feeds, **RATE))):
            assert answer["type"] == "error" and said in answer["error"], answer
        assert np.array_equal(client.step(input=chunks[1])["output"], alone(silero, chunks)[1])


def test_a_stream_is_put_back_to_its_start(server, silero):
    chunks = sound(6, 5)
    with Client(server.url(SILERO, "ws"), RATE) as client:
        first = [client.step(input=chunk)["output"] for chunk in chunks]
        assert client.ask(reset=True) == {"type": "reset", "seq": 5}
        again = [client.step(input=chunk)["output"] for chunk in chunks]
    assert all(map(np.array_equal, first, again))


def test_chunks_of_any_frames_beside_each_other(models):
    session = small.framed()
    x = np.random.default_rng(0).standard_normal((40, 1, small.WIDTH)).astype(np.float32)
    wanted = session.run({"x": x})["y"]

    def client(seed: int) -> bool:
        cuts = np.sort(np.random.default_rng(seed).choice(np.arange(1, 40), 9, replace=False))
        with Client(models.url("/v2/models/framed/versions/1/stream", "ws")) as own:
            got = [own.step(x=part)["y"] for part in np.split(x, cuts)]
        return np.array_equal(np.concatenate(got), wanted)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(client, range(8)))


def test_outputs_that_come_late_are_given_at_the_end(models):
    session = small.late()
    draw = np.random.default_rng(1)

    def client(frames: int) -> bool:
        x = draw.standard_normal((1, small.WIDTH, frames)).astype(np.float32)
        with Client(models.url("/v2/models/late/stream", "ws")) as own:
            assert own.ready["latency"] == 2
            got = [own.step(x=x[:, :, at : at + 3])["y"] for at in range(0, frames, 3)]
            last = own.ask(finish=True)
            assert last["type"] == "outputs"
            (output,) = last["outputs"]
            got.append(np.array(output["data"], np.float32).reshape(output["shape"]))
            assert own.receive()["type"] == "finished"
            with pytest.raises(ConnectionClosed) as closed:
                own.receive()
            assert closed.value.rcvd.code == 1000
        return np.array_equal(np.concatenate(got), session.run({"x": x})["y"])

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(client, range(9, 27, 3)))


def test_a_model_of_one_row_is_stepped_stream_by_stream(models):
    session = small.of_one_row()
    draw = np.random.default_rng(2)

    def client(seed: int) -> bool:
        chunks = np.random.default_rng(seed).standard_normal((20, 1, small.WIDTH)).astype(np.float32)
        stream = session.stream()
        with Client(models.url("/v2/models/of_one_row/stream", "ws")) as own:
            return all(np.array_equal(own.step(x=x)["y"], stream.step({"x": x})["y"]) for x in chunks)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(client, draw.integers(0, 99, 6)))


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v2/models/other/stream", 404, "other"),
        ("/v2/models/framed/versions/7/stream", 404, "version"),
        ("/v2/models/backward/stream", 400, "GRU"),
        ("/v2/models/framed/stream?state_every=never", 400, "state_every"),
        ("/nowhere", 404, "nowhere"),
    ],
)
def test_what_is_not_there_is_refused_before_a_connection_stands(models, path, status, said):
    with pytest.raises(InvalidStatus) as refused:
        Client(models.url(path, "ws"))
    assert refused.value.response.status_code == status
    assert said in json.loads(refused.value.response.body)["error"]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A server whose messages are far shorter than a state of its model."""
    folder = tmp_path_factory.mktemp("large")
    small.large().save(folder / "large.tinyseq")
    telegraph.write(folder)
    limits = "[limits]\nmessage_bytes = 1200\nguard_ms = 60000\n"
    config = f"[models]\nlarge = 'large.tinyseq'\n{telegraph.TABLE}{limits}"
    with serving(folder, config=config) as running:
        yield running


LARGE = "/v2/models/large/stream"
X = np.linspace(-1, 1, 10, dtype=np.float32).reshape(10, 1, 1)


@pytest.mark.parametrize("in_json_first", [False, True])
def test_a_state_that_is_larger_than_a_message_is_resumed(large, in_json_first):
    stream = small.large().stream()
    expected = [np.array(stream.step({"x": x})["y"]) for x in X]
    url = large.url(LARGE, "ws")
    with Client(url, max_size=None) as client:
        got = [client.step(x=x)["y"] for x in X[:5]]
        token = client.ask(state=True)["token"]
    assert len(token) > 5_000_000
    with Client(url, max_size=None) as client:
        assert client.ask(state=True)["type"] == "state"
        assert client.ask(resume=token)["seq"] == 5
        if in_json_first:
            y = client.ask(**in_json(x=X[5]))["outputs"][0]
            got.append(np.array(y["data"], np.float32).reshape(y["shape"]))
        got += [client.step(x=x)["y"] for x in X[len(got) :]]
    assert all(map(np.array_equal, got, expected))


@pytest.mark.parametrize("message", ["a first one", "a second one", "text", "resumed", "no token"])
def test_nothing_else_is_larger_than_a_message(large, message):
    with Client(large.url(LARGE, "ws"), max_size=None) as client:
        code = 1009
        if message == "a second one":
            client.step(x=X[0])
        elif message == "resumed":
            client.say(resume=client.ask(state=True)["token"])
            assert client.receive()["type"] == "ready"
            client.step(x=X[0])
        if message == "text":
            client.say(**in_json(x=np.zeros((1, 1000), np.float32)))
        elif message == "no token":
            client.say(resume="A" * 5_000_000)
            code = 1008
        else:
            client.send(x=np.zeros((1, 1000), np.float32))
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
        assert closed.value.rcvd.code == code


def test_a_message_beyond_what_a_token_takes(large):
    before = large.metric("tinyseq_refused_total", reason="too_large")
    with Client(large.url(LARGE, "ws"), max_size=None) as client, pytest.raises(ConnectionClosed):
        client.say(resume="A" * 6_000_000)
        client.receive()
    assert large.metric("tinyseq_refused_total", reason="too_large") == before + 1


def told(socket) -> dict:
    return json.loads(socket.recv(20))


def test_streams_of_sound_whose_states_are_larger_than_a_message(large):
    samples = telegraph.pcm(telegraph.sound("bad"))
    url = large.url("/speech/telegraph", "ws")
    with connect(url, max_size=None) as socket:
        told(socket)
        socket.send(json.dumps({"start": {"format": "s16le"}}))
        told(socket)
        for at in range(0, len(samples), 1000):
            socket.send(samples[at : at + 1000])
        socket.send('{"state": true}')
        while (state := told(socket))["type"] != "state":
            assert state["type"] == "result"
    assert len(state["token"]) > 1200
    with connect(url, max_size=None) as socket:
        told(socket)
        socket.send(json.dumps({"resume": state["token"]}))
        assert told(socket)["seq"] == state["seq"]
        socket.send('{"finish": true}')
        assert told(socket)["text"] == "bad"
    with connect(url, max_size=None) as socket:
        told(socket)
        socket.send(bytes(1300))
        with pytest.raises(ConnectionClosed) as closed:
            told(socket)
        assert closed.value.rcvd.code == 1009


def test_a_token_that_could_not_be_resumed_is_not_given(tmp_path):
    telegraph.write(tmp_path)
    config = telegraph.TABLE + "[limits]\ntoken_bytes = 1024\nguard_ms = 60000\n"
    with ExitStack() as stack:
        running = stack.enter_context(serving(tmp_path, config=config))
        socket = stack.enter_context(connect(running.url("/speech/telegraph", "ws")))
        told(socket)
        socket.send(telegraph.sound("badcafe").tobytes())
        assert told(socket)["type"] == "result"
        socket.send('{"state": true}')
        error = told(socket)
        assert error["type"] == "error" and "limits.token_bytes" in error["error"]
        socket.send('{"finish": true}')
        assert told(socket)["text"] == "badcafe"
