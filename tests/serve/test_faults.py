"""What goes wrong with clients: each is refused or ended by a code, and no other stream notices."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.serve.native import Client
from tests.serve.server import serving, wait_until
from tests.serve.test_streams import RATE, SILERO, alone, sound
from tinyseq.serve.frames import _unmasked, short_reason, unmasked

LIMITS = """
[server]
tokens = ["one secret", "another"]
[limits]
guard_ms = 60000
streams = 3
requests = 1
message_bytes = 65536
unsent_bytes = 4096
chunks_ahead = 4
ping_seconds = 0.4
pong_seconds = 0.4
idle_seconds = 3
header_bytes = 4096
request_seconds = 1
connections = 12
"""
SECRET = {"additional_headers": {"Authorization": "Bearer one secret"}}


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A server with small limits."""
    with serving(tmp_path_factory.mktemp("strict"), config=LIMITS) as running:
        yield running


class Raw:
    """A websocket whose frames are written by hand."""

    def __init__(
        self, server, path: str = SILERO, headers: str = "", version: int = 13, buffer: int = 0
    ) -> None:
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.settimeout(20)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n{headers}\r\n".encode()
        )
        self.head = b""
        while not self.head.endswith(b"\r\n\r\n"):
            self.head += self.socket.recv(1)
        self.status = int(self.head.split()[1])

    def frame(self, first: int, payload: bytes, masked: bool = True) -> None:
        """Sends a frame."""
        size = len(payload)
        bit = 128 if masked else 0
        if size < 126:
            head = bytes([first, bit | size])
        elif size < 65536:
            head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
        mask = os.urandom(4) if masked else b""
        body = bytes(b ^ mask[i % 4] for i, b in enumerate(payload)) if masked else payload
        self.socket.sendall(head + mask + body)

    def read(self) -> tuple[int, bytes]:
        """The opcode and the payload of the next frame."""
        head = self._exactly(2)
        size = head[1]
        if size >= 126:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
        return head[0] & 15, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def code(self) -> int:
        """The code by which the server closes, after whatever it says before."""
        while True:
            opcode, payload = self.read()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")


def first_chunk() -> bytes:
    header = json.dumps(
        {
            "inputs": [
                {"name": "input", "datatype": "FP32", "shape": [1, 576]},
                {"name": "sr", "datatype": "INT64", "shape": [], "data": 16000},
            ]
        }
    ).encode()
    return len(header).to_bytes(4, "little") + header + bytes(576 * 4)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(0x82, b"", False)], 1002),
        ([(0xC2, b"1234", True)], 1002),
        ([(0x80, b"nothing to continue", True)], 1002),
        ([(0x02, b"a", True), (0x82, b"b", True)], 1002),
        ([(0x09, b"a ping in parts", True)], 1002),
        ([(0x89, bytes(126), True)], 1002),
        ([(0x83, b"", True)], 1002),
        ([(0x8B, b"", True)], 1002),
        ([(0x81, b"\xff\xfe", True)], 1007),
        ([(0x81, b"no json", True)], 1007),
        ([(0x81, b"[" * 5000, True)], 1007),
        ([(0x81, b"[]", True)], 1007),
        ([(0x81, b"{}", True)], 1007),
        ([(0x81, b'{"inputs": 3}', True)], 1007),
        ([(0x81, b'{"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1]}]}', True)], 1007),
        ([(0x81, b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}]}', True)], 1007),
        ([(0x81, b'{"resume": "no token"}', True)], 1008),
        ([(0x81, b'{"resume": 3}', True)], 1007),
        ([(0x82, b"", True)], 1007),
        ([(0x82, b"\0\0\0\0", True)], 1007),
        ([(0x82, b"\xff\xff\xff\xff{}", True)], 1007),
        ([(0x82, b"\2\0\0\0{}", True)], 1007),
        ([(0x82, first_chunk()[:-1], True)], 1007),
        ([(0x82, first_chunk(), True), (0x82, bytes(11), True)], 1007),
    ],
)
def test_what_is_no_protocol_ends_the_stream_by_its_code(server, frames, code):
    client = Raw(server)
    assert client.status == 101
    for first, payload, masked in frames:
        client.frame(first, payload, masked)
    assert client.code() == code


