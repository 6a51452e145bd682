"""Workers: processes that share a port, each with one event loop. One that dies is started anew."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

from tinyseq.common.packages import package
from tinyseq.errors import OptionError
from tinyseq.serve.asgi import App
from tinyseq.serve.config import Config
from tinyseq.serve.websocket import protocol_class


def uvicorn_package() -> Any:
    """uvicorn, imported.

    Raises:
        MissingPackageError: it is not installed.
    """
    return package("uvicorn", "tinyseq serve", "serve")


def listening(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address; port 0 picks a free one.

    Raises:
        OptionError: the address is taken or is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OptionError(f"cannot listen at {host} port {port}: {error}") from error
    return sock


def serve(config: Config, sock: socket.socket) -> None:
    """Serves in this process until it is told to end.

    Raises:
        TinyseqError: a model cannot be loaded.
    """
    uvicorn = uvicorn_package()
    app = App(config)
    settings = uvicorn.Config(
        app,
        ws=protocol_class(app),
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        ssl_certfile=config.certificate,
        ssl_keyfile=config.key,
        timeout_graceful_shutdown=5,
        backlog=2048,
    )
    server = uvicorn.Server(settings)

    async def main() -> None:
        await app.start()
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, ending.set)
        task = asyncio.create_task(server._serve([sock]))
        waiting = asyncio.create_task(ending.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        await app.drain()
        server.should_exit = True
        await task
        await app.stop()

    factory = settings.get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
