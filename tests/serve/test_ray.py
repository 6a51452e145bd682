"""The server and offline scoring on a local Ray, in an environment of its own: ``pytest -m slow``."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tinyseq
from bench.serving.processes import tree
from bench.serving.stream import LiveStream
from bench.serving.tapes import PATH, Tape
from bench.serving.websocket import ClosedError, RefusedError
from tests.serve.environments import environment
from tests.serve.server import wait_until
from tinyseq.speech.voice_detector import MODEL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes as Linux shows them"),
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two replicas need two processors"),
]

ROOT = Path(__file__).parents[2]
REQUIREMENTS = "ray[data]==2.60.*", "ray[serve]==2.60.*", "safetensors"
STREAMS = 8
PATIENCE = 180
"""Seconds for Ray to do what it is told, on a busy machine."""

RESUMED = 20.0


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python that has Ray."""
    return environment(*REQUIREMENTS)


@pytest.fixture
def surroundings() -> Iterator[dict[str, str]]:
    """Environment variables: the package of this tree, and no traces in the user's folder."""
    # Sockets have short names.
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:
        yield _variables(Path(folder))


def _variables(folder: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
    }


class RayServer:
    """``tinyseq serve --ray`` with two replicas."""

    def __init__(self, process: subprocess.Popen, port: int) -> None:
        self.process, self.port = process, port

    def replicas(self) -> list[int]:
        """The processes of the replicas."""
        found = []
        for process in tree(self.process.pid):
            try:
                command = Path(f"/proc/{process}/cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(b"ray::ServeReplica:tinyseq"):
                found.append(process)
        return found

    def opened(self, session: str) -> float:
        """How many streams the replica of a session has opened."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}/metrics?session={session}", timeout=60
        ) as answer:
            found = re.search(r"^tinyseq_opened_total\{.*\} (\S+)$", answer.read().decode(), re.MULTILINE)
        assert found
        return float(found[1])


@pytest.fixture
def server(python, surroundings, tmp_path) -> Iterator[RayServer]:
    port = _free_port()
    command = [str(python), "-m", "tinyseq", "serve", "--ray", "--port", str(port), "--workers", "2"]
    log = tmp_path / "ray.txt"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=surroundings, cwd=tmp_path)
        try:
            running = RayServer(process, port)
            wait_until(lambda: _is_listening(process, log), PATIENCE)
            wait_until(lambda: len(running.replicas()) == 2, PATIENCE)
            yield running
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                for each in tree(process.pid):
                    os.kill(each, signal.SIGKILL)
                process.wait()


def _is_listening(process: subprocess.Popen, log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    return "listening at" in log.read_text()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _path(number: int) -> str:
    return f"{PATH}?session=s{number}&state_every=0.1"


async def _play(streams: list[LiveStream], count: int) -> None:
    for _ in range(count):
        for stream in streams:
            stream.send()
        for stream in streams:
            await stream.hear_all()
        await asyncio.sleep(0.01)


async def _again(server: RayServer, stream: LiveStream) -> tuple[LiveStream, float]:
    """A stream that was cut, on the replica that took it over."""
    begin = time.monotonic()
    while True:
        try:
            other = await LiveStream.open(server.port, stream.tape, stream.last_token, path=PATH)
            other.send(max(1, stream.sent - other.sent))
            await other.hear_all()
            return other, time.monotonic() - begin
        except (ClosedError, RefusedError, OSError):
            assert time.monotonic() < begin + PATIENCE
            await asyncio.sleep(0.1)


def test_streams_outlive_their_replicas(server):
    tapes = [Tape(number, 120) for number in range(STREAMS)]
    for tape in tapes:
        assert tape.outputs

    async def scenario() -> None:
        streams = []
        for number, tape in enumerate(tapes):
            before = server.opened(f"s{number}")
            streams.append(await LiveStream.open(server.port, tape, path=_path(number)))
            assert server.opened(f"s{number}") == before + 1, "a session is not led to one replica"
        await _play(streams, 40)
        for stream in streams:
            await stream.token()
            stream.send(3)
        await asyncio.sleep(0.2)
        os.kill(server.replicas()[0], signal.SIGKILL)
        live, times = [], []
        for stream in streams:
            try:
                await stream.hear_all()
                await stream.token()
                live.append(stream)
            except ClosedError:
                other, seconds = await _again(server, stream)
                live.append(other)
                times.append(seconds)
        print(f"{len(times)} of {STREAMS} streams resumed in {[round(each, 2) for each in times]} s")
        assert 0 < len(times) < STREAMS, "one replica had all streams"
        assert max(times) < RESUMED
        await _play(live, 30)
        # The rest is told to go on elsewhere when all ends.
        for stream in live[:4]:
            stream.send(len(stream.tape) - stream.sent)
            await stream.finish()
        server.process.terminate()
        for stream in live[4:]:
            with pytest.raises(ClosedError) as caught:
                while True:
                    await stream.hear(PATIENCE)
            assert caught.value.code == 1001 and stream.last_token is not None
        await asyncio.to_thread(server.process.wait, PATIENCE)

    asyncio.run(scenario())


SCORING = """
import sys
import numpy as np
import ray
from tinyseq.serve.ray import Score

model, windows, scored = sys.argv[1:]
ray.init(num_cpus=2, include_dashboard=False)
made = (
    ray.data.from_numpy(np.load(windows))
    .rename_columns({"data": "input"})
    .map_batches(Score, fn_constructor_args=(model, {"sr": 16000}), batch_size=8, concurrency=2)
    .take_all()
)
np.savez(scored, **{name: np.stack([row[name] for row in made]) for name in ("input", "output")})
"""


def test_files_are_scored_by_ray_data(python, surroundings, tmp_path):
    windows = np.random.default_rng(0).uniform(-0.3, 0.3, (40, 576)).astype(np.float32)
    np.save(tmp_path / "windows.npy", windows)
    command = [
        str(python),
        "-c",
        SCORING,
        str(MODEL),
        str(tmp_path / "windows.npy"),
        str(tmp_path / "scored"),
    ]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "scored.npz") as found:
        given, outputs = found["input"], found["output"]
    assert sorted(map(bytes, given)) == sorted(map(bytes, windows))
    model = tinyseq.load(MODEL)
    for window, output in zip(given, outputs):
        alone = model.stream().step({"input": window[None], "sr": np.array(16000)})["output"]
        assert np.array_equal(output, alone[0])
