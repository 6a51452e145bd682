"""The status page at ``/``, and what it shows as JSON at ``/status``."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyseq.serve.http import Request, Response, Route, json_response, route
from tinyseq.serve.metrics import Histogram, ModelMetrics
from tinyseq.serve.protocols.tensors import declared

if TYPE_CHECKING:
    from tinyseq.serve.models import ServedModel
    from tinyseq.serve.services import Services
    from tinyseq.serve.speech.served import ServedSpeech

PAGE = Path(__file__).parents[1] / "page"

TYPES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "client.js": "text/javascript; charset=utf-8",
    "microphone.js": "text/javascript; charset=utf-8",
}
"""The files of the page; there are no others."""

POLICY = "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self'; frame-ancestors 'none'"


def _file(name: str) -> Callable[[Services, Request], Coroutine[Any, Any, Response]]:
    async def answer(services: Services, request: Request) -> Response:
        headers = {
            "cache-control": "no-cache",
            "content-security-policy": POLICY,
            "x-content-type-options": "nosniff",
        }
        return Response(200, (PAGE / name).read_bytes(), TYPES[name], headers)

    return answer


async def status(services: Services, request: Request) -> Response:
    """What the worker serves, how much and how fast."""
    metrics = services.metrics
    return json_response(
        {
            "draining": services.draining,
            "seconds": round(time.time() - metrics.started, 3),
            "connections": metrics.connections,
            "streams": services.admission.streams,
            "requests": services.admission.requests,
            "refused": dict(metrics.refused),
            "ended": dict(metrics.ended),
            "limits": asdict(services.config.limits),
            "models": [_model(model) for model in services.models],
            "speech": [_speech(served) for served in services.speech],
        }
    )


def _model(model: ServedModel) -> dict[str, Any]:
    session = model.model
    carried = {pair.input for pair in session.state}
    inputs = [value for value in session.stream_inputs if value.name not in carried]
    return {
        "name": model.name,
        "version": model.version,
        "ready": model.ready,
        "can_stream": model.refusal is None,
        "inputs": declared(inputs or session.inputs),
        "outputs": declared(session.stream_outputs or session.outputs),
        **_counted(model.metrics),
    }


def _speech(served: ServedSpeech) -> dict[str, Any]:
    return {
        "name": served.name,
        "kind": served.kind,
        "aliases": list(served.aliases),
        "language": served.language,
        "sample_rate": served.sample_rate,
        "ready": True,
        **_counted(served.metrics),
    }


def _counted(metrics: ModelMetrics) -> dict[str, Any]:
    return {
        "streams": metrics.streams,
        "opened": metrics.opened,
        "chunks": metrics.chunks,
        "steps": metrics.steps,
        "refused_chunks": metrics.refused_chunks,
        "requests": metrics.requests,
        "rows_per_step": round(metrics.chunks / metrics.steps, 2) if metrics.steps else None,
        "p50_ms": _quantile(metrics.latency, 0.5),
        "p99_ms": _quantile(metrics.latency, 0.99),
    }


def _quantile(histogram: Histogram, share: float) -> float | None:
    """The edge, in milliseconds, that a share of the chunks was quicker than; None where none is known."""
    total = int(histogram.counts.sum())
    place = int(np.cumsum(histogram.counts).searchsorted(share * total))
    return 1000 * float(histogram.edges[place]) if total and place < len(histogram.edges) else None


ROUTES: tuple[Route, ...] = (
    route("GET", "/", _file("index.html"), free=True),
    *(route("GET", f"/{name}", _file(name), free=True) for name in TYPES if name != "index.html"),
    route("GET", "/status", status),
)
