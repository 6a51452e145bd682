"""Environments of their own for real clients, whose packages need not fit those of tinyseq."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.assets import UnavailableError, cache

TRITON = ("tritonclient[http,grpc]==2.73.0", "safetensors")
"""Triton's clients, and what ``import tinyseq`` needs beside NumPy."""


def environment(*requirements: str) -> Path:
    """The Python of an environment in which packages are installed, ``environment("tritonclient==2.73")``;
    made once and kept in the cache. Where pip cannot have them the test is skipped, but fails in CI."""
    try:
        return made(requirements)
    except UnavailableError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def made(requirements: tuple[str, ...]) -> Path:
    """``environment``, without a test.

    Raises:
        UnavailableError: pip cannot install them.
    """
    what = "\n".join([sys.version, *sorted(requirements)])
    folder = cache() / "environments" / hashlib.sha256(what.encode()).hexdigest()[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, symlinks=True)
            command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
            command += ["install", "--quiet", "--disable-pip-version-check", *requirements]
            pip = subprocess.run(command, capture_output=True, text=True)
            if pip.returncode:
                shutil.rmtree(folder, ignore_errors=True)
                reason = (pip.stderr.strip().splitlines() or ["pip failed"])[-1]
                raise UnavailableError(f"cannot install {' '.join(requirements)}: {reason}")
            (folder / "made").write_text(what)
    return folder / "bin" / "python"
