"""The server on Ray: as the ingress of Ray Serve, and ``Score`` for Ray Data.

Ray places the replicas, adds and takes them away as streams need it, and HAProxy, which Ray brings along,
leads clients to them. Streams are resumed by their tokens on any replica, for all sign with one secret.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from secrets import token_bytes
from typing import Any

from tinyseq.common.given import is_whole
from tinyseq.common.packages import package
from tinyseq.common.text import shown
from tinyseq.errors import OptionError
from tinyseq.serve.asgi import App, Receive, Scope, Send
from tinyseq.serve.config import Config, read_config
from tinyseq.serve.errors import ServeError
from tinyseq.serve.scoring import Score

__all__ = ["ENVIRONMENT", "Score", "app", "serve"]

ENVIRONMENT = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM": "url_param session",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
}
"""What Ray Serve is told by variables of the environment, where they are not set already: HAProxy instead of
a proxy in Python; clients of one ``?session=`` go to one replica; no thread between the server and the app;
how long a replica that is to end can still be reached; and how long HAProxy may take to start, which is given
up and begun anew after 5 seconds otherwise. A cluster must be started with them."""

STREAMS = 32
"""Streams of a replica that Ray aims at: of 32 ms chunks they take about half a core."""

OPTIONS = {"config", "replicas", "most_replicas", "streams", "actor"}

MOST_ADDRESSES = 4
"""At which a replica is looked at: its own, and that of the proxy in Python, which steps in for HAProxy."""

LOOKING_SECONDS = 0.5
"""Between two looks whether the replica is to end."""


class ReplicaApp(App):
    """The app in a replica. Ray tells nobody when it ends a replica, but waits for what goes on there:
    streams, which go on for ever. So the replica's own health is looked at, by which Ray tells HAProxy."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._looks: asyncio.Task[None] | None = None
        self._addresses: set[tuple[str, int]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        server = scope.get("server")
        if server and len(self._addresses) < MOST_ADDRESSES:
            self._addresses.add((server[0], server[1]))
            if self._looks is None and os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
                self._looks = asyncio.create_task(self._drain_in_time())
        await super().__call__(scope, receive, send)

    async def _drain_in_time(self) -> None:
        """Lets streams say their last words, with a token to go on elsewhere, once the replica is to end."""
        while True:
            for host, port in list(self._addresses):
                if await asyncio.to_thread(_is_ending, host, port):
                    await self.drain()
                    return
            await asyncio.sleep(LOOKING_SECONDS)

    async def stop(self) -> None:
        if self._looks is not None:
            self._looks.cancel()
        await super().stop()


def _is_ending(host: str, port: int) -> bool:
    """Whether a replica says that it is to end."""
    connection = HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/-/healthz")
        answer = connection.getresponse()
        return answer.status == 503 and b"DRAIN" in answer.read().upper()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def app(arguments: Mapping[str, Any] | None = None) -> Any:
    """A Ray Serve application: for ``serve.run``, or as ``import_path: tinyseq.serve.ray:app`` of a Serve
    config file.

    Args:
        arguments: ``config``, a Config or the path of a serve.toml; ``replicas`` at the least and
            ``most_replicas``, whole numbers (default: 1, and as many as that); ``streams`` of a replica that
            are aimed at, by which their number is chosen (default 32); ``actor``, Ray's
            ``ray_actor_options`` such as ``{"num_cpus": 1}``.

    Raises:
        OptionError: an argument is unknown or wrong.
        MissingPackageError: Ray is not installed.
    """
    package("ray.serve", "the server on Ray", "ray")
    from ray import serve

    given = dict(arguments or {})
    for name in given:
        if name not in OPTIONS:
            raise OptionError(f"{shown(name)} is no argument; there are {', '.join(sorted(OPTIONS))}")
    config = _config(given.get("config"))
    fewest = _count("replicas", given.get("replicas", 1))
    most = _count("most_replicas", given.get("most_replicas", fewest))
    streams = _count("streams", given.get("streams", min(STREAMS, config.limits.streams)))
    if most < fewest:
        raise OptionError(f"most_replicas {most} is less than replicas {fewest}")

    def make() -> ReplicaApp:
        return ReplicaApp(config)

    many = (
        {"num_replicas": fewest}
        if most == fewest
        else {
            "autoscaling_config": {
                "min_replicas": fewest,
                "max_replicas": most,
                "target_ongoing_requests": streams,
            }
        }
    )
    deployment = serve.deployment(
        serve.ingress(make)(),
        name="tinyseq",
        ray_actor_options=dict(given.get("actor") or {"num_cpus": 1}),
        # Whoever is too many is refused by the app, which says when to come again.
        max_ongoing_requests=config.limits.streams + config.limits.requests + 16,
        graceful_shutdown_timeout_s=config.limits.drain_seconds + 10,
        graceful_shutdown_wait_loop_s=0.5,
        **many,
    )
    return deployment.bind()


def _config(given: object) -> Config:
    config = given if isinstance(given, Config) else Config() if given is None else read_config(_path(given))
    if config.grpc is not None:
        raise OptionError("gRPC is not served on Ray: leave --grpc and server.grpc out")
    # One for all replicas. Its own where there is no secret: tokens then end with the application.
    return replace(config, secret=config.secret or token_bytes(32), workers=1)


def _path(given: object) -> Path:
    if not isinstance(given, (str, Path)):
        raise OptionError(f"config is {shown(given)} and must be a Config or the path of a serve.toml")
    return Path(given)


def _count(name: str, given: object) -> int:
    # A command line gives texts.
    number = int(given) if isinstance(given, str) and given.isascii() and given.isdigit() else given
    if not is_whole(number) or not 1 <= number <= 2**20:
        raise OptionError(f"{name} is {shown(given)} and must be a whole number from 1 on")
    return int(number)


def serve(config: Config, most_replicas: int | None = None, ready: Callable[[], None] = lambda: None) -> int:
    """Serves on Ray until told to end: on the cluster that RAY_ADDRESS names, else on one of this machine's
    own. Calls ``ready`` when clients may come; gives the exit code.

    Raises:
        OptionError: an option is wrong.
        MissingPackageError: Ray is not installed.
        ServeError: Ray cannot be started or reached, or the models cannot be loaded there.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ray = package("ray", "tinyseq serve --ray", "ray")
    package("ray.serve", "tinyseq serve --ray", "ray")
    from ray import serve as ray_serve

    made = app(
        {
            "config": config,
            "replicas": config.workers,
            "most_replicas": most_replicas or config.workers,
        }
    )
    http: dict[str, Any] = {"host": config.host, "port": config.port}
    if config.certificate is not None:
        http |= {"ssl_certfile": str(config.certificate), "ssl_keyfile": str(config.key)}
    try:
        ray.init(include_dashboard=False)
        ray_serve.start(http_options=http)
        ray_serve.run(made, name="tinyseq", route_prefix="/")
        ending = threading.Event()
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: ending.set())
        ready()
        ending.wait()
        # By itself, for shutdown ends HAProxy at once and cuts what goes through it.
        ray_serve.delete("tinyseq")
        ray_serve.shutdown()
    except (ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
        raise ServeError(f"Ray cannot serve: {error}") from error
    finally:
        ray.shutdown()
    return 0