def test_a_message_in_parts_with_a_ping_between(server, silero):
    client = Raw(server)
    chunk = first_chunk()
    client.frame(0x02, chunk[:100])
    client.frame(0x89, b"there?")
    client.frame(0x00, chunk[100:200])
    client.frame(0x80, chunk[200:])
    said = [client.read() for _ in range(3)]
    assert said[0][0] == 1 and said[1] == (10, b"there?")
    wanted = alone(silero, np.zeros((1, 1, 576), np.float32))[0].tobytes()
    assert said[2][0] == 2 and said[2][1].endswith(wanted)
    client.frame(0x88, (1000).to_bytes(2, "big"))
    assert client.code() == 1000


def test_bytes_one_by_one(server):
    client = Raw(server)
    mask = b"abcd"
    text = b'{"state": true}'
    frame = bytes([0x81, 128 | len(text)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text))
    for byte in frame:
        client.socket.sendall(bytes([byte]))
        time.sleep(0.001)
    assert json.loads(client.read()[1])["type"] == "ready"
    assert json.loads(client.read()[1])["type"] == "state"


@pytest.mark.parametrize(
    ("version", "headers", "status"), [(12, "", 426), (13, "Sec-WebSocket-Key: short\r\n", 400)]
)
def test_what_is_no_handshake(server, version, headers, status):
    assert Raw(server, version=version, headers=headers).status == status


def test_tokens_are_asked_for(strict):
    for headers in (None, {"Authorization": "Bearer other"}, {"Authorization": "Basic one secret"}):
        with pytest.raises(InvalidStatus) as refused:
            Client(strict.url(SILERO, "ws"), additional_headers=headers)
        assert refused.value.response.status_code == 401
    assert strict.get("/metrics")[0] == 401
    assert strict.get("/v2/health/live")[0] == strict.get("/v2/health/ready")[0] == 200
    with Client(strict.url(SILERO, "ws"), RATE, **SECRET) as client:
        assert client.ready["seq"] == 0
    # As browsers do it.
    subprotocols = ["tinyseq.v1", "bearer.another"]
    with Client(strict.url(SILERO, "ws"), RATE, subprotocols=subprotocols) as client:
        assert client.socket.subprotocol == "tinyseq.v1"
    wait_until(lambda: metric(strict, "tinyseq_streams_live") == 0)


def metric(server, name: str, **labels: str) -> float:
    return server.metric(name, SECRET["additional_headers"], **labels)


def test_more_streams_than_there_may_be(strict):
    wait_until(lambda: metric(strict, "tinyseq_streams_live") == 0)
    clients = [Client(strict.url(SILERO, "ws"), RATE, **SECRET) for _ in range(3)]
    with pytest.raises(InvalidStatus) as refused:
        Client(strict.url(SILERO, "ws"), **SECRET)
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"] == "5"
    assert metric(strict, "tinyseq_refused_total", reason="streams") == 1
    clients.pop().socket.close()
    wait_until(lambda: metric(strict, "tinyseq_streams_live") == 2)
    with Client(strict.url(SILERO, "ws"), **SECRET) as last:
        assert last.ready["seq"] == 0
    for client in clients:
        client.socket.close()


def test_a_message_that_is_too_long(strict):
    with Client(strict.url(SILERO, "ws"), RATE, **SECRET) as client:
        client.socket.send(bytes(70_000))
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
        assert closed.value.rcvd.code == 1009
    # In parts that are not too long each.
    raw = Raw(strict, headers="Authorization: Bearer another\r\n")
    raw.frame(0x02, bytes(40_000))
    raw.frame(0x80, bytes(40_000))
    assert raw.code() == 1009


def test_a_client_that_sends_all_at_once_is_read_as_it_is_served(strict, silero):
    chunks = sound(7, 300)
    with Client(strict.url(SILERO, "ws"), RATE, **SECRET) as client:
        sender = threading.Thread(target=lambda: [client.send(input=chunk) for chunk in chunks])
        sender.start()
        time.sleep(0.1)
        got = [client.receive()["output"] for _ in chunks]
        sender.join()
    assert all(map(np.array_equal, got, alone(silero, chunks)))


