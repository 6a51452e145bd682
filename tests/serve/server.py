"""A server in a process of its own, as users start it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

PATIENCE = 60
"""For a server to be ready."""


class Server:
    """A server that runs: where it listens, and what it has written."""

    def __init__(self, process: subprocess.Popen[str], port: int, output: IO[str]) -> None:
        self.process, self.port, self._output = process, port, output

    def url(self, path: str, scheme: str = "http") -> str:
        """An address of it."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """The status and the body of a GET."""
        return self.ask(path, None, headers)

    def ask(
        self, path: str, body: bytes | None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """The status and the body of a GET, or with a body of a POST."""
        request = urllib.request.Request(self.url(path), body, dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def metric(self, name: str, headers: Mapping[str, str] | None = None, **labels: str) -> float:
        """The sum of the samples of a metric that have some labels."""
        text = self.get("/metrics", headers)[1].decode()
        total = 0.0
        for line in text.splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if (
                found
                and found[1] == name
                and all(f'{key}="{value}"' in (found[2] or "") for key, value in labels.items())
            ):
                total += float(found[3])
        return total

    def output(self) -> str:
        """What it has written to its standard error."""
        self._output.seek(0)
        return self._output.read()

    def stop(self) -> int:
        """Tells it to end; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def serving(
    folder, *arguments: object, config: str = "", program: Sequence[str] = ("tinyseq", "serve")
) -> Iterator[Server]:
    """A server with arguments, and perhaps the text of a ``serve.toml``, on a port that was free."""
    command = [sys.executable, "-m", *program, "--port", "0", *map(str, arguments)]
    if config:
        path = folder / "serve.toml"
        path.write_text(config)
        command += ["--config", str(path)]
    with (folder / "stderr.txt").open("w+") as output:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=output, text=True, env=environment)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r":(\d+)$", line.strip())
            assert found, f"the server said {line!r}: {(folder / 'stderr.txt').read_text()}"
            server = Server(process, int(found[1]), output)
            wait_until(lambda: _is_ready(server))
            yield server
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            process.stdout.close()


def _is_ready(server: Server) -> bool:
    assert server.process.poll() is None, server.output()
    try:
        return server.get("/v2/health/ready")[0] == 200
    except OSError:
        return False


def wait_until(true, seconds: float = PATIENCE) -> None:
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it was not so within {seconds} seconds"
        time.sleep(0.02)
