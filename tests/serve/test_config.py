"""The configuration: every key is read or refused by its name; every limit is in the documentation."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

import tinyseq
from tinyseq.serve import Config, Limits, read_config
from tinyseq.serve.config import ModelSource, model_source, read_secret

WHOLE = """
[server]
host = "0.0.0.0"
port = 9000
grpc = 9001
workers = 3
tokens = ["a", "b"]
origins = ["https://app.example.com", "null"]
secret_file = "secret"
certificate = "tls/cert.pem"
key = "/tls/key.pem"
repository = "models"
control = false
watch_seconds = 2

[limits]
streams = 10
window_ms = 2

[models]
plain = "a.onnx"

[models.told]
path = "/b"
device = "reference"
state = { h = "hn" }
finite = false
threads = 2

[speech.live]
kind = "voice"
"""


def test_a_whole_file(tmp_path):
    tmp_path.joinpath("secret").write_text("0123456789abcdef\n")
    path = tmp_path / "serve.toml"
    path.write_text(WHOLE)
    config = read_config(path)
    assert (config.host, config.port, config.grpc, config.workers) == ("0.0.0.0", 9000, 9001, 3)
    assert config.origins == ("https://app.example.com", "null")
    assert config.tokens == ("a", "b") and config.secret == b"0123456789abcdef"
    assert config.certificate == tmp_path / "tls/cert.pem" and config.key == Path("/tls/key.pem")
    assert config.repository == tmp_path / "models" and not config.control and config.watch_seconds == 2.0
    assert config.limits == Limits(streams=10, window_ms=2.0)
    assert config.models == (
        ModelSource("plain", tmp_path / "a.onnx"),
        ModelSource("told", Path("/b"), "reference", state={"h": "hn"}, finite=False, threads=2),
    )
    (live,) = config.speech
    assert (live.name, live.kind, live.folder) == ("live", "voice", tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[other]", "table other is unknown"),
        ("[server]\nprot = 1", "server.prot is unknown"),
        ("[server]\nport = 70000", "server.port is 70000"),
        ("[server]\nport = true", "server.port is True"),
        ('[server]\ntokens = "a"', "server.tokens"),
        ("[server]\ntokens = [1]", "server.tokens"),
        ('[server]\nhost = ""', "server.host"),
        ('[server]\norigins = "*"', "server.origins"),
        ('[server]\norigins = ["app.example.com"]', "server.origins: 'app.example.com' is no origin"),
        ('[server]\norigins = ["https://app.example.com/"]', "no origin"),
        ("[limits]\nstreams = 0", "limits.streams is 0 and must be a whole number from 1"),
        ("[limits]\nstreams = 1.5", "limits.streams"),
        ("[limits]\nwindow_ms = nan", "limits.window_ms"),
        ("[limits]\nwindows = 1", "limits.windows is unknown; there are streams"),
        ("[models]\nm = 3", "models.m is 3"),
        ("[models.m]\ndevice = 'cpu'", "models.m"),
        ("[models.m]\npath = 'x'\nother = 1", "models.m.other"),
        ("[models]\n'a/b' = 'x'", "name of a model"),
        ("[models.m]\npath = 'x'\nstate = { a = 1 }", "models.m.state.a"),
        ("[models.m]\npath = 'x'\nthreads = 0", "models.m.threads"),
        ("speech = 1", "speech"),
    ],
)
def test_what_is_wrong_is_refused_by_its_key(tmp_path, text, said):
    path = tmp_path / "serve.toml"
    path.write_text(text)
    with pytest.raises(tinyseq.errors.OptionError, match=r"^[^\n]*$") as refused:
        read_config(path)
    assert said in str(refused.value)


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "serve.toml"
    for text in ("[server]\nsecret_file = 'nothing'", "[server"):
        path.write_text(text)
        with pytest.raises(tinyseq.errors.ModelError, match="cannot read"):
            read_config(path)
    with pytest.raises(tinyseq.errors.ModelError, match="No such file"):
        read_config(tmp_path / "none.toml")


def test_a_secret_that_is_too_short(tmp_path):
    path = tmp_path / "secret"
    path.write_text("short")
    with pytest.raises(tinyseq.errors.OptionError, match="16"):
        read_secret(path)


def test_models_that_the_command_names():
    assert model_source(Path("a/b.onnx")) == ModelSource("b", Path("a/b.onnx"))
    assert model_source(Path("m=a/b.onnx")) == ModelSource("m", Path("a/b.onnx"))
    assert model_source(Path("a/folder")) == ModelSource("folder", Path("a/folder"))


def test_every_limit_and_key_is_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    for limit in fields(Limits):
        row = f"| `{limit.name}` | {limit.default:g} | {limit.metadata['text']} |"
        if isinstance(limit.default, int):
            row = f"| `{limit.name}` | {limit.default} | {limit.metadata['text']} |"
        assert row in page, row
    for key in fields(Config):
        name = {"secret": "secret_file"}.get(key.name, key.name)
        assert name in ("models", "speech", "limits", "file") or f"`{name}`" in page, name