def test_a_client_that_does_not_read_is_ended(strict):
    wait_until(lambda: metric(strict, "tinyseq_streams_live") == 0)
    raw = Raw(strict, headers="Authorization: Bearer another\r\n", buffer=2048)
    raw.frame(0x82, first_chunk())
    ended = threading.Event()

    def ask() -> None:
        try:
            while True:
                raw.frame(0x81, b'{"state": true}')
        except OSError:
            ended.set()

    sender = threading.Thread(target=ask, daemon=True)
    sender.start()
    wait_until(lambda: metric(strict, "tinyseq_streams_live") == 0)
    wait_until(ended.is_set)
    assert metric(strict, "tinyseq_ended_total", reason="slow") == 1


def test_a_client_that_answers_no_ping_is_gone(strict):
    wait_until(lambda: metric(strict, "tinyseq_streams_live") == 0)
    raw = Raw(strict, headers="Authorization: Bearer another\r\n")
    wait_until(lambda: metric(strict, "tinyseq_streams_live") == 0, 5)
    assert metric(strict, "tinyseq_refused_total", reason="half_open") == 1
    raw.socket.close()


def test_a_client_that_says_nothing_for_long_is_ended(strict):
    with Client(strict.url(SILERO, "ws"), RATE, **SECRET) as client:
        begin = time.monotonic()
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
        assert closed.value.rcvd.code == 1001 and time.monotonic() - begin > 2.5


def test_headers_that_are_too_long(strict):
    assert strict.get("/v2/health/live", {"X": "a" * 5000})[0] == 400
    assert strict.get("/v2/health/live", {"X": "a" * 3000})[0] == 200


def test_a_request_that_does_not_come_whole_is_cut_off(strict):
    begin = time.monotonic()
    for sent in (b"", b"GET / HT", b"POST /v2/health/live HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"):
        with socket.create_connection(("127.0.0.1", strict.port)) as slow:
            slow.settimeout(20)
            slow.sendall(sent)
            while slow.recv(1000):
                pass
    assert 0.5 < time.monotonic() - begin < 20


def test_more_connections_than_there_may_be(strict):
    opened = [socket.create_connection(("127.0.0.1", strict.port)) for _ in range(12)]
    time.sleep(0.1)
    with socket.create_connection(("127.0.0.1", strict.port)) as one_more:
        one_more.settimeout(20)
        assert b" 503 " in one_more.recv(1000)
    for each in opened:
        each.close()
    wait_until(lambda: _answers(strict))


def _answers(server) -> bool:
    try:
        return server.get("/v2/health/live")[0] == 200
    except OSError:
        return False


def test_paths_and_methods(server):
    assert server.get("/nothing")[0] == 404
    assert server.ask("/v2/health/live", b"{}")[0] == 405
    assert b"nothing is at" in server.get("/../../etc/passwd")[1]
    status, answer = server.get("/v2/models")
    assert status == 404 and b"POST /v2/repository/index" in answer


@pytest.mark.parametrize(
    ("reason", "told"),
    [("fits", b"fits"), ("x" * 124, b"x" * 120 + b"..."), ("word " * 30, b"word " * 23 + b"word...")],
    ids=["fits", "one word", "words"],
)
def test_a_reason_for_closing_is_cut_behind_a_word(reason, told):
    assert short_reason(reason) == told and len(told) <= 123


def test_a_token_of_another_secret_or_model(server, models):
    with Client(models.url("/v2/models/framed/stream", "ws")) as other:
        token = other.ask(state=True)["token"]
    for given in (token, token[:-4] + "AAAA", token[:40]):
        raw = Raw(server)
        raw.frame(0x81, json.dumps({"resume": given}).encode())
        assert raw.code() == 1008
    with Client(models.url("/v2/models/late/stream", "ws")) as late:
        late.say(resume=token)
        with pytest.raises(ConnectionClosed) as closed:
            late.receive()
        assert closed.value.rcvd.code == 1008 and "another model" in closed.value.rcvd.reason


def test_nothing_of_this_is_a_traceback(strict, server):
    assert "Traceback" not in server.output() + strict.output()


def test_masks_are_undone_in_any_length():
    draw = np.random.default_rng(0)
    for size in [*range(12), 126, 1023, 4096]:
        mask, payload = draw.bytes(4), draw.bytes(size)
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        for before in (2, 3, 4, 10):
            frame = bytes(before) + mask + masked + b"rest"
            for undo in (_unmasked, unmasked):
                assert undo(frame, before + 4, before + 4 + size) == payload
