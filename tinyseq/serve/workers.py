"""Workers: processes that share a port, each with one event loop. One that dies is started anew."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from secrets import token_bytes
from typing import Any

from tinyseq.common.packages import package
from tinyseq.common.text import shown
from tinyseq.errors import OptionError, TinyseqError
from tinyseq.serve.asgi import App
from tinyseq.serve.config import Config, renewed
from tinyseq.serve.exchange import Exchange
from tinyseq.serve.server_protocols import http_class
from tinyseq.serve.websocket import protocol_class

log = logging.getLogger("tinyseq.serve")

BACKLOG = 2048
"""Connections that wait to be taken."""

RESTART_SECONDS = 1.0
"""Before a worker that died young is started again."""

HARD_SECONDS = 10.0
"""Beyond ``drain_seconds``, after which a worker that does not end is killed."""

FAILED = 3
"""The exit code of a worker that could not start."""


def uvicorn_package() -> Any:
    """uvicorn, imported.

    Raises:
        MissingPackageError: it is not installed.
    """
    return package("uvicorn", "tinyseq serve", "serve")


def listening(host: str, port: int, shared: bool = False) -> socket.socket:
    """A socket that is bound to an address; port 0 picks a free one. ``shared``: other sockets may be bound
    to it, too, and the system spreads clients over them.

    Raises:
        OptionError: the address is taken or is none of this machine's.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except (OSError, TypeError, ValueError) as error:  # the last two: a host that no name can be
        sock.close()
        raise OptionError(f"cannot listen at {shown(host)} port {port}: {error}") from error
    return sock


def _nothing() -> None:
    """Tells nobody."""


def serve(
    config: Config,
    *socks: socket.socket,
    exchange: Exchange | None = None,
    ready: Callable[[], None] = _nothing,
) -> None:
    """Serves in this process what comes by some sockets, until it is told to end, by SIGTERM or SIGINT;
    SIGHUP loads the models anew. Calls ``ready`` when clients may come.

    Raises:
        TinyseqError: a model cannot be loaded.
    """
    uvicorn = uvicorn_package()
    app = App(config, exchange)
    settings = uvicorn.Config(
        app,
        http=http_class(config.limits),
        ws=protocol_class(app),
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ssl_certfile=config.certificate,
        ssl_keyfile=config.key,
        timeout_graceful_shutdown=5,
        backlog=BACKLOG,
    )
    with asyncio.Runner(loop_factory=settings.get_loop_factory()) as runner:
        runner.run(_serve(app, uvicorn.Server(settings), socks, ready))


