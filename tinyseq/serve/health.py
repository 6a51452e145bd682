"""Whether the server lives and is ready, and its metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyseq.serve.http import Request, Response, Route, route
from tinyseq.serve.metrics import exposition, families

if TYPE_CHECKING:
    from tinyseq.serve.services import Services


async def live(services: Services, request: Request) -> Response:
    """200 as long as the worker answers at all."""
    return Response()


async def ready(services: Services, request: Request) -> Response:
    """200 if models are served and the server is not about to end, else 503."""
    is_ready = not services.draining and all(model.ready for model in services.models)
    return Response(200 if is_ready else 503)


async def metrics(services: Services, request: Request) -> Response:
    """All numbers of all workers in Prometheus's text format."""
    own = list(families(services.metrics, services.config.limits))
    body, content_type = exposition(services.exchange.gather(own))
    return Response(200, body, content_type)


ROUTES: tuple[Route, ...] = (
    route("GET", "/v2/health/live", live, free=True),
    route("GET", "/v2/health/ready", ready, free=True),
    route("GET", "/metrics", metrics),
)
