"""The Open Inference Protocol, version 2: what its forms over HTTP and gRPC share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

import tinyseq
from tinyseq.common.text import shown
from tinyseq.errors import FeedError, ModelError, StateError, TinyseqError
from tinyseq.serve.errors import BadRequestError, ServeError
from tinyseq.serve.protocols.parameters import Asked, Turn
from tinyseq.serve.protocols.sequences import Sequences
from tinyseq.serve.protocols.statistics import Statistics
from tinyseq.serve.protocols.tensors import datatype, declared, shape_of

if TYPE_CHECKING:
    from tinyseq.ir.model import Value
    from tinyseq.serve.models import ServedModel
    from tinyseq.serve.services import Services

EXTENSIONS = ("sequence", "model_repository", "model_configuration", "binary_tensor_data", "statistics")


class InferRequest(NamedTuple):
    """A request for inference. ``outputs`` are the names that it asks for; none: all."""

    model: str
    version: str
    id: str
    feeds: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]
    asked: Asked


class InferResponse(NamedTuple):
    """The answer to one. ``statistics`` are those of the model."""

    model: str
    version: str
    id: str
    outputs: Mapping[str, np.ndarray]
    statistics: Statistics


class ForbiddenError(ServeError):
    """The server is configured not to do it."""

    status = 403
    reason = "forbidden"


class InternalError(ServeError):
    """The server could not do what it should."""

    status = 500
    reason = "failed"


def as_refusal(error: TinyseqError) -> ServeError:
    """What a client is told of an error."""
    if isinstance(error, ServeError):
        return error
    known = isinstance(error, (FeedError, ModelError, StateError))
    return BadRequestError(str(error)) if known else InternalError(str(error))


class Face:
    """What requests to a model may feed and get, and what is counted of them. ``whole`` is of requests that
    stand alone, which may leave out what carries state; ``chunk`` of those of a sequence."""

    def __init__(self, served: ServedModel) -> None:
        session = served.model
        carried = {pair.input for pair in session.state}
        self.whole = {value.name: value for value in session.inputs}
        self.carried = carried & set(self.whole)
        self.whole_outputs = {value.name for value in session.outputs}
        self.chunk = {value.name: value for value in session.stream_inputs if value.name not in carried}
        self.chunk_outputs = {value.name for value in session.stream_outputs}
        self.statistics = Statistics()


_LIVE: WeakKeyDictionary[Services, Inference] = WeakKeyDictionary()


class Inference:
    """Answers the requests to one worker, by whatever form they come."""

    @classmethod
    def of(cls, services: Services) -> Inference:
        """The one that a worker has."""
        found = _LIVE.get(services)
        if found is None:
            found = _LIVE[services] = cls(services)
        return found

    def __init__(self, services: Services) -> None:
        self.services = services
        limits = services.config.limits
        self.sequences = Sequences(limits.idle_seconds, limits.chunks_ahead, services.config.workers > 1)
        self._faces: WeakKeyDictionary[ServedModel, Face] = WeakKeyDictionary()
        services.metrics.gauges["sequences"] = "Live sequences", lambda: len(self.sequences)

    def face(self, served: ServedModel) -> Face:
        """What requests to a model may feed and get."""
        found = self._faces.get(served)
        if found is None:
            found = self._faces[served] = Face(served)
        return found

    async def infer(self, request: InferRequest, peer: str) -> InferResponse:
        """Runs a request: by itself from a fresh state, or as the next of its sequence.

        Raises:
            TinyseqError: it is refused; the state of a sequence is as before.
        """
        turn = request.asked.turn
        if turn is not None:
            return await self._next(request, turn, peer)
        served = self.services.models.find(request.model, request.version)
        face = self.face(served)
        _refuse_unknown_outputs(request, face.whole_outputs)
        feeds = fitted(served.name, face.whole, face.carried, request.feeds)
        outputs = await served.infer(feeds, request.asked.seconds)
        return _response(request, served, face, outputs)

    async def _next(self, request: InferRequest, turn: Turn, peer: str) -> InferResponse:
        key = self.sequences.key(request.model, request.version, turn, peer)
        if turn.start:
            served = self.services.models.find(request.model, request.version)
            if served.refusal is not None:
                raise served.refusal
        else:
            sequence = self.sequences.find(key)
            served = sequence.served
        face = self.face(served)
        _refuse_unknown_outputs(request, face.chunk_outputs)
        last = turn.end and not request.feeds
        feeds = None if last else fitted(served.name, face.chunk, (), request.feeds)
        if turn.start:
            sequence = self.sequences.begin(key, served)
        outputs = await self.sequences.step(sequence, turn, feeds, request.asked.seconds)
        return _response(request, served, face, outputs)

    def refused(self, model: str, version: str, begun: int) -> None:
        """Counts a request that was refused."""
        for served in self._of(model, version):
            self.face(served).statistics.refused(begun)

    def _of(self, model: str, version: str) -> list[ServedModel]:
        try:
            return [self.services.models.find(model, version)]
        except ServeError:
            return []

    def model_is_ready(self, model: str, version: str) -> bool:
        """Whether a model takes requests; not of one that is unknown."""
        return not self.services.draining and any(served.ready for served in self._of(model, version))

    def server_metadata(self) -> dict[str, Any]:
        """What the server is."""
        return {"name": "tinyseq", "version": tinyseq.__version__, "extensions": list(EXTENSIONS)}

    def metadata(self, model: str, version: str) -> dict[str, Any]:
        """What a model takes and gives. What carries state is left out: a sequence keeps it, and a request
        by itself may feed it.

        Raises:
            UnknownModelError: there is none of that name and version.
        """
        served = self.services.models.find(model, version)
        face = self.face(served)
        versions = [each.version for each in self.services.models if each.name == served.name]
        return {
            "name": served.name,
            "versions": versions if not version else [served.version],
            "platform": "tinyseq",
            "inputs": declared(self._inputs(face)),
            "outputs": declared(self._outputs(served)),
        }

    def configuration(self, model: str, version: str) -> dict[str, Any]:
        """A model's configuration as Triton writes it. ``max_batch_size`` is 0: shapes are whole.

        Raises:
            UnknownModelError: there is none of that name and version.
        """
        served = self.services.models.find(model, version)
        face = self.face(served)
        limits = self.services.config.limits
        configuration: dict[str, Any] = {
            "name": served.name,
            "platform": "tinyseq",
            "backend": "tinyseq",
            "max_batch_size": 0,
            "input": [_declared(value) for value in self._inputs(face)],
            "output": [_declared(value) for value in self._outputs(served)],
        }
        if served.refusal is None and served.model.state:
            configuration["sequence_batching"] = {
                "max_sequence_idle_microseconds": round(limits.idle_seconds * 1e6),
                "state": [
                    {
                        "input_name": pair.input,
                        "output_name": pair.output,
                        "data_type": f"TYPE_{datatype(value.dtype)}",
                        "dims": shape_of(value),
                    }
                    for pair in served.model.state
                    for value in served.model.stream_inputs
                    if value.name == pair.input
                ],
            }
        configuration["parameters"] = {
            "fingerprint": {"string_value": served.fingerprint},
            "latency": {"string_value": str(served.model.latency)},
        }
        return configuration

    def _inputs(self, face: Face) -> list[Value]:
        return [value for name, value in face.whole.items() if name not in face.carried]

    def _outputs(self, served: ServedModel) -> Iterable[Value]:
        carried = {pair.output for pair in served.model.state}
        others = [value for value in served.model.outputs if value.name not in carried]
        return others or served.model.outputs

    def statistics(self, model: str, version: str) -> list[dict[str, Any]]:
        """What was counted of a model, or of all where no name is given; of this worker.

        Raises:
            UnknownModelError: there is none of that name and version.
        """
        models = self.services.models
        wanted = [models.find(model, version)] if model else list(models)
        return [
            self.face(served).statistics.described(served.name, served.version, served.metrics)
            for served in wanted
        ]

    async def load(self, model: str, parameters: object) -> None:
        """Loads a model anew, as the server is configured.

        Raises:
            TinyseqError: there is no such model, or it cannot be read; what was served is served on.
        """
        self._check_control(parameters)
        await self.services.load(model)

    async def unload(self, model: str, parameters: object) -> None:
        """Serves a model no more; sequences that are live go on.

        Raises:
            ServeError: it is not served, or clients may not unload it.
        """
        self._check_control(parameters)
        self.services.unload(model)

    def _check_control(self, parameters: object) -> None:
        if not self.services.config.control:
            raise ForbiddenError("clients may not load and unload models of this server (server.control)")
        _refuse_overrides(parameters)

    def index(self, ready: bool) -> list[dict[str, Any]]:
        """All models that are served or could be; only those that are where ``ready`` is asked for."""
        return [
            {"name": name, "version": version, "state": "READY" if live else "UNAVAILABLE", "reason": ""}
            for name, version, live in self.services.models.index()
            if live or not ready
        ]


def _refuse_overrides(given: object) -> None:
    """What Triton's clients may send to be loaded instead of what the server has."""
    if not isinstance(given, Mapping):
        raise BadRequestError(f"parameters are named values, not {shown(given)}")
    for name in given:
        if name != "unload_dependents":
            raise BadRequestError(
                f"parameter {shown(name)} is not taken: models are loaded as the server's own configuration "
                "has them, and clients send neither files nor settings"
            )