async def _serve(app: App, server: Any, socks: Sequence[socket.socket], ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    await app.start()
    # What is there now stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    _on_signal(loop, (signal.SIGINT, signal.SIGTERM), ending.set)
    if hasattr(signal, "SIGHUP"):
        _on_signal(loop, (signal.SIGHUP,), app.reload)
    task = asyncio.create_task(server._serve(list(socks)))
    told = asyncio.create_task(ending.wait())
    begun = asyncio.create_task(_when_started(server, ready))
    await asyncio.wait([task, told], return_when=asyncio.FIRST_COMPLETED)
    begun.cancel()
    await app.drain()
    server.should_exit = True
    await task
    await app.stop()


async def _when_started(server: Any, ready: Callable[[], None]) -> None:
    while not server.started:
        await asyncio.sleep(0.005)
    ready()


def _on_signal(
    loop: asyncio.AbstractEventLoop, signals: tuple[signal.Signals, ...], call: Callable[[], Any]
) -> None:
    for each in signals:
        try:
            loop.add_signal_handler(each, call)
        except NotImplementedError:  # Windows
            signal.signal(each, lambda *_: loop.call_soon_threadsafe(call))


def serve_all(config: Config, sock: socket.socket, ready: Callable[[], None] = _nothing) -> int:
    """Serves by ``config.workers`` processes until told to end; gives the exit code. Calls ``ready`` when all
    of them take clients.

    Raises:
        TinyseqError: a worker cannot start.
    """
    config = replace(config, secret=config.secret or token_bytes(32))
    with tempfile.TemporaryDirectory(prefix="tinyseq-serve-") as folder:
        return _Supervisor(config, sock, Path(folder)).run(ready)


class _Supervisor:
    """Starts workers, starts those anew that die, and ends all."""

    def __init__(self, config: Config, sock: socket.socket, folder: Path) -> None:
        self._config, self._sock, self._folder = config, sock, folder
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, BaseProcess] = {}
        self._started: dict[int, float] = {}
        self._ready: dict[int, Event] = {}
        self._told: list[int] = []

    def run(self, ready: Callable[[], None]) -> int:
        names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        for name in names:
            signal.signal(getattr(signal, name), lambda number, _: self._told.append(number))
        for number in range(self._config.workers):
            self._start(number)
        told = False
        while True:
            connection.wait([worker.sentinel for worker in self._workers.values()], 0.2)
            if not told and all(each.is_set() for each in self._ready.values()):
                told = True
                ready()
            for signalled in self._take():
                if signalled != getattr(signal, "SIGHUP", None):
                    return self._end()
                self._tell(signalled)
            for number, worker in list(self._workers.items()):
                if worker.exitcode is not None and not self._again(number, worker.exitcode):
                    self._end()
                    return FAILED

    def _take(self) -> list[int]:
        told, self._told = self._told, []
        return told

    def _start(self, number: int) -> None:
        self._ready[number] = self._context.Event()
        arguments = self._config, self._sock, number, self._folder, self._ready[number]
        worker = self._context.Process(target=_worker, args=arguments, name=f"tinyseq-worker-{number}")
        worker.start()
        self._workers[number], self._started[number] = worker, time.monotonic()

    def _again(self, number: int, code: int) -> bool:
        """Starts a worker that has died again; not one that cannot start at all."""
        if code == FAILED:
            return False
        log.error("worker %d has died (exit code %s) and is started again", number, code)
        if time.monotonic() - self._started[number] < RESTART_SECONDS:
            time.sleep(RESTART_SECONDS)
        try:
            self._config = renewed(self._config)
        except TinyseqError as error:
            log.error("the configuration is as it was: %s", error)
        self._start(number)
        return True

    def _tell(self, number: int) -> None:
        for worker in self._workers.values():
            if worker.pid is not None and worker.is_alive():
                _send_signal(worker, number)

    def _end(self) -> int:
        self._sock.close()
        self._tell(signal.SIGTERM)
        end = time.monotonic() + self._config.limits.drain_seconds + HARD_SECONDS
        for worker in self._workers.values():
            worker.join(max(0.0, end - time.monotonic()))
            if worker.is_alive():
                worker.kill()
                worker.join()
        return 0


def _send_signal(worker: BaseProcess, number: int) -> None:
    if sys.platform == "win32":
        worker.terminate()
        return
    assert worker.pid is not None
    os.kill(worker.pid, number)


def _shares_port() -> bool:
    """Whether each worker has a socket of its own, over which the system spreads clients."""
    return sys.platform == "linux"


def _worker(config: Config, sock: socket.socket, number: int, folder: Path, ready: Event) -> None:
    """What a worker's process does; it sets ``ready`` when it takes clients.

    It takes clients from a socket of its own, where there is one, and from the supervisor's, which all share:
    while no worker lives, clients wait there.
    """
    logging.basicConfig(format="tinyseq: %(message)s", level=logging.INFO)
    try:
        own = [listening(*sock.getsockname()[:2], shared=True)] if _shares_port() else []
        serve(config, *own, sock, exchange=Exchange(folder, number), ready=ready.set)
    except TinyseqError as error:
        print(f"tinyseq: {error}", file=sys.stderr)
        sys.exit(FAILED)


def bound(config: Config) -> socket.socket:
    """The socket that a server's address is held by.

    Raises:
        OptionError: the address is taken or is none of this machine's.
    """
    sock = listening(config.host, config.port)
    if config.workers == 1 or not _shares_port():
        return sock
    # A port that is shared would be shared with another server, too; that it was free has been seen.
    host, port = sock.getsockname()[:2]
    sock.close()
    return listening(host, port, shared=True)
