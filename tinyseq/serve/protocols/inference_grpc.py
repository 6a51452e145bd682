"""The Open Inference Protocol over gRPC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from tinyseq.common.packages import package
from tinyseq.errors import OptionError, TinyseqError
from tinyseq.serve.errors import ServeError
from tinyseq.serve.protocols.inference import Inference, InternalError, as_refusal
from tinyseq.serve.protocols.inference_messages import (
    FINAL,
    parameter_values,
    parsed,
    read_request,
    write_response,
)
from tinyseq.serve.protocols.messages import SERVICE, messages

if TYPE_CHECKING:
    from pathlib import Path

    from tinyseq.serve.services import Services

log = logging.getLogger("tinyseq.serve")

MOST_AT_ONCE = 64
"""Requests of one stream that are worked on at a time; no more are read before the first is answered."""

FREE = ("ServerLive", "ServerReady")
"""Calls that need no bearer token."""

_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}
"""What gRPC calls a status of HTTP; the others are arguments that are not valid."""


class Service:
    """Answers the calls to one worker."""

    def __init__(self, services: Services) -> None:
        self._grpc = package("grpc", "gRPC", "grpc")
        self._fill = package("google.protobuf.json_format", "gRPC", "grpc").ParseDict
        self._services = services
        inference = self._inference = Inference.of(services)
        self._calls: dict[str, Callable[[Any], Any]] = {
            "ServerLive": lambda asked: {"live": True},
            "ServerReady": lambda asked: {"ready": services.ready},
            "ServerMetadata": lambda asked: inference.server_metadata(),
            "ModelReady": lambda asked: {"ready": inference.model_is_ready(asked.name, asked.version)},
            "ModelMetadata": lambda asked: inference.metadata(asked.name, asked.version),
            "ModelConfig": lambda asked: {"config": inference.configuration(asked.name, asked.version)},
            "ModelStatistics": lambda asked: {"model_stats": inference.statistics(asked.name, asked.version)},
            "RepositoryIndex": lambda asked: {"models": inference.index(asked.ready)},
            "RepositoryModelLoad": lambda asked: inference.load(
                asked.model_name, parameter_values(asked.parameters)
            ),
            "RepositoryModelUnload": lambda asked: inference.unload(
                asked.model_name, parameter_values(asked.parameters)
            ),
        }

    def handler(self, method: str) -> Any:
        """What answers the calls of a method, as grpc wants it; None for those that there are not."""
        service, _, name = method.lstrip("/").partition("/")
        if service != SERVICE:
            return None
        if name == "ModelStreamInfer":
            return self._grpc.stream_stream_rpc_method_handler(self._stream)
        if name == "ModelInfer":
            return self._grpc.unary_unary_rpc_method_handler(self._answering(name, self._infer))
        if name not in self._calls:
            return None

        async def call(data: bytes, context: Any) -> bytes:
            result = self._calls[name](parsed(f"{name}Request", data))
            if asyncio.iscoroutine(result):
                result = await result
            return self._fill(result or {}, getattr(messages(), f"{name}Response")()).SerializeToString()

        return self._grpc.unary_unary_rpc_method_handler(self._answering(name, call))

    def _answering(
        self, name: str, call: Callable[[bytes, Any], Awaitable[bytes]]
    ) -> Callable[[bytes, Any], Awaitable[bytes]]:
        """A call whose errors become what gRPC tells a client."""

        async def answer(data: bytes, context: Any) -> bytes:
            try:
                self._admit(name, context)
                return await call(data, context)
            except TinyseqError as error:
                refusal = as_refusal(error)
            except Exception:
                log.exception("%s failed", name)
                refusal = InternalError("the server failed; its log says more")
            await self._abort(context, refusal)
            raise AssertionError("abort raises")

        return answer

    async def _abort(self, context: Any, refusal: ServeError) -> None:
        self._services.metrics.refused[refusal.reason] += 1
        code = getattr(self._grpc.StatusCode, _CODES.get(refusal.status, "INVALID_ARGUMENT"))
        after = refusal.retry_after
        more = () if after is None else (("retry-after", str(max(1, round(after)))),)
        await context.abort(code, str(refusal), more)

    def _admit(self, name: str, context: Any) -> None:
        """Refuses who may not call.

        Raises:
            UnauthorizedError: no bearer token of this server is shown.
        """
        if name not in FREE:
            metadata = context.invocation_metadata() or ()
            self._services.bearer.check({key: value for key, value in metadata if isinstance(value, str)})

    async def _infer(self, data: bytes, context: Any) -> bytes:
        return (await self._run(parsed("ModelInferRequest", data), context.peer())).SerializeToString()

    async def _run(self, message: Any, peer: str) -> Any:
        """The message that answers a request for inference."""
        begun = perf_counter_ns()
        inference = self._inference
        try:
            request = read_request(message)
            read = perf_counter_ns()
            answer = await inference.infer(request, peer)
            run = perf_counter_ns()
            response = write_response(answer)
        except TinyseqError:
            inference.refused(message.model_name, message.model_version, begun)
            raise
        answer.statistics.answered(begun, read, run)
        return response

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Answers the requests of a stream, in their order; several are worked on at a time."""
        try:
            self._admit("ModelStreamInfer", context)
        except ServeError as refusal:
            await self._abort(context, refusal)
        peer = context.peer()
        answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(MOST_AT_ONCE)

        async def read() -> None:
            async for data in requests:
                await answers.put(asyncio.create_task(self._answer_in_stream(data, peer)))
            await answers.put(None)

        reader = asyncio.create_task(read())
        task = None
        try:
            while (task := await answers.get()) is not None:
                yield await task
        finally:
            reader.cancel()
            while task is not None:
                task.cancel()
                task = None if answers.empty() else answers.get_nowait()

    async def _answer_in_stream(self, data: bytes, peer: str) -> bytes:
        made = messages()
        name = ""
        try:
            message = parsed("ModelInferRequest", data)
            name = message.id
            response = await self._run(message, peer)
            response.parameters[FINAL].bool_param = True
            return made.ModelStreamInferResponse(infer_response=response).SerializeToString()
        except TinyseqError as error:
            refusal = as_refusal(error)
        except Exception:
            log.exception("a request of a stream failed")
            refusal = InternalError("the server failed; its log says more")
        self._services.metrics.refused[refusal.reason] += 1
        answer = made.ModelStreamInferResponse(error_message=str(refusal))
        answer.infer_response.id = name
        return answer.SerializeToString()