def fitted(
    model: str, values: Mapping[str, Value], optional: Iterable[str], feeds: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The feeds of a request, found fit for what a model declares.

    Raises:
        BadRequestError: an input is unknown or missing, or is of another type or shape.
    """
    missing = [name for name in values if name not in feeds and name not in optional]
    unknown = [name for name in feeds if name not in values]
    if missing or unknown:
        problems = [f"{shown(name)} is missing" for name in missing]
        problems += [f"{shown(name)} is unknown" for name in unknown]
        takes = ", ".join(map(_said, values.values()))
        raise BadRequestError(f"inputs do not fit model {model}: {', '.join(problems)}; it takes {takes}")
    return {name: _fit(values[name], array) for name, array in feeds.items()}


def _fit(value: Value, array: np.ndarray) -> np.ndarray:
    if array.dtype != value.dtype:
        raise BadRequestError(
            f"input {value.name!r} is {datatype(array.dtype)} and must be {datatype(value.dtype)}; "
            f"it is declared as {_said(value)}"
        )
    shape = value.shape
    if shape is None:
        return array
    if not shape and array.size == 1:
        return array.reshape(())
    if len(shape) != array.ndim or any(
        isinstance(wanted, int) and wanted != size for wanted, size in zip(shape, array.shape)
    ):
        raise BadRequestError(
            f"input {value.name!r} has shape {list(array.shape)}, which is not that of {_said(value)}"
        )
    return array


def _said(value: Value) -> str:
    """A declaration for messages."""
    return f"{value.name} {datatype(value.dtype)}{shape_of(value)}"


def _declared(value: Value) -> dict[str, Any]:
    """A declaration as configurations have it."""
    return {"name": value.name, "data_type": f"TYPE_{datatype(value.dtype)}", "dims": shape_of(value)}


def _refuse_unknown_outputs(request: InferRequest, names: set[str]) -> None:
    for name in request.outputs:
        if name not in names:
            raise BadRequestError(
                f"model {request.model} has no output {shown(name)}; it gives {', '.join(sorted(names))}"
            )


def _response(
    request: InferRequest, served: ServedModel, face: Face, outputs: Mapping[str, np.ndarray]
) -> InferResponse:
    if request.outputs:
        outputs = {name: outputs[name] for name in request.outputs if name in outputs}
    return InferResponse(served.name, served.version, request.id, outputs, face.statistics)
