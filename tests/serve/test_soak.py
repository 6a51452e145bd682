"""Short forms of ``python -m bench.serving``: load, soak, fuzz; and a killed worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.serving.processes import serves, workers
from bench.serving.soak import RESUMED
from bench.serving.stream import DifferentError, LiveStream
from bench.serving.tapes import PATH, Tape
from bench.serving.websocket import ClosedError
from tests.serve.server import serving, wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes as Linux shows them")

ROOT = Path(__file__).parents[2]


def bench(*arguments: object) -> str:
    """What ``python -m bench.serving`` prints."""
    command = [sys.executable, "-m", "bench.serving", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_load_gives_rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    printed = bench("--streams", 4, "--seconds", 1, "--json", file)
    environment, *rows = map(json.loads, file.read_text().splitlines())
    assert environment["versions"]["tinyseq"]
    units = {row["unit"] for row in rows}
    assert {"CPU us a chunk", "p50 ms", "p99 ms", "p99.9 ms"} <= units
    assert {row["rival"] for row in rows} == {"onnxruntime", "tinyseq"}
    assert all(row["case"] == "4 streams" and row["value"] >= 0 for row in rows)
    assert "4 streams" in printed


@pytest.mark.parametrize(("seconds", "count"), [(20, 1), (10, 2)])
def test_clients_misbehave(seconds, count):
    printed = bench("--soak", seconds, "--workers", count)
    assert " finished\n" in printed and "FINDING" not in printed
    assert (count > 1) == ("workers killed" in printed)


def test_damaged_frames_and_messages():
    printed = bench("--fuzz", 400)
    assert "closed with 1007" in printed and "closed with 1002" in printed and "FINDING" not in printed


async def again(port: int, tape: Tape, token: str) -> LiveStream:
    """Goes on from a token: a worker that is just dying may still take a connection."""
    end = time.monotonic() + RESUMED
    while True:
        try:
            return await LiveStream.open(port, tape, token)
        except (ClosedError, OSError):
            assert time.monotonic() < end
            await asyncio.sleep(0.02)


def test_a_killed_worker_loses_nothing(tmp_path):
    tape = Tape(3, 200)
    assert tape.outputs
    with serving(tmp_path, "--workers", 2) as server:
        wait_until(lambda: len(workers(server.process.pid)) == 2)

        async def play() -> float:
            stream = await LiveStream.open(server.port, tape, path=f"{PATH}?state_every=0.05")
            client = stream.socket.transport.get_extra_info("sockname")[1]
            for _ in range(80):
                stream.send()
                await stream.hear_all()
                await asyncio.sleep(0.005)
            assert stream.last_token is not None
            stream.send(5)
            (own,) = [each for each in workers(server.process.pid) if serves(each, server.port, client)]
            begin = time.monotonic()
            os.kill(own, signal.SIGKILL)
            assert await stream.socket.gone() == 1006
            other = await again(server.port, tape, stream.last_token)
            assert 0 < other.sent <= stream.sent
            other.send(stream.sent - other.sent)
            await other.hear_all()
            seconds = time.monotonic() - begin
            other.send(len(tape) - other.sent)
            await other.finish()
            return seconds

        assert asyncio.run(play()) < RESUMED
        wait_until(lambda: len(workers(server.process.pid)) == 2)


def test_other_outputs_are_noticed(server):
    tape, other = Tape(3, 10), Tape(4, 10)

    async def play() -> None:
        stream = await LiveStream.open(server.port, tape)
        stream.send(5)
        stream.tape = other
        await stream.hear_all()

    with pytest.raises(DifferentError, match="chunk 0 gave"):
        asyncio.run(play())


def test_a_closed_stream_is_noticed(server):
    async def play() -> None:
        stream = await LiveStream.open(server.port, Tape(3, 10))
        stream.socket.send("[]")
        await stream.hear()

    with pytest.raises(ClosedError) as caught:
        asyncio.run(play())
    assert caught.value.code == 1007
