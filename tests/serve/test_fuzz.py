"""Damaged conversations: the native protocol answers, or closes by a code, and nothing is left of it."""

from __future__ import annotations

import json
import os
import socket

import numpy as np

from tests.serve.server import wait_until
from tests.serve.test_faults import Raw, first_chunk
from tests.serve.test_streams import SILERO

CONVERSATIONS = int(os.environ.get("TINYSEQ_SERVE_FUZZ", "150"))
CODES = {1000, 1001, 1002, 1005, 1007, 1008, 1009}
TEXTS = [
    b'{"state": true}',
    b'{"reset": true}',
    b'{"finish": true}',
    b'{"resume": "AXcA"}',
    b'{"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]},'
    b' {"name": "sr", "datatype": "INT64", "shape": [], "data": 16000}]}',
    b'{"inputs": [], "finish": true}',
]


def damaged(draw: np.random.Generator, data: bytes) -> bytes:
    """Some bytes changed, cut out or doubled; or none."""
    data = bytearray(data)
    for _ in range(draw.integers(0, 4)):
        if not data:
            break
        at = int(draw.integers(len(data)))
        what = draw.integers(4)
        if what == 0:
            data[at] = int(draw.integers(256))
        elif what == 1:
            del data[at : at + int(draw.integers(1, 40))]
        elif what == 2:
            data[at:at] = data[at : at + int(draw.integers(1, 40))]
        else:
            data[at:at] = draw.choice([b"[" * 2000, b"1e999", b"NaN", b'"', b"\0", b"\xff", b"-1", b"{}"])
    return bytes(data)


def messages(draw: np.random.Generator) -> list[tuple[int, bytes]]:
    """What a client says, in frames."""
    said = []
    for _ in range(draw.integers(1, 6)):
        if draw.integers(2):
            said.append((0x82, damaged(draw, draw.choice([first_chunk(), bytes(4) + bytes(2304)]))))
        else:
            said.append((0x81, damaged(draw, TEXTS[draw.integers(len(TEXTS))])))
        if not draw.integers(6):
            said[-1] = int(draw.integers(256)), said[-1][1][:200]
    return said


def test_damaged_conversations(server):
    for number in range(CONVERSATIONS):
        draw = np.random.default_rng(number)
        client = Raw(server)
        said = messages(draw)
        try:
            for first, payload in said:
                client.frame(first, payload)
            if draw.integers(2):
                client.socket.shutdown(socket.SHUT_WR)
            else:
                client.frame(0x88, (1000).to_bytes(2, "big"))
            assert client.code() in CODES, number
        except TimeoutError:
            raise
        except (EOFError, OSError):
            pass
        client.socket.close()
    wait_until(lambda: server.metric("tinyseq_streams_live") == 0 == server.metric("tinyseq_connections"))
    assert server.metric("tinyseq_queued_bytes") == 0
    assert "Traceback" not in server.output(), server.output()
    client = Raw(server)
    client.frame(0x82, first_chunk())
    assert json.loads(client.read()[1])["type"] == "ready"
    assert client.read()[0] == 2


def test_damaged_handshakes(server):
    request = (
        f"GET {SILERO} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    ).encode()
    for number in range(CONVERSATIONS):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.settimeout(20)
            try:
                client.sendall(damaged(np.random.default_rng(number), request))
                client.shutdown(socket.SHUT_WR)
                answer = client.recv(100)
            except ConnectionError:
                continue
            status = int(answer.split()[1]) if answer else 400
            assert status in (101, 400, 404, 405, 426), (number, answer)
    wait_until(lambda: server.metric("tinyseq_connections") == 0)
    assert "Traceback" not in server.output(), server.output()
