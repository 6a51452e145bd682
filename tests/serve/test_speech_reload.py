"""Tables of speech that change while the server runs: new streams are of the new ones, old streams go on."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import ExitStack

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from bench.serving.processes import workers
from tests.serve import telegraph
from tests.serve.server import serving, wait_until
from tests.serve.telegraph import pcm, sound
from tinyseq.tools.cli import main

LIMITS = "[limits]\nguard_ms = 60000\nretire_seconds = {retire}\n"
WATCH = "[server]\nwatch_seconds = 0.1\n"
LOUD = telegraph.TABLE.replace("tokens.txt", "loud.txt")


def write(folder, tables: str, retire: float = 3600, more: str = "") -> str:
    """A new serve.toml."""
    text = LIMITS.format(retire=retire) + more + tables
    new = folder / "serve.new"
    new.write_text(text)
    new.replace(folder / "serve.toml")
    return text


@pytest.fixture
def folder(tmp_path):
    """With a second vocabulary, in capitals."""
    telegraph.write(tmp_path)
    (tmp_path / "loud.txt").write_text((tmp_path / "tokens.txt").read_text().upper())
    return tmp_path


class Vosk:
    """A client of vosk's protocol."""

    def __init__(self, server, name: str = "telegraph") -> None:
        self._stack = ExitStack()
        self.socket = self._stack.enter_context(connect(server.url(f"/vosk/{name}", "ws")))

    def hear(self, samples: np.ndarray) -> str:
        self.socket.send(pcm(samples))
        return json.loads(self.socket.recv(20))["partial"]

    def end(self) -> str:
        self.socket.send('{"eof": 1}')
        text = json.loads(self.socket.recv(20))["text"]
        self._stack.close()
        return text


def recognised(server, name: str = "telegraph") -> str:
    """What a new stream recognises, or the status that it is refused with."""
    try:
        client = Vosk(server, name)
    except InvalidStatus as refused:
        return str(refused.response.status_code)
    client.hear(sound("bad"))
    return client.end()


@pytest.mark.parametrize("watched", [False, True])
def test_new_streams_are_of_the_new_tables_and_old_ones_go_on(folder, watched):
    more = WATCH if watched else ""

    def changed(tables: str) -> None:
        write(folder, tables, more=more)
        if not watched:
            server.process.send_signal(signal.SIGHUP)

    with serving(folder, config=write(folder, telegraph.TABLE, more=more)) as server:
        old = Vosk(server)
        assert old.hear(sound("bad")) == "bad"
        second = LOUD.replace("speech.telegraph", "speech.second")
        changed(LOUD + second)
        wait_until(lambda: recognised(server) == "BAD")
        assert recognised(server, "second") == "BAD"
        assert old.hear(sound("cafe")) == "badcafe"
        # What is wrong changes nothing, and the log says why.
        changed(telegraph.TABLE + "[speech.third]\nspeed = 1\n")
        wait_until(lambda: "speech.third.speed" in server.output())
        assert (recognised(server), recognised(server, "second")) == ("BAD", "BAD")
        changed(telegraph.TABLE.replace("telegraph.tinyseq", "nothing.tinyseq") + second)
        wait_until(lambda: "speech.telegraph: " in server.output())
        assert "served as it was" in server.output()
        assert (recognised(server), recognised(server, "second")) == ("BAD", "BAD")
        # What is left out is served no more.
        changed(telegraph.TABLE)
        wait_until(lambda: recognised(server, "second") == "404")
        assert recognised(server) == "bad"
        assert old.hear(sound("deed")) == "badcafedeed" and old.end() == "badcafedeed"
        wait_until(lambda: server.metric("tinyseq_streams", model="telegraph") == 0)
        assert "Traceback" not in server.output() and server.output().count("as it was") == 2
        if watched:
            (folder / "tokens.txt").write_text((folder / "loud.txt").read_text())
            wait_until(lambda: recognised(server) == "BAD")


def test_streams_of_what_was_replaced_long_ago_end_with_their_state(folder):
    with ExitStack() as stack:
        server = stack.enter_context(serving(folder, config=write(folder, telegraph.TABLE, retire=0.5)))
        old, own = Vosk(server), stack.enter_context(connect(server.url("/speech/telegraph", "ws")))
        assert old.hear(sound("bad")) == "bad"
        own.send(sound("bad").tobytes())
        assert json.loads(own.recv(20))["type"] == "ready" and json.loads(own.recv(20))["text"] == "bad"
        write(folder, LOUD, retire=0.5)
        server.process.send_signal(signal.SIGHUP)
        messages = []
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                messages.append(json.loads(own.recv(20)))
        assert closed.value.rcvd.code == 1001
        assert json.loads(old.socket.recv(20))["text"] == "bad"
        with connect(server.url("/speech/telegraph", "ws")) as again:
            assert json.loads(again.recv(20))["type"] == "ready"
            again.send(json.dumps({"resume": messages[-1]["token"]}))
            with pytest.raises(ConnectionClosed) as closed:
                again.recv(20)
            assert closed.value.rcvd.code == 1008
        with connect(server.url("/speech/telegraph", "ws")) as again:
            again.send(sound("bad").tobytes())
            assert json.loads(again.recv(20))["type"] == "ready"
            assert json.loads(again.recv(20))["text"] == "BAD"
        assert "Traceback" not in server.output()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_all_workers_take_new_tables_over_and_so_do_those_that_start_again(folder):
    with serving(folder, "--workers", 2, config=write(folder, telegraph.TABLE)) as server:
        write(folder, LOUD)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: {recognised(server) for _ in range(12)} == {"BAD"})
        before = workers(server.process.pid)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(workers(server.process.pid)) - set(before)) == 2)
        wait_until(lambda: _answers(server))
        assert {recognised(server) for _ in range(8)} == {"BAD"}


def _answers(server) -> bool:
    try:
        return server.get("/v2/health/ready")[0] == 200
    except OSError:
        return False


def test_what_a_factory_raises_is_told(folder, capsys):
    (folder / "own.py").write_text("def made():\n    return 1 / 0\n")
    write(folder, '[speech.own]\nfactory = "own:made"\n')
    assert main(["serve", "--port", "0", "--config", str(folder / "serve.toml")]) == 2
    assert "own:made raised ZeroDivisionError" in capsys.readouterr().err
