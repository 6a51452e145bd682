"""Requests for inference by HTTP: what one takes of the server, asked as Triton's client asks."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.measures import Row
from bench.serving.processes import cpu_seconds
from tests.models import lstm_with_state
from tests.serve.server import Server, serving
from tinyseq.runtime.loading import load
from tinyseq.serve.protocols.tensors import NAMES
from tinyseq.speech.voice_detector import MODEL

TOLERANCE = 1e-4
"""By which onnxruntime's outputs may differ."""

ROUNDS, WARM = 20, 200
"""Rounds of requests, which servers take in turn, and requests before them."""

TOGETHER = (1, 8)
"""Connections, each of which waits for its answer."""

LSTM = "lstm"
"""Of 32 units, 10 frames of 16 numbers in a request."""


def request(model: str, feeds: Mapping[str, np.ndarray]) -> bytes:
    """What tritonclient 2.73 sends over a connection that it keeps."""
    inputs = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": NAMES[array.dtype],
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in feeds.items()
    ]
    asked = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    text = json.dumps(asked, separators=(",", ":")).encode()
    body = text + b"".join(array.tobytes() for array in feeds.values())
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nUser-Agent: python/gevent-http-client-2.6.1\r\n"
        f"Inference-Header-Content-Length: {len(text)}\r\nHost: 127.0.0.1\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client:
    """A connection that is kept."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(60)
        self._read = b""

    def send(self, data: bytes) -> None:
        """Sends a request."""
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """The body of an answer that is good.

        Raises:
            ValueError: it is another.
        """
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        if b" 200 " not in lines[0] + b" ":
            raise ValueError(f"a request was answered by {head!r}")
        size = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        while len(self._read) < size:
            self._more()
        body, self._read = self._read[:size], self._read[size:]
        return body

    def _more(self) -> None:
        part = self._socket.recv(1 << 16)
        if not part:
            raise ValueError("the server closed the connection")
        self._read += part

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()


@dataclass
class Taken:
    """What a server took for some requests: CPU of all, and how long each was on its way."""

    cpu: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def ask(self, server: Server, together: int, data: bytes, wanted: bytes, count: int) -> None:
        """Asks so many times by some connections, all of them at one time.

        Raises:
            ValueError: an answer ends with other numbers.
        """
        with ExitStack() as stack:
            clients = [Client(server.port) for _ in range(together)]
            for client in clients:
                stack.callback(client.close)
                client.send(data)
                _check(client.receive(), wanted)
            self._ask(server, clients, data, wanted, count)

    def _ask(self, server: Server, clients: Sequence[Client], data: bytes, wanted: bytes, count: int) -> None:
        before = cpu_seconds(server.process.pid)
        for _ in range(count // len(clients)):
            begin = time.perf_counter()
            for client in clients:
                client.send(data)
            for client in clients:
                _check(client.receive(), wanted)
                self.seconds.append(time.perf_counter() - begin)
        self.cpu += cpu_seconds(server.process.pid) - before


def _check(body: bytes, wanted: bytes) -> None:
    if not body.endswith(wanted):
        raise ValueError(f"an answer is {body!r}")


def unary(programs: Mapping[str, Sequence[str]], count: int, text: str = "") -> Iterator[Row]:
    """Rows of servers that take so many requests of each kind by turns.

    Args:
        programs: what starts them, the yardstick first.
        text: only of kinds whose name has it.

    Raises:
        ValueError: an answer was wrong.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / f"{LSTM}.onnx"
        path.write_bytes(lstm_with_state(features=16, hidden=32))
        servers = {}
        for name, program in programs.items():
            own = folder / name
            own.mkdir()
            models = f"silero_vad={MODEL}", path
            servers[name] = stack.enter_context(serving(own, *models, program=program))
        draw = np.random.default_rng(0)
        sound = draw.uniform(-0.3, 0.3, (1, 576)).astype(np.float32)
        frames = draw.standard_normal((10, 1, 16)).astype(np.float32)
        given = {"silero_vad": {"input": sound, "sr": np.array(16000)}, LSTM: {"x": frames}}
        files = {"silero_vad": MODEL, LSTM: path}
        for model, feeds in given.items():
            for together in TOGETHER:
                case = f"infer {model}, {together} at a time"
                if text in case:
                    yield from _rows(
                        case, servers, request(model, feeds), _outputs(files[model], feeds), together, count
                    )


def _rows(
    case: str, servers: Mapping[str, Server], data: bytes, outputs: bytes, together: int, count: int
) -> Iterator[Row]:
    yardstick = next(iter(servers))
    taken = {name: Taken() for name in servers}
    wanted = {name: _answer(name, case, server, data, outputs) for name, server in servers.items()}
    for name, server in servers.items():
        Taken().ask(server, together, data, wanted[name], WARM)
    for _ in range(ROUNDS):
        for name, server in servers.items():
            taken[name].ask(server, together, data, wanted[name], count // ROUNDS)
    figures = {
        name: {
            "CPU us a request": own.cpu / len(own.seconds) * 1e6,
            "p50 ms": float(np.percentile(own.seconds, 50)) * 1000,
            "p99 ms": float(np.percentile(own.seconds, 99)) * 1000,
        }
        for name, own in taken.items()
    }
    for name, found in figures.items():
        for unit, value in found.items():
            yield Row(case, name, value, unit, figures[yardstick][unit] / value)


def _answer(name: str, case: str, server: Server, data: bytes, outputs: bytes) -> bytes:
    """How a server's answers end: with outputs that are those of a run.

    Raises:
        ValueError: they are others.
    """
    client = Client(server.port)
    client.send(data)
    given = client.receive()[-len(outputs) :]
    client.close()
    close = np.allclose(np.frombuffer(given, "<f4"), np.frombuffer(outputs, "<f4"), atol=TOLERANCE)
    if not close or (name == "tinyseq" and given != outputs):
        raise ValueError(f"{name}, {case}: the outputs are not those of a run")
    return given


def _outputs(path: Path, feeds: Mapping[str, np.ndarray]) -> bytes:
    """What a run from a fresh state gives, as it stands in an answer."""
    model = load(path)
    values = {value.name: value for value in model.inputs}
    states = {
        pair.input: np.zeros(
            [size if isinstance(size, int) else 1 for size in values[pair.input].shape or ()], np.float32
        )
        for pair in model.state
    }
    return b"".join(array.tobytes() for array in model.run({**feeds, **states}).values())
