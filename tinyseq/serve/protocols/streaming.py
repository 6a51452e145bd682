"""The native protocol, as docs/serving.md tells it: a websocket is a live stream, a message is a chunk."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import FeedError, StateError, TinyseqError
from tinyseq.runtime.state import State
from tinyseq.serve.errors import BadRequestError, TokenError
from tinyseq.serve.protocols.tensors import Tensor, array_of, declared, read_tensor, shapes, written
from tinyseq.serve.tokens import Token

if TYPE_CHECKING:
    from tinyseq.serve.connection import Connection
    from tinyseq.serve.services import Services

KIND = "stream"
"""Of tokens."""

SUBPROTOCOL = "tinyseq.v1"
SAME = b"\0\0\0\0"
"""The length of a header that is left out, being that of the message before."""


class Form:
    """How binary chunks are laid out: as their header says, until another one comes."""

    def __init__(self, header: object) -> None:
        if not isinstance(header, dict) or not isinstance(header.get("inputs"), list):
            raise BadRequestError('the header of a chunk is a JSON object with a list "inputs"')
        self.fixed: dict[str, np.ndarray] = {}
        self.places: list[tuple[Tensor, int]] = []
        self.key: Hashable = None
        at = 0
        for given in header["inputs"]:
            tensor = read_tensor(given)
            if "data" in given:
                self.fixed[tensor.name] = array_of(tensor, given["data"])
                continue
            self.places.append((tensor, at))
            at += tensor.size
        self.size = at
        self.single: tuple[str, np.dtype, tuple[int, ...]] | None = None
        if len(self.places) == 1 and self.places[0][0].dtype.itemsize <= 4:
            tensor = self.places[0][0]
            self.single = tensor.name, tensor.dtype, tensor.shape

    def arrays(self, data: bytes, begin: int) -> dict[str, np.ndarray]:
        """The arrays of a chunk, whose numbers begin at some byte."""
        if len(data) - begin != self.size:
            raise BadRequestError(
                f"{len(data) - begin} bytes follow the header of a chunk, which tells of {self.size}"
            )
        if self.single is not None and not begin & 3:
            name, dtype, shape = self.single
            return {name: np.frombuffer(data, dtype, -1, begin).reshape(shape), **self.fixed}
        arrays = {
            tensor.name: np.frombuffer(data[begin + at : begin + at + tensor.size], tensor.dtype).reshape(
                tensor.shape
            )
            for tensor, at in self.places
        }
        return arrays | self.fixed


class StreamHandler:
    """One client's stream."""

    def __init__(self, services: Services, connection: Connection, name: str, version: str | None) -> None:
        self._connection = connection
        self._tokens = services.tokens
        self._limits = services.config.limits
        self.subprotocol = SUBPROTOCOL if SUBPROTOCOL in connection.subprotocols else None
        self._every = _seconds(connection.query.get("state_every"))
        self._model = services.models.find(name, version)
        self._stream = self._model.open_stream()
        self._next_state = monotonic() + self._every if self._every else 0.0
        self._asked = 0
        self._answered = 0
        self._form: Form | None = None
        self._told: Any = None
        self._paused = False
        self._ending = False

    def opened(self) -> None:
        self._ready()

    def _ready(self) -> None:
        model = self._model
        session = model.model
        carried = {pair.input for pair in session.state}
        self._say(
            type="ready",
            model=model.name,
            version=model.version,
            fingerprint=model.fingerprint,
            seq=self._answered,
            inputs=declared([value for value in session.stream_inputs if value.name not in carried]),
            outputs=declared(session.stream_outputs),
            latency=session.latency,
        )

    def received(self, data: bytes | str) -> None:
        if self._ending:
            raise BadRequestError("the stream was declared finished, and nothing follows")
        if isinstance(data, str):
            self._text(data)
            return
        length = int.from_bytes(data[:4], "little")
        form = self._form
        if length or form is None:
            form = self._form = self._header(data, length)
        feeds = form.arrays(data, 4 + length)
        if form.key is None:
            try:
                form.key = self._stream.key(feeds)
            except FeedError as error:
                self._asked += 1
                self._stream.later(error, self._binary_done)
                return
        self._asked += 1
        self._stream.submit(feeds, self._binary_done, form.key)
        if self._stream.waiting >= self._limits.chunks_ahead:
            self._paused = True
            self._connection.pause()

    def _header(self, data: bytes, length: int) -> Form:
        if not 0 < length <= len(data) - 4:
            raise BadRequestError(
                f"a binary chunk begins with the length of its header, here {length}; the first has one"
            )
        return Form(_json(data[4 : 4 + length]))

    def _text(self, text: str) -> None:
        message = _json(text)
        if not isinstance(message, dict):
            raise BadRequestError(f"a message is a JSON object, not {shown(message)}")
        if "inputs" in message and not message.get("finish"):
            self._text_chunk(message)
        elif message.get("state") is True:
            self._stream.snapshot(self._send_state)
        elif "resume" in message:
            self._resume(message["resume"])
        elif message.get("reset") is True:
            self._stream.reset(self._was_reset)
        elif message.get("finish") is True:
            self._finish(message)
        else:
            raise BadRequestError(
                f"a message has inputs, state, resume, reset or finish, not {shown(list(message))}"
            )

    def _text_chunk(self, message: Mapping[str, Any]) -> None:
        self._asked += 1
        try:
            feeds = _arrays(message["inputs"])
            self._stream.submit(feeds, self._text_done)
        except FeedError as error:
            self._stream.later(error, self._text_done)
        if self._stream.waiting >= self._limits.chunks_ahead:
            self._paused = True
            self._connection.pause()

    def _resume(self, token: object) -> None:
        if self._asked or not isinstance(token, str):
            raise BadRequestError("resume comes before all chunks, with a state token as text")
        opened = self._tokens.open(token, KIND, self._model.fingerprint)
        self._asked = self._answered = opened.sequence
        try:
            self._stream.restore(State.from_bytes(opened.state), self._resumed)
        except StateError as error:
            raise TokenError(str(error)) from error

    def _resumed(self, result: object) -> None:
        if isinstance(result, TinyseqError):
            self._connection.close(TokenError.close_code, str(result))
        else:
            self._ready()

    def _was_reset(self, result: object) -> None:
        self._say(type="reset", seq=self._answered)

    def _finish(self, message: Mapping[str, Any]) -> None:
        self._ending = True
        feeds = _arrays(message["inputs"]) if "inputs" in message else None
        self._stream.finish(feeds, self._finished)

    def _finished(self, result: Any) -> None:
        if isinstance(result, TinyseqError):
            self._say(type="error", seq=self._answered, error=str(result))
            self._connection.close(1007, str(result))
            return
        if result:
            self._answered += 1
            self._say_outputs(result)
        self._say(type="finished", seq=self._answered)
        self._stream.close("finished")
        self._connection.close()

    def _binary_done(self, result: Any) -> None:
        self._answered += 1
        if isinstance(result, TinyseqError):
            self._refused(result)
            return
        told = shapes(result)
        if told == self._told:
            self._connection.send(SAME + b"".join([array.tobytes() for array in result.values()]))
        else:
            self._told = told
            outputs = [written(name, array, False) for name, array in result.items()]
            header = json.dumps({"outputs": outputs}, separators=(",", ":")).encode()
            arrays = b"".join([array.tobytes() for array in result.values()])
            self._connection.send(len(header).to_bytes(4, "little") + header + arrays)
        self._after()

    def _text_done(self, result: Any) -> None:
        self._answered += 1
        if isinstance(result, TinyseqError):
            self._refused(result)
            return
        self._say_outputs(result)
        self._after()

    def _say_outputs(self, result: Mapping[str, np.ndarray]) -> None:
        outputs = [written(name, array) for name, array in result.items()]
        self._say(type="outputs", seq=self._answered, outputs=outputs)

    def _refused(self, error: TinyseqError) -> None:
        self._model.metrics.refused_chunks += 1
        self._say(type="error", seq=self._answered, error=str(error))
        self._after()

    def _after(self) -> None:
        """Behind each answer: reads again, and sends a state when it is time."""
        if self._paused and self._stream.waiting <= self._limits.chunks_ahead // 2:
            self._paused = False
            self._connection.resume()
        if self._every and monotonic() >= self._next_state:
            self._next_state = monotonic() + self._every
            self._stream.snapshot(self._send_state, first=True)

    def _send_state(self, state: Any) -> None:
        if isinstance(state, TinyseqError):
            self._say(type="error", seq=self._answered, error=str(state))
            return
        token = Token(KIND, self._model.fingerprint, self._answered, state.to_bytes())
        self._say(type="state", seq=self._answered, token=self._tokens.make(token))

    def _say(self, **message: Any) -> None:
        self._connection.send(_dumped(message))

    def draining(self) -> None:
        def last(state: Any) -> None:
            self._send_state(state)
            self._stream.close("drained")
            self._connection.close(1001, "the server ends; go on with the state token")

        self._stream.snapshot(last)

    def closed(self, code: int) -> None:
        self._stream.close("left" if code in (1000, 1001, 1005) else f"code_{code}")


def make(services: Services, connection: Connection, name: str, version: str | None = None) -> StreamHandler:
    """The handler of ``/v2/models/NAME[/versions/VERSION]/stream``."""
    return StreamHandler(services, connection, name, version)


ROUTES = {r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[^/]+))?/stream": make}


def _arrays(inputs: object) -> dict[str, np.ndarray]:
    if not isinstance(inputs, list):
        raise BadRequestError("inputs are a list of tensors")
    arrays = {}
    for given in inputs:
        tensor = read_tensor(given)
        arrays[tensor.name] = array_of(tensor, given.get("data"))
    return arrays


def _json(data: bytes | str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"a message is no JSON: {error}") from error


def _dumped(message: Mapping[str, Any]) -> str:
    """JSON as its standard has it: numbers that are not finite become null."""
    try:
        return json.dumps(message, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_finite(message), separators=(",", ":"), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _seconds(given: str | None) -> float:
    """How often a state is sent; 0 for never."""
    if given is None:
        return 0.0
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0.01 <= seconds <= 1e6:
        raise BadRequestError(f"state_every is {shown(given)} and must be seconds, from 0.01 to a million")
    return seconds
