"""Workers that die, servers that end, models that are replaced: a client goes on in the same bits."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bench.serving.processes import workers
from tests.serve import small
from tests.serve.native import Client
from tests.serve.server import serving, wait_until
from tests.serve.test_streams import RATE, SILERO, alone, sound
from tinyseq.tools.cli import main

PATIENT = "[limits]\nguard_ms = 60000\n"
FRAMED = "/v2/models/framed/stream"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_a_killed_worker_is_replaced_and_any_other_goes_on_with_its_streams(tmp_path, silero):
    chunks = sound(0, 200)
    wanted = alone(silero, chunks)
    with serving(tmp_path, "--workers", 2, config=PATIENT) as server:
        got: dict[int, np.ndarray] = {}
        resumed = 0
        token, at, killed = None, 0, 0
        while at < len(chunks):
            try:
                with Client(server.url(f"{SILERO}?state_every=0.01", "ws"), RATE) as client:
                    if token is not None:
                        at = client.ask(resume=token)["seq"]
                        resumed += 1
                    while at < len(chunks):
                        client.send(input=chunks[at])
                        answer = client.receive()
                        while "type" in answer:
                            token, known = answer["token"], answer["seq"]
                            assert known <= at + 1
                            if known == at + 1:
                                break
                            answer = client.receive()
                        if "type" in answer:
                            continue
                        got[at] = answer["output"]
                        at += 1
                        if at in (60, 120) and killed < at:
                            killed = at
                            for pid in workers(server.process.pid):
                                os.kill(pid, signal.SIGKILL)
            except (ConnectionClosed, InvalidStatus, OSError, EOFError):
                time.sleep(0.05)
        assert resumed >= 2
        assert all(np.array_equal(got[number], wanted[number]) for number in range(len(chunks)))
        assert "has died" in server.output()
        wait_until(lambda: len(workers(server.process.pid)) == 2)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_while_no_worker_lives_clients_wait(tmp_path):
    with serving(tmp_path, "--workers", 2, config=PATIENT) as server:
        for pid in workers(server.process.pid):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "has died" in server.output())
        answers = [server.get("/v2/health/live")[0] for _ in range(20)]
        assert answers == [200] * 20
        assert server.output().count("has died") == 2


def test_an_end_gives_each_stream_its_state_and_a_successor_goes_on(tmp_path, silero):
    chunks = sound(1, 20)
    wanted = alone(silero, chunks)
    secret = tmp_path / "secret"
    secret.write_text("a secret of this test, long enough")
    with serving(tmp_path, "--secret", secret, config=PATIENT) as server:
        with Client(server.url(SILERO, "ws"), RATE) as client:
            for chunk in chunks[:10]:
                client.step(input=chunk)
            client.send(input=chunks[10])
            assert np.array_equal(client.receive()["output"], wanted[10])
            server.process.send_signal(signal.SIGTERM)
            state = client.receive()
            assert state["type"] == "state" and state["seq"] == 11
            with pytest.raises(ConnectionClosed) as closed:
                client.receive()
            assert closed.value.rcvd.code == 1001
        assert server.process.wait(30) == 0
    successor = serving(tmp_path, "--secret", secret, config=PATIENT)
    with successor as server, Client(server.url(SILERO, "ws"), RATE) as client:
        assert client.ask(resume=state["token"])["seq"] == 11
        got = [client.step(input=chunk)["output"] for chunk in chunks[11:]]
    assert all(map(np.array_equal, got, wanted[11:]))


def test_a_model_is_replaced_while_streams_run(tmp_path):
    repository = tmp_path / "repository"
    for version in ("1", "2"):
        (repository / "framed" / version).mkdir(parents=True)
    path = repository / "framed" / "1" / "model.tinyseq"
    small.framed(0).save(path)
    shutil.copy(path, repository / "framed" / "2" / "model.tinyseq")
    old, new = small.framed(0), small.framed(5)
    x = np.random.default_rng(0).standard_normal((30, 1, small.WIDTH)).astype(np.float32)
    config = "[server]\nwatch_seconds = 0.1\n[limits]\nguard_ms = 60000\nretire_seconds = 2\n"
    with serving(tmp_path, "--repository", repository, config=config) as server:
        with Client(server.url(FRAMED, "ws")) as client:
            assert client.ready["version"] == "2"
            first = client.step(x=x[:10])["y"]
            token = client.ask(state=True)["token"]
            new.save(repository / "framed" / "2" / "model.tinyseq")
            wait_until(lambda: fingerprint(server) == new.fingerprint)
            rest = client.step(x=x[10:])["y"]
            assert np.array_equal(np.concatenate([first, rest]), old.run({"x": x})["y"])
            with Client(server.url(FRAMED, "ws")) as other:
                assert np.array_equal(other.step(x=x)["y"], new.run({"x": x})["y"])
            with Client(server.url(FRAMED, "ws")) as other:
                other.say(resume=token)
                with pytest.raises(ConnectionClosed) as closed:
                    other.receive()
                assert closed.value.rcvd.code == 1008
            # The version that is as before takes it.
            with Client(server.url("/v2/models/framed/versions/1/stream", "ws")) as other:
                assert other.ask(resume=token)["seq"] == 1
                assert np.array_equal(other.step(x=x[10:])["y"], rest)
            # What was replaced long ago is ended.
            assert client.receive()["type"] == "state"
            with pytest.raises(ConnectionClosed) as closed:
                client.receive()
            assert closed.value.rcvd.code == 1001
        # A file that is none leaves what is served.
        (repository / "framed" / "2" / "model.tinyseq").write_bytes(b"nothing")
        wait_until(lambda: "served as it was" in server.output())
        assert fingerprint(server) == new.fingerprint


def fingerprint(server) -> str:
    """That of the model that new streams get."""
    with Client(server.url(FRAMED, "ws")) as client:
        return client.ready["fingerprint"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing.onnx"], 3, "nothing.onnx"),
        (["--workers", "0"], 2, "--workers"),
        (["--port", "70000"], 2, "--port"),
        (["--host", "256.1.1.1"], 2, "256.1.1.1"),
        (["--config", "nothing.toml"], 3, "nothing.toml"),
        (["--origin", "localhost"], 2, "'localhost' is no origin"),
        (["a/model.onnx", "b/model.onnx"], 2, "two models are named model"),
        (["=x.onnx"], 2, "name of a model"),
    ],
)
def test_a_server_that_cannot_start_says_why(arguments, code, said, capsys):
    assert main(["serve", "--port", "0", *arguments]) == code
    assert said in capsys.readouterr().err


def test_a_worker_that_cannot_start_ends_the_server():
    command = [sys.executable, "-m", "tinyseq", "serve", "--port", "0", "--workers", "2", "nothing.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and "nothing.onnx" in done.stderr and "Traceback" not in done.stderr


def test_a_port_that_is_taken(server, capsys):
    for count in ("1", "2"):
        assert main(["serve", "--port", str(server.port), "--workers", count]) == 2
        assert "cannot listen" in capsys.readouterr().err
