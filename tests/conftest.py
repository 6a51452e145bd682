"""Fixtures that several test modules use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import assets


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
