"""The real clients of sherpa-onnx, vosk and OpenAI, unchanged, each in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.serve import telegraph
from tests.serve.environments import environment
from tests.serve.server import serving
from tests.serve.telegraph import pcm, sound

pytest.importorskip("uvicorn", reason="the server needs tinyseq[serve]")

CLIENTS = Path(__file__).parent / "clients"
WORDS, MORE = "bad cafe deed", "fed head"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    telegraph.write(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder, config=telegraph.TABLE) as running:
        yield running


def said(rate: int = 16_000) -> np.ndarray:
    """Two utterances."""
    return np.concatenate([sound(WORDS, rate, silence=0.8), sound(MORE, rate)])


def told(python: Path, *arguments: object) -> dict:
    done = subprocess.run([python, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_sherpa_onnx(server, tmp_path):
    python = environment("sherpa-onnx-bin==2.0.1")
    soundfile.write(tmp_path / "said.wav", said(), 16_000, "PCM_16")
    program = python.parent / "sherpa-onnx-online-websocket-client"
    options = ["--server-ip=127.0.0.1", f"--server-port={server.port}", "--seconds-per-message=0.01"]
    command = [program, *options, "--samples-per-message=1600", tmp_path / "said.wav"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 0, lines
    answers = [json.loads(line[line.index("{") :]) for line in lines if '"segment"' in line]
    finals = [answer for answer in answers if answer["is_final"]]
    assert [final["text"] for final in finals] == [WORDS, MORE] and finals[-1]["is_eof"]
    assert len(answers) > len(finals) and any("Done!" in line for line in lines)


def test_vosk(server, tmp_path):
    python = environment("vosk==0.3.45")
    (tmp_path / "said.raw").write_bytes(pcm(said()))
    found = told(python, CLIENTS / "vosk_transcriber.py", server.url("", "ws"), tmp_path / "said.raw")
    assert [result["text"] for result in found["results"]] == [WORDS, MORE]
    assert found["bytes"] == (tmp_path / "said.raw").stat().st_size
    assert found["text"].split("\n") == [WORDS, MORE, ""]
    assert "00:00:00,000 --> 00:00:01" in found["subtitles"] and WORDS in found["subtitles"]


def test_openai(server, tmp_path):
    python = environment("openai[realtime]==3.57")
    (tmp_path / "said.raw").write_bytes(pcm(said(24_000)))
    base = server.url("/v1")
    found = told(python, CLIENTS / "openai_realtime.py", base, "any", tmp_path / "said.raw")
    assert found["transcript"] == WORDS + MORE == "".join(found["deltas"])
    assert found["seconds"] == pytest.approx(len(said()) / 16_000, abs=0.03)
    kinds = dict(found["kinds"])
    assert kinds["session.created"] == "SessionCreatedEvent"
    assert kinds["session.updated"] == "SessionUpdatedEvent"
    assert kinds["input_audio_buffer.committed"] == "InputAudioBufferCommittedEvent"
    assert "error" not in kinds
