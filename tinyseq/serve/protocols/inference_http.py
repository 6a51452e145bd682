"""The Open Inference Protocol over HTTP."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

from tinyseq.errors import TinyseqError
from tinyseq.serve.errors import BadRequestError, ServeError, UnknownPathError
from tinyseq.serve.http import Request, Response, Route, json_response, route
from tinyseq.serve.protocols import packing
from tinyseq.serve.protocols.inference import Inference, as_refusal
from tinyseq.serve.protocols.inference_json import read_object, read_request, write_response

if TYPE_CHECKING:
    from tinyseq.serve.services import Services

MODEL = r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[^/]+))?"


class NotSupportedError(ServeError):
    """One of Triton's extensions that this server does not have."""

    status = 501
    reason = "unsupported"


async def _body(services: Services, request: Request) -> bytes:
    encoding = request.headers.get("content-encoding", "")
    body = await request.body()
    return packing.unpacked(body, encoding, services.config.limits.body_bytes) if encoding else body


async def _infer(services: Services, request: Request, name: str, version: str | None) -> Response:
    begun = perf_counter_ns()
    inference = Inference.of(services)
    headers = request.headers
    try:
        body = await _body(services, request)
        asked, wanted = read_request(name, version or "", headers, body)
        read = perf_counter_ns()
        answer = await inference.infer(asked, request.client)
        run = perf_counter_ns()
        response = write_response(answer, wanted, headers.get("accept-encoding", ""))
    except TinyseqError as error:
        inference.refused(name, version or "", begun)
        raise as_refusal(error) from error
    answer.statistics.answered(begun, read, run)
    return response


async def _server(services: Services, request: Request) -> Response:
    return json_response(Inference.of(services).server_metadata())


async def _model_ready(services: Services, request: Request, name: str, version: str | None) -> Response:
    return Response(200 if Inference.of(services).model_is_ready(name, version or "") else 400)


async def _metadata(services: Services, request: Request, name: str, version: str | None) -> Response:
    return json_response(Inference.of(services).metadata(name, version or ""))


async def _configuration(services: Services, request: Request, name: str, version: str | None) -> Response:
    return json_response(Inference.of(services).configuration(name, version or ""))


async def _statistics(
    services: Services, request: Request, name: str | None = None, version: str | None = None
) -> Response:
    return json_response({"model_stats": Inference.of(services).statistics(name or "", version or "")})


async def _index(services: Services, request: Request) -> Response:
    body = await _body(services, request)
    ready = read_object(body).get("ready", False) if body else False
    if not isinstance(ready, bool):
        raise BadRequestError("ready is true or false")
    return json_response(Inference.of(services).index(ready))


async def _models(services: Services, request: Request) -> Response:
    raise UnknownPathError(
        f"nothing is at {request.path}: POST /v2/repository/index lists the models, and "
        "GET /v2/models/NAME tells of one"
    )


async def _load(services: Services, request: Request, name: str) -> Response:
    body = await _body(services, request)
    parameters = read_object(body).get("parameters", {}) if body else {}
    await Inference.of(services).load(name, parameters)
    return Response()


async def _unload(services: Services, request: Request, name: str) -> Response:
    body = await _body(services, request)
    parameters = read_object(body).get("parameters", {}) if body else {}
    await Inference.of(services).unload(name, parameters)
    return Response()


async def _not_supported(services: Services, request: Request) -> Response:
    raise NotSupportedError(
        f"{request.path} is an extension of Triton that tinyseq does not have: tensors travel in the "
        "message, what is logged and counted is set where the server is started"
    )


ROUTES: tuple[Route, ...] = (
    route("GET", "/v2/?", _server),
    *(route(method, "/v2/models/?", _models) for method in ("GET", "POST")),
    route("GET", "/v2/models/stats", _statistics),
    route("POST", f"{MODEL}/infer", _infer),
    route("GET", f"{MODEL}/ready", _model_ready),
    route("GET", f"{MODEL}/config", _configuration),
    route("GET", f"{MODEL}/stats", _statistics),
    route("GET", MODEL, _metadata),
    route("POST", "/v2/repository/index", _index),
    route("POST", "/v2/repository/models/(?P<name>[^/]+)/load", _load),
    route("POST", "/v2/repository/models/(?P<name>[^/]+)/unload", _unload),
    *(
        route(method, pattern, _not_supported)
        for method in ("GET", "POST")
        for pattern in (
            "/v2/logging",
            "/v2(/models/[^/]+)?/trace/setting",
            "/v2/(system|cuda)sharedmemory/.*",
        )
    ),
)
"""What is answered, the more special ones first."""
