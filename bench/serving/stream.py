"""A live stream over the native websocket that compares what it hears with a lone stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bench.serving.tapes import PATH, Tape, numbers_of
from bench.serving.websocket import PATIENCE, Websocket, connect, frame


class DifferentError(Exception):
    """The server's outputs are not those of a lone stream."""


class LiveStream:
    """Plays a tape from the place where its token was made, or from the beginning.

    ``sent`` and ``heard`` are places in the tape: of the next chunk to send, and of that whose outputs come
    next.
    """

    def __init__(self, socket: Websocket, tape: Tape, place: int, ready: Mapping[str, Any]) -> None:
        self.socket, self.tape, self.ready = socket, tape, ready
        self.sent = self.heard = place
        self.last_token: str | None = None
        """The latest token that came, asked for or by itself."""
        self._began = False

    @classmethod
    async def open(
        cls,
        port: int,
        tape: Tape,
        token: str | None = None,
        path: str = PATH,
        headers: Mapping[str, str] | None = None,
        answers: bool = True,
    ) -> LiveStream:
        """Connects, and goes on from a state token if there is one.

        Raises:
            RefusedError, ClosedError: as ``connect`` and ``receive`` do.
        """
        socket = await connect(port, path, headers, answers)
        try:
            ready = json.loads(await socket.receive())
            if token is not None:
                socket.send(json.dumps({"resume": token}))
                ready = json.loads(await socket.receive())
        except BaseException:
            socket.abort()
            raise
        return cls(socket, tape, ready["seq"], ready)

    def send(self, count: int = 1) -> None:
        """Sends the next chunks.

        Raises:
            ClosedError: the websocket is closed.
        """
        for _ in range(count):
            if self._began and self.sent:
                self.socket.send_frame(self.tape.frames[self.sent])
            else:
                self.socket.send_frame(frame(self.tape.payload(self.sent, True)))
            self._began = True
            self.sent += 1

    def say(self, **message: Any) -> None:
        """Sends a message of control."""
        self.socket.send(json.dumps(message))

    async def hear(self, seconds: float = PATIENCE) -> dict[str, Any] | None:
        """The next message; None if it is a chunk's outputs, which are then compared.

        Raises:
            DifferentError: they are not a lone stream's.
            ClosedError: the websocket is closed.
        """
        message = await self.socket.receive(seconds)
        if isinstance(message, str):
            told = json.loads(message)
            if told["type"] == "state":
                self.last_token = told["token"]
            return told
        wanted = self.tape.outputs[self.heard]
        found = numbers_of(message)
        if found != wanted:
            raise DifferentError(f"chunk {self.heard} gave {found.hex()}, not {wanted.hex()}")
        self.heard += 1
        return None

    async def hear_all(self) -> None:
        """Hears the outputs of all chunks that were sent; other messages are dropped."""
        while self.heard < self.sent:
            await self.hear()

    async def token(self) -> str:
        """A state token, behind the chunks that were sent."""
        self.say(state=True)
        while True:
            message = await self.hear()
            if message is not None and message["type"] == "state":
                return message["token"]

    async def finish(self) -> None:
        """Ends the stream, and sees to it that all was answered.

        Raises:
            DifferentError: outputs are missing.
        """
        self.say(finish=True)
        while (message := await self.hear()) is None or message["type"] != "finished":
            pass
        if self.heard != self.sent:
            raise DifferentError(f"{self.heard} of {self.sent} chunks were answered")
        code = await self.socket.gone()
        if code != 1000:
            raise DifferentError(f"a finished stream was closed with {code}")
