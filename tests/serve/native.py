"""A client of the native protocol, written from docs/serving.md with the websockets package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

NAMES = {"float32": "FP32", "int64": "INT64", "int32": "INT32", "bool": "BOOL"}
TYPES = {name: dtype for dtype, name in NAMES.items()}


class Client:
    """A live stream of a server; ``fixed`` are inputs that stay the same."""

    def __init__(self, url: str, fixed: Mapping[str, np.ndarray] | None = None, **options: Any) -> None:
        self._stack = ExitStack()
        self.socket: ClientConnection = self._stack.enter_context(connect(url, compression=None, **options))
        self.ready = json.loads(self.socket.recv(20))
        self._fixed = dict(fixed or {})
        self._header: bytes | None = None
        self._outputs: list[dict[str, Any]] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def send(self, **feeds: np.ndarray) -> None:
        """Sends a chunk in bytes; the header is left out where it is as before."""
        inputs = [told(name, array) for name, array in feeds.items()]
        inputs += [told(name, array) | {"data": array.tolist()} for name, array in self._fixed.items()]
        header = json.dumps({"inputs": inputs}).encode()
        shown, self._header = b"" if header == self._header else header, header
        arrays = b"".join(array.tobytes() for array in feeds.values())
        self.socket.send(len(shown).to_bytes(4, "little") + shown + arrays)

    def receive(self) -> Any:
        """The next answer: outputs of a binary chunk by name, or a message."""
        data = self.socket.recv(30)
        if isinstance(data, str):
            return json.loads(data)
        length = int.from_bytes(data[:4], "little")
        if length:
            self._outputs = json.loads(data[4 : 4 + length])["outputs"]
        arrays, at = {}, 4 + length
        for output in self._outputs:
            dtype = np.dtype(TYPES[output["datatype"]])
            end = at + int(np.prod(output["shape"])) * dtype.itemsize
            arrays[output["name"]] = np.frombuffer(data[at:end], dtype).reshape(output["shape"])
            at = end
        assert at == len(data)
        return arrays

    def step(self, **feeds: np.ndarray) -> Any:
        """Sends a chunk, and gives its answer."""
        self.send(**feeds)
        return self.receive()

    def say(self, **message: Any) -> None:
        """Sends a message of JSON."""
        self.socket.send(json.dumps(message))

    def ask(self, **message: Any) -> Any:
        """Sends a message of JSON, and gives the answer."""
        self.say(**message)
        return self.receive()


def told(name: str, array: np.ndarray) -> dict[str, Any]:
    """What is said of an array."""
    return {"name": name, "datatype": NAMES[array.dtype.name], "shape": list(array.shape)}


def in_json(**feeds: np.ndarray) -> dict[str, Any]:
    """A chunk as JSON."""
    return {"inputs": [told(name, array) | {"data": array.ravel().tolist()} for name, array in feeds.items()]}
