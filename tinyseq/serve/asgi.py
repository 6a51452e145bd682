"""The server as an ASGI app: routes, bearer tokens and limits before anything is parsed, start and end."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from time import monotonic
from typing import Any
from urllib.parse import parse_qsl

from tinyseq.common.text import shown
from tinyseq.errors import TinyseqError
from tinyseq.serve import health
from tinyseq.serve.admission import Admission
from tinyseq.serve.asgi_websocket import AsgiWebsocket
from tinyseq.serve.bearer import Bearer
from tinyseq.serve.config import Config, renewed
from tinyseq.serve.connection import Connection, Handler, HandlerMaker
from tinyseq.serve.errors import (
    BadRequestError,
    DrainingError,
    ServeError,
    TooLargeError,
    UnknownPathError,
)
from tinyseq.serve.exchange import Exchange
from tinyseq.serve.http import Request, Response, Route, json_response, refusal
from tinyseq.serve.metrics import Metrics, families
from tinyseq.serve.models import Models
from tinyseq.serve.origins import PREFLIGHT, Origins
from tinyseq.serve.protocols import inference_http, page, speech, streaming
from tinyseq.serve.repository import stamps
from tinyseq.serve.services import Services
from tinyseq.serve.speech.served import Speech
from tinyseq.serve.tokens import Tokens

log = logging.getLogger("tinyseq.serve")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HTTP: tuple[Route, ...] = (*health.ROUTES, *inference_http.ROUTES, *page.ROUTES)
"""What answers requests, the first that fits."""

WEBSOCKETS: Mapping[str, HandlerMaker] = {**streaming.ROUTES, **speech.ROUTES}
"""What makes handlers of websockets, by patterns of paths; the first that fits. The groups of a pattern are
arguments of the maker."""


MOST_ROUTES, LONGEST_ROUTE = 1024, 512
"""Paths whose routes are remembered, and letters of each."""

READS = ("GET", "HEAD")
"""Methods that change nothing: what browsers let a page of another origin send, and not read the answer."""


class App:
    """What uvicorn, or another server of ASGI, runs. ``start`` must have been awaited, or the lifespan begun,
    before anything is asked."""

    services: Services

    def __init__(self, config: Config, exchange: Exchange | None = None) -> None:
        self.config = config
        self._exchange = exchange or Exchange(None, 0)
        self._sockets = [(re.compile(pattern), make) for pattern, make in WEBSOCKETS.items()]
        self._routes: dict[tuple[str, str], tuple[Route, dict[str, str | None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading = asyncio.Lock()
        self._read = config
        """With the tables of speech that were read of late."""
        self._others: list[Any] = []

    async def start(self) -> None:
        """Loads the models.

        Raises:
            TinyseqError: a model cannot be loaded.
        """
        config, metrics = self.config, Metrics()
        admission = Admission(config.limits, metrics)
        tokens = Tokens(config.secret or secrets.token_bytes(32), config.limits.token_seconds)
        models = Models(config, admission, metrics)
        bearer, speech = Bearer(config.tokens), Speech(models)
        guarded = bool(config.tokens) or config.certificate is not None
        origins = Origins(config.origins, config.host, guarded)
        self.services = Services(
            config, models, speech, admission, metrics, tokens, bearer, origins, self._exchange
        )
        await models.load_all()
        await self.services.speech.load_all()
        await self._obey()
        self._begin(self._tick())
        if config.watch_seconds:
            self._begin(self._watch())
        if config.grpc is not None:
            # Imported here: only those who asked for it need its package.
            from tinyseq.serve.protocols import inference_grpc

            self._others.append(await inference_grpc.start(self.services))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Takes nothing new, lets streams say their last words, and waits until all have gone."""
        services = self.services
        services.draining = services.admission.draining = True
        for connection in list(services.connections):
            connection.drain()
        end = monotonic() + self.config.limits.drain_seconds
        while (services.connections or services.admission.requests) and monotonic() < end:
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Ends what ``start`` began."""
        for other in self._others:
            await other.stop()
        for task in list(self._tasks):
            task.cancel()
        self.services.models.close()

    async def _tick(self) -> None:
        limits = self.config.limits
        period = min(1.0, limits.ping_seconds / 2, limits.pong_seconds / 2, limits.idle_seconds / 2)
        told = 0.0
        while True:
            await asyncio.sleep(period)
            now = monotonic()
            services = self.services
            for connection in list(services.connections):
                connection.tick(now)
            services.models.tick(now)
            services.speech.tick(now)
            if now >= told:
                told = now + 1
                self._exchange.leave(list(families(services.metrics, limits)))
                await self._obey()

    async def _obey(self) -> None:
        """Does what clients have asked of other workers."""
        for action, name in self._exchange.orders():
            try:
                if action == "load":
                    await self.services.models.load(name)
                else:
                    self.services.models.unload(name)
            except TinyseqError as error:
                log.error("model %s could not be %sed as in another worker: %s", name, action, error)

    async def _watch(self) -> None:
        """Loads models anew whose files have changed, and speech whose files or tables have."""
        file = self._stamp()
        while True:
            await asyncio.sleep(self.config.watch_seconds)
            before, file = file, self._stamp()
            await self._load(self.services.models.changed(), file != before, False)

    def _stamp(self) -> Any:
        """What differs when the file of the configuration has changed."""
        try:
            return None if self.config.file is None else stamps([self.config.file])
        except OSError:
            return None

    def reload(self) -> None:
        """Loads all models and all speech anew, soon, this as the file of the configuration has it now; what
        cannot be loaded is served on as it was."""
        self._begin(self._load(self.services.models.names(), True, True))

    async def _load(self, names: Sequence[str], read_file: bool, all_speech: bool) -> None:
        async with self._loading:
            for name in names:
                try:
                    await self.services.models.load(name)
                except TinyseqError as error:
                    log.error("model %s is served as it was: %s", name, error)
            if read_file:
                try:
                    self._read = renewed(self._read)
                except TinyseqError as error:
                    log.error("the configuration is as it was: %s", error)
            await self.services.speech.replace(self._read.speech, all_speech)

    # Websockets

    def handler(self, connection: Connection) -> Handler:
        """The handler that a websocket asks for.

        Raises:
            ServeError: it is refused, before the connection stands.
        """
        self.services.origins.check(connection.headers)
        self.services.bearer.check(connection.headers, connection.subprotocols)
        if self.services.draining:
            raise DrainingError("the server is about to end", self.config.limits.retry_after)
        for pattern, make in self._sockets:
            match = pattern.fullmatch(connection.path)
            if match:
                return make(self.services, connection, **match.groupdict())
        raise UnknownPathError(f"no websocket is at {shown(connection.path)}")

    # ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await AsgiWebsocket(self, scope, receive, send).run()
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except TinyseqError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = {str(name, "latin-1"): str(value, "latin-1") for name, value in scope["headers"]}
        response = await self._answer(scope, given, receive)
        told = (
            {**response.headers, **self.services.origins.told(given["origin"])}
            if "origin" in given
            else response.headers
        )
        headers = [
            (b"content-type", response.content_type.encode()),
            (b"content-length", str(len(response.body)).encode()),
            *((name.encode(), value.encode("latin-1")) for name, value in told.items()),
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _answer(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Response:
        try:
            request = self._request(scope, headers, receive)
            if request.method == "OPTIONS" and self.services.origins.lists(headers.get("origin", "")):
                return Response(headers=PREFLIGHT)
            route, groups = self._route(request.method, request.path)
            if request.method not in READS:
                self.services.origins.check(headers)
            if not route.free:
                self.services.bearer.check(request.headers)
            return await route.answer(self.services, request, **groups)
        except ServeError as error:
            self.services.metrics.refused[error.reason] += 1
            return refusal(error)
        except TinyseqError as error:
            return json_response({"error": str(error)}, 400)
        except Exception:
            log.exception("a request failed")
            return json_response({"error": "the server failed; its log says why"}, 500)

    def _route(self, method: str, path: str) -> tuple[Route, dict[str, str | None]]:
        """What answers, and the groups of its pattern; remembered for the next one."""
        found = self._routes.get((method, path))
        if found is None:
            found = _found_route(method, path)
            if len(self._routes) >= MOST_ROUTES:
                self._routes.clear()
            if len(path) <= LONGEST_ROUTE:
                self._routes[method, path] = found
        return found

    def _request(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Request:
        client = scope.get("client")
        asked = scope.get("query_string")
        query = dict(parse_qsl(asked.decode("latin-1"), keep_blank_values=True)) if asked else {}
        most = self.config.limits.body_bytes
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise BadRequestError("the length of the body is no number")

        async def body() -> bytes:
            if int(length) > most:
                raise TooLargeError(f"a body has {most} bytes at the most, not {length}")
            return await _whole(receive, most)

        address = f"{client[0]}:{client[1]}" if client else ""
        return Request(scope["method"], scope["path"], query, headers, address, body)


def _found_route(method: str, path: str) -> tuple[Route, dict[str, str | None]]:
    """The first route that fits, and the groups of its pattern.

    Raises:
        UnknownPathError: there is none.
    """
    others = set()
    for route in HTTP:
        match = route.pattern.fullmatch(path)
        if match and route.method == method:
            return route, match.groupdict()
        if match:
            others.add(route.method)
    if others:
        raise UnknownPathError(
            f"{shown(path)} takes {', '.join(sorted(others))}, not {shown(method)}", others
        )
    raise UnknownPathError(f"nothing is at {shown(path)}")


async def _whole(receive: Receive, most: int) -> bytes:
    """The body of a request."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise BadRequestError("the client has gone")
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise TooLargeError(f"a body has {most} bytes at the most")
        parts.append(part)
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)
