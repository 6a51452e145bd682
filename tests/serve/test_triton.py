"""Triton's own Python clients against the server: everything that they ask, and the model's own bits."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tinyseq
from tests.documents import ROOT, blocks
from tests.serve.clients.chunks import CHUNKS, RATE
from tests.serve.environments import TRITON, environment
from tests.serve.server import serving
from tinyseq.speech.voice_detector import MODEL

pytest.importorskip("grpc", reason="gRPC needs tinyseq[grpc]")

CLIENT = Path(__file__).with_name("clients") / "triton.py"


def free_port() -> int:
    """A port that nobody listens at, for now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, np.ndarray]:
    """What the clients were answered, by way and case; the server has written nothing."""
    python = environment(*TRITON)
    folder = tmp_path_factory.mktemp("triton")
    port = free_port()
    with serving(folder, "--grpc", port) as server:
        command = [python, CLIENT, f"127.0.0.1:{server.port}", f"127.0.0.1:{port}", folder / "found.npz"]
        client = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert client.returncode == 0, client.stderr + server.output()
        assert server.metric("tinyseq_sequences") == 0
        assert server.output() == ""
    return dict(np.load(folder / "found.npz"))


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    """What the model gives: the first chunks from a fresh state, and all of them as one stream."""
    model = tinyseq.load(MODEL)
    fresh = np.zeros((2, 1, 128), np.float32)
    alone = [model.run({"input": chunk, "sr": RATE, "state": fresh}) for chunk in CHUNKS]
    stream = model.stream()
    return {
        "alone": alone[0]["output"],
        "state": alone[0]["stateN"],
        "second": alone[1]["output"],
        "together": np.concatenate([each["output"] for each in alone]),
        "sequence": np.concatenate([stream.step({"input": chunk, "sr": RATE})["output"] for chunk in CHUNKS]),
    }


WANTED = {
    "http": "alone:alone text:alone state:state gzip:state deflate:state later:second reloaded:alone "
    "sequence_42:sequence sequence_forty-two:sequence",
    "http_aio": "alone:alone gzip:alone together:together sequence:sequence",
    "grpc": "alone:alone packed:alone state:state contents:alone later:second reloaded:alone "
    "sequence_42:sequence sequence_forty-two:sequence stream:sequence",
    "grpc_aio": "alone:alone sequence:sequence stream:sequence",
}
"""By client: cases, and what they are to give."""


OVER_SEVERAL = """
import sys, triton
http, grpc = sys.argv[1:]
for _ in range(6):
    for module, address in ((triton.triton_http, http), (triton.triton_grpc, grpc)):
        client = module.InferenceServerClient(address)
        def infer(chunk, **more):
            return client.infer(triton.MODEL, triton.inputs(module, chunk), **more).as_numpy("output")
        outputs = triton.sequence(infer, 1)
        print(outputs.tobytes().hex())
        client.close()
"""


def test_with_several_workers_a_client_of_one_connection_keeps_its_sequence(tmp_path, expected):
    python = environment(*TRITON)
    port = free_port()
    with serving(tmp_path, "--grpc", port, "--workers", 2) as server:
        command = [python, "-c", OVER_SEVERAL, f"127.0.0.1:{server.port}", f"127.0.0.1:{port}"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=CLIENT.parent)
        assert ran.returncode == 0, ran.stderr + server.output()
        assert set(ran.stdout.split()) == {expected["sequence"].tobytes().hex()}


def test_the_code_in_the_documents_runs(tmp_path):
    python = environment(*TRITON)
    page = ROOT / "docs" / "serving-inference.md"
    (code,) = (block.text for block in blocks(page) if block.needs == "tritonclient")
    port = free_port()
    with serving(tmp_path, f"vad={MODEL}", "--grpc", port) as server:
        for way, own in (("http", server.port), ("grpc", port)):
            text = code.replace("tritonclient.http as", f"tritonclient.{way} as")
            text = text.replace("127.0.0.1:8000", f"127.0.0.1:{own}")
            ran = subprocess.run([python, "-c", text], capture_output=True, text=True, timeout=120)
            assert ran.returncode == 0, ran.stderr
        assert server.output() == ""


@pytest.mark.parametrize("way", WANTED)
def test_clients_get_the_bits_of_the_model(way, answers, expected):
    wanted = dict(case.split(":") for case in WANTED[way].split())
    found = {name.partition(".")[2]: array for name, array in answers.items() if name.startswith(f"{way}.")}
    assert found.keys() == wanted.keys()
    for case, what in wanted.items():
        np.testing.assert_array_equal(found[case], expected[what], err_msg=case, strict=True)
