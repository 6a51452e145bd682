"""The native protocol, as docs/serving.md tells it: a websocket is a live stream, a message is a chunk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import FeedError, StateError, TinyseqError
from tinyseq.runtime.state import State
from tinyseq.serve.connection import ended_reason
from tinyseq.serve.errors import BadRequestError, TokenError, TooLargeError
from tinyseq.serve.kinds import Kind, Layout, Place
from tinyseq.serve.protocols.tensors import array_of, declared, read_tensor, written
from tinyseq.serve.tokens import Token

if TYPE_CHECKING:
    from tinyseq.serve.connection import Connection
    from tinyseq.serve.services import Services

KIND = "stream"
"""Of tokens."""

SUBPROTOCOL = "tinyseq.v1"
SAME = b"\0\0\0\0"
"""The length of a header that is left out, being that of the message before."""


def layout_of(header: object) -> Layout:
    """How the header of a binary chunk says that its arrays lie.

    Raises:
        BadRequestError: it does not say it.
    """
    if not isinstance(header, dict) or not isinstance(header.get("inputs"), list):
        raise BadRequestError('the header of a chunk is a JSON object with a list "inputs"')
    fixed: dict[str, np.ndarray] = {}
    places: list[Place] = []
    at = 0
    for given in header["inputs"]:
        tensor = read_tensor(given)
        if "data" in given:
            fixed[tensor.name] = array_of(tensor, given["data"])
        else:
            places.append(Place(tensor.name, tensor.dtype, tensor.shape, at, at + tensor.size))
            at += tensor.size
    names = [*fixed, *(place.name for place in places)]
    if len(set(names)) != len(names):
        raise BadRequestError(f"the header of a chunk names an input twice: {shown(names)}")
    return Layout(places, fixed)


class StreamHandler:
    """One client's stream."""

    def __init__(self, services: Services, connection: Connection, name: str, version: str | None) -> None:
        self._connection = connection
        self._tokens = services.tokens
        self._ahead = services.config.limits.chunks_ahead
        self._longest = services.config.limits.message_bytes
        self.subprotocol = SUBPROTOCOL if SUBPROTOCOL in connection.subprotocols else None
        self._every = _seconds(connection.query.get("state_every"))
        self._model = services.models.find(name, version)
        self._stream = self._model.open_stream()
        self._stream.told_to_end = self.draining
        self._submit, self._done = self._stream.submit_packed, self._binary_done
        self._send = connection.send
        self._next_state = monotonic() + self._every if self._every else 0.0
        self._asked = 0
        self._answered = 0
        self._layout: Layout | None = None
        self._kind: Kind | None = None
        self._told: Any = None
        self._paused = False
        self._ending = False

    def opened(self) -> None:
        self._connection.allow(self._model.token_bytes)
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
            if self._stream.waiting >= self._ahead:
                self._hold()
            return
        if data.startswith(SAME) and self._layout is not None:
            chunk = data[4:]
        else:
            length = int.from_bytes(data[:4], "little")
            self._layout = self._header(data, length)
            self._kind = None
            chunk = data[4 + length :]
        if len(chunk) != self._layout.size:
            raise BadRequestError(
                f"{len(chunk)} bytes follow the header of a chunk, which tells of {self._layout.size}"
            )
        self._asked += 1
        kind = self._kind
        if kind is None:
            kind = self._kind = self._found_kind(self._layout, chunk)
            if kind is None:
                return
        if self._submit(kind, chunk, self._done, len(chunk)) >= self._ahead:
            self._hold()

    def _found_kind(self, layout: Layout, chunk: bytes) -> Kind | None:
        """What chunks that are laid out so have in common; None where that must be seen for each, or they are
        refused, and this one has been dealt with."""
        kind = None
        try:
            kind = self._stream.kind(layout)
            if kind is None:
                self._stream.submit(layout.arrays(chunk), self._done)
        except FeedError as error:
            self._stream.later(error, self._done)
        if kind is None and self._stream.waiting >= self._ahead:
            self._hold()
        return kind

    def _hold(self) -> None:
        """Reads no more until some messages are answered."""
        self._paused = True
        self._connection.pause()

    def _header(self, data: bytes, length: int) -> Layout:
        if not 0 < length <= len(data) - 4:
            raise BadRequestError(
                f"a binary chunk begins with the length of its header, here {length}; the first has one"
            )
        self._begun()
        self._check_size(data)
        return layout_of(_json(data[4 : 4 + length]))

    def _text(self, text: str) -> None:
        message = _json(text)
        if not isinstance(message, dict):
            raise BadRequestError(f"a message is a JSON object, not {shown(message)}")
        if "resume" not in message:
            self._check_size(text)
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

    def _begun(self) -> None:
        """Nothing resumes the stream from now on, and messages are as short as the limit."""
        if not self._asked:
            self._connection.allow(0)

    def _check_size(self, data: bytes | str) -> None:
        """Only what resumes a stream may be as long as its state."""
        if len(data) > self._longest:
            raise TooLargeError(f"a message has {self._longest} bytes at the most (limits.message_bytes)")

    def _text_chunk(self, message: Mapping[str, Any]) -> None:
        self._begun()
        self._asked += 1
        try:
            feeds = _arrays(message["inputs"])
            self._stream.submit(feeds, self._text_done)
        except FeedError as error:
            self._stream.later(error, self._text_done)

    def _resume(self, token: object) -> None:
        if self._asked or not isinstance(token, str):
            raise BadRequestError("resume comes before all chunks, with a state token as text")
        opened = self._tokens.open(token, KIND, self._model.fingerprint)
        self._begun()
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
            self._go_on()

    def _was_reset(self, result: object) -> None:
        self._say(type="reset", seq=self._answered)
        self._go_on()

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
        told = result.shapes
        if told is self._told or told == self._told:
            self._send(SAME + result.to_bytes())
        else:
            outputs = [written(name, array, False) for name, array in result.items()]
            header = json.dumps({"outputs": outputs}, separators=(",", ":")).encode()
            self._connection.send(len(header).to_bytes(4, "little") + header + result.to_bytes())
        self._told = told
        if self._paused or self._every:
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
        """Behind each answer to a chunk: reads again, and sends a state when it is time."""
        self._go_on()
        if self._every and monotonic() >= self._next_state:
            self._next_state = monotonic() + self._every
            self._stream.snapshot(self._send_state, first=True)

    def _go_on(self) -> None:
        """Reads again when few messages wait."""
        if self._paused and self._stream.waiting <= self._ahead // 2:
            self._paused = False
            self._connection.resume()

    def _send_state(self, state: Any) -> None:
        self._go_on()
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
            self._connection.close(1001, "go on elsewhere with the state token")

        self._stream.snapshot(last)

    def closed(self, code: int) -> None:
        self._stream.close(ended_reason(code))


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
