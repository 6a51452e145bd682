"""What the tests of the server share: a server with the package's own voice detector."""

from __future__ import annotations

import pytest

from tests.serve.server import serving

pytest.importorskip("uvicorn", reason="the server needs tinyseq[serve]")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server as it is without any option."""
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running
