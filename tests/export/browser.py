"""A headless Chromium that tests talk to by a pipe, and pages that it is given."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

COMMAND = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

FLAGS = """
--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-extensions --disable-dev-shm-usage --hide-scrollbars
--autoplay-policy=no-user-gesture-required --use-fake-ui-for-media-stream --use-fake-device-for-media-stream
--remote-debugging-pipe
"""

SECONDS = 60


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, as ``python -m http.server`` serves it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Page:
    """A page of a browser, by the DevTools protocol: messages that end with a zero."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._read, self._number = to, back, b"", 0
        self.said: list[str] = []
        """Errors that nothing in the page caught, and what it wrote to its console."""
        self._session: str | None = None
        made = self.call("Target.createTarget", url="about:blank")
        attached = self.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """What a method of the protocol gives."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer)

    def run(self, script: str) -> Any:
        """The value of an expression, awaited if need be."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        until = monotonic() + SECONDS
        while not self.run(f"Boolean({condition})"):
            assert monotonic() < until, f"{condition}: never; the page said: {self.said}"
            sleep(0.02)

    def open(self, address: str, ready: str) -> None:
        """Goes to an address and waits until an expression is true there."""
        self.call("Page.navigate", url=address)
        self.wait(f"document.readyState === 'complete' && ({ready})")

    def picture(self, path: Path, width: int = 1000, height: int = 900, scheme: str = "light") -> None:
        """Writes what is to be seen as a PNG."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.run("new Promise((done) => setTimeout(done, 100))")
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _next(self) -> dict[str, Any]:
        until = monotonic() + SECONDS
        while b"\0" not in self._read:
            ready = select.select([self._back], [], [], until - monotonic())[0]
            part = os.read(self._back, 1 << 20) if ready else b""
            assert part, f"the browser gave no answer; the page said: {self.said}"
            self._read += part
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Runtime.exceptionThrown":
            details = event["params"]["exceptionDetails"]
            self.said.append(details.get("exception", details).get("description", details["text"]))
        elif event.get("method") == "Runtime.consoleAPICalled":
            self.said += [str(one.get("value")) for one in event["params"]["args"]]


def _pipe() -> tuple[int, ...]:
    """A pipe whose ends are none of the numbers that the browser's own ends have."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high


@contextmanager
def browser(folder: Path, *flags: str) -> Iterator[Page]:
    """A page of a new browser, which keeps its files in a folder."""
    (there, to), (back, here) = _pipe(), _pipe()
    command = [COMMAND, *FLAGS.split(), f"--user-data-dir={folder}", *flags, "about:blank"]
    wired = ["bash", "-c", f'exec "$@" 3<&{there} 4>&{here}', "bash", *command]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(wired, pass_fds=(there, here), start_new_session=True, **quiet)
    os.close(there)
    os.close(here)
    try:
        yield Page(to, back)
    finally:
        os.close(to)
        os.close(back)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
