"""What the tests of the server share: a server of the package's voice detector, one of small models."""

from __future__ import annotations

import pytest

import tinyseq
from tests.serve import small
from tests.serve.server import serving
from tinyseq.speech.voice_detector import MODEL

for name in ("uvicorn", "httptools", "prometheus_client", "websockets"):
    pytest.importorskip(name, reason="the server needs tinyseq[serve]")


PATIENT = "limits.guard_ms = 60000"
"""The machine of tests is as busy as it likes."""


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server as it is without a model."""
    with serving(tmp_path_factory.mktemp("server"), config=PATIENT) as running:
        yield running


@pytest.fixture(scope="session")
def silero():
    """What that server serves."""
    return tinyseq.load(MODEL)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A server of a folder of small models."""
    folder = tmp_path_factory.mktemp("models")
    small.save_all(folder / "repository")
    with serving(folder, "--repository", folder / "repository", config=PATIENT) as running:
        yield running
