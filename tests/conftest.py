"""What all tests share: this machine's ISAs, real models, and how many examples hypothesis tries."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import assets
from tinyseq.errors import KernelsError
from tinyseq.ir import weights
from tinyseq.kernels import library

weights.LEAST_BYTES = 0
"""All that reads weights meets such as were given up, however small they are."""

settings.register_profile(
    "ci",
    max_examples=20,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile("many", settings.get_profile("ci"), max_examples=10_000, derandomize=False)
settings.load_profile(os.environ.get("TINYSEQ_TEST_PROFILE", "ci"))


def _isas() -> tuple[str, ...]:
    """None without kernels: tests that do without them run all the same."""
    try:
        return library.available()
    except KernelsError:
        return ()


@pytest.fixture(params=_isas())
def isa(request, monkeypatch) -> str:
    """Each ISA that this machine can run; models loaded in the test run on it."""
    monkeypatch.setenv(library.ISA_VARIABLE, request.param)
    return request.param


@pytest.fixture(scope="session")
def asset() -> Callable[[str], Path]:
    """Gives the path of an asset by name. Without it the test is skipped, but fails in CI."""

    def path(name: str) -> Path:
        try:
            return assets.fetch(name)
        except assets.UnavailableError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))

    return path


@pytest.fixture
def heeding() -> Iterator[None]:
    """Processes that the test begins end at Ctrl-C, even where the shell that began it all ignores it.

    What is ignored here is ignored by them; nothing else is passed on.
    """
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)
