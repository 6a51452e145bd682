"""A server's app in this process, asked without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tinyseq.serve import Config, Limits, ModelSource
from tinyseq.serve.asgi import App


class Answered(NamedTuple):
    """An answer of HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Inside:
    """An app that has started."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.services = app.services

    async def ask(
        self,
        path: str,
        body: bytes | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        client: tuple[str, int] = ("127.0.0.1", 1),
    ) -> Answered:
        """GET, or POST with a body; a mapping is sent as JSON."""
        method = "GET" if body is None else "POST"
        body = json.dumps(body).encode() if isinstance(body, Mapping) else body or b""
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        given = {**(headers or {}), "content-length": str(len(body))}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "client": client,
            "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        }
        await self.app(scope, receive, send)
        start, end = sent
        told = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answered(start["status"], told, end["body"])


def inside(
    use: Callable[[Inside], Awaitable[None]],
    models: Mapping[str, bytes] | None = None,
    folder: Path | None = None,
    **given: Any,
) -> None:
    """Starts an app with some models, files of ONNX that are put into a folder; uses it, and ends it.

    ``given`` are fields of the Config, or of its Limits.
    """
    limits = {name: given.pop(name) for name in list(given) if hasattr(Limits(), name)}
    sources = []
    for name, data in (models or {}).items():
        assert folder is not None
        path = folder / f"{name}.onnx"
        path.write_bytes(data)
        sources.append(ModelSource(name, path))

    async def main() -> None:
        app = App(Config(models=tuple(sources), limits=Limits(**limits), **given))
        await app.start()
        try:
            await use(Inside(app))
        finally:
            await app.stop()

    asyncio.run(main())
