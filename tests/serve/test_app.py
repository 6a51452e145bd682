"""The app behind another implementation of websockets, and by itself: requests, limits, the end."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import numpy as np
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed, InvalidStatus

import tinyseq.serve
from tests.serve import small
from tests.serve.native import Client
from tests.serve.test_streams import RATE, SILERO, alone, sound
from tinyseq.serve.asgi import App
from tinyseq.serve.errors import BadRequestError, DrainingError
from tinyseq.serve.http import Response, route


class InThread:
    """uvicorn with the websockets that it has itself."""

    def __init__(self, app: App) -> None:
        settings = uvicorn.Config(app, port=0, ws="websockets-sansio", lifespan="on", log_config=None)
        self.server = uvicorn.Server(settings)
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> InThread:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
            assert self.thread.is_alive()
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *error: object) -> None:
        self.server.should_exit = True
        self.thread.join(30)

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"


def test_the_same_streams_by_asgi(silero):
    chunks = sound(0, 40)
    limits = tinyseq.serve.Limits(message_bytes=5000, streams=1, chunks_ahead=3)
    with InThread(tinyseq.serve.app(tinyseq.serve.Config(limits=limits))) as server:
        with Client(server.url(SILERO), RATE) as client:
            for chunk in chunks:
                client.send(input=chunk)
            got = [client.receive()["output"] for _ in chunks]
            token = client.ask(state=True)["token"]
            with pytest.raises(InvalidStatus) as refused:
                Client(server.url(SILERO))
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"] == "5"
        assert all(map(np.array_equal, got, alone(silero, chunks)))
        _free(server)
        with Client(server.url(SILERO), RATE) as client:
            assert client.ask(resume=token)["seq"] == 40
            client.socket.send(bytes(6000))
            with pytest.raises(ConnectionClosed) as closed:
                client.receive()
            assert closed.value.rcvd.code == 1009
        _free(server)
        with Client(server.url(SILERO), RATE) as client:
            client.socket.send("no json")
            with pytest.raises(ConnectionClosed) as closed:
                client.receive()
            assert closed.value.rcvd.code == 1007
        with pytest.raises(InvalidStatus) as refused:
            Client(server.url("/v2/models/other/stream"))
        assert refused.value.response.status_code == 404


def test_states_larger_than_a_message_by_asgi(tmp_path):
    small.large().save(tmp_path / "large.tinyseq")
    limits = tinyseq.serve.Limits(message_bytes=1200, unsent_bytes=2000)
    models = (tinyseq.serve.ModelSource("large", tmp_path / "large.tinyseq"),)
    path, x = "/v2/models/large/stream", np.ones((1, 1), np.float32)
    with InThread(tinyseq.serve.app(tinyseq.serve.Config(models=models, limits=limits))) as server:
        with Client(server.url(path), max_size=None) as client:
            client.step(x=x)
            token = client.ask(state=True)["token"]
            expected = client.step(x=x)["y"]
        with Client(server.url(path), max_size=None) as client:
            assert client.ask(resume=token)["seq"] == 1
            assert np.array_equal(client.step(x=x)["y"], expected)
            client.send(x=np.ones((1, 1000), np.float32))
            with pytest.raises(ConnectionClosed) as closed:
                client.receive()
            assert closed.value.rcvd.code == 1009


def _free(server: InThread) -> None:
    """Waits until the one stream that there may be is gone."""
    app = server.server.config.app
    while app.services.admission.streams:
        time.sleep(0.01)


def asked(app: App, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """What the app answers, without a server."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    sent = []

    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.get_event_loop().run_until_complete(app(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


@pytest.fixture
def app():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    made = App(tinyseq.serve.Config(limits=tinyseq.serve.Limits(body_bytes=2000)))
    loop.run_until_complete(made.start())
    yield made
    loop.run_until_complete(made.stop())
    loop.close()
    asyncio.set_event_loop(None)


def test_a_server_that_is_about_to_end_is_not_ready_and_takes_nothing(app):
    assert asked(app, "GET", "/v2/health/ready") == (200, b"")
    asyncio.get_event_loop().run_until_complete(app.drain())
    assert asked(app, "GET", "/v2/health/ready") == (503, b"")
    assert asked(app, "GET", "/v2/health/live") == (200, b"")

    class Asking:
        path, query, headers, subprotocols, client = SILERO, {}, {}, (), ""

    with pytest.raises(DrainingError):
        app.handler(Asking())
    with pytest.raises(DrainingError):
        app.services.models.find("silero_vad").open_stream()


def test_bodies_are_bounded_before_they_are_read(app, monkeypatch, caplog):
    async def echo(services, request) -> Response:
        body = await request.body()
        if body == b"bad":
            raise BadRequestError("it is bad")
        if body == b"fault":
            raise RuntimeError("a fault")
        if body == b"feeds":
            raise tinyseq.FeedError("does not fit")
        return Response(200, body)

    monkeypatch.setattr("tinyseq.serve.asgi.HTTP", (route("POST", "/echo", echo),))
    assert asked(app, "POST", "/echo", b"x" * 2000, content_length="2000") == (200, b"x" * 2000)
    assert asked(app, "POST", "/echo", b"", content_length="2001")[0] == 413
    assert asked(app, "POST", "/echo", b"x" * 2001)[0] == 413
    assert asked(app, "POST", "/echo", b"", content_length="-1")[0] == 400
    assert asked(app, "POST", "/echo", b"bad") == (400, b'{"error":"it is bad"}')
    assert asked(app, "POST", "/echo", b"feeds") == (400, b'{"error":"does not fit"}')
    status, body = asked(app, "POST", "/echo", b"fault")
    assert status == 500 and b"a fault" not in body and "a fault" in caplog.text
    assert asked(app, "GET", "/echo")[0] == 405
    assert json.loads(asked(app, "GET", "/other\x1b[31m")[1])["error"].isprintable()