class Server:
    """A gRPC server that has started."""

    def __init__(self, server: Any, port: int) -> None:
        self._server = server
        self.port = port

    async def stop(self, seconds: float = 1.0) -> None:
        """Takes no calls any more and ends; those that are being answered have some seconds."""
        await self._server.stop(seconds)


def _credentials(grpc: Any, certificate: Path, key: Path | None) -> Any:
    """Those of TLS; a certificate's file may have its key inside.

    Raises:
        OptionError: a file cannot be read.
    """
    try:
        pair = (key or certificate).read_bytes(), certificate.read_bytes()
    except OSError as error:
        raise OptionError(f"cannot read the certificate or its key: {error}") from error
    return grpc.ssl_server_credentials([pair])


async def start(services: Services) -> Server:
    """Listens at the port of the configuration; port 0 picks a free one.

    Raises:
        MissingPackageError: grpcio or protobuf is not installed.
        OptionError: the port is taken, or a file of TLS cannot be read.
    """
    grpc = package("grpc", "gRPC", "grpc")
    aio = package("grpc.aio", "gRPC", "grpc")
    messages()
    config = services.config
    server = aio.server(
        options=[
            ("grpc.max_receive_message_length", config.limits.body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", config.limits.header_bytes),
            ("grpc.so_reuseport", int(config.workers > 1)),
        ]
    )
    service = Service(services)

    class Handlers(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return service.handler(details.method)

    server.add_generic_rpc_handlers((Handlers(),))
    if config.workers > 1 and not config.grpc:
        raise OptionError(f"--grpc 0 picks a port for each of {config.workers} workers; give one for all")
    host = f"[{config.host}]" if ":" in config.host else config.host
    place = f"{host}:{config.grpc}"
    try:
        if config.certificate is None:
            port = server.add_insecure_port(place)
        else:
            port = server.add_secure_port(place, _credentials(grpc, config.certificate, config.key))
    except RuntimeError as error:
        raise OptionError(f"gRPC cannot listen at {host} port {config.grpc}: {error}") from error
    await server.start()
    return Server(server, port)
