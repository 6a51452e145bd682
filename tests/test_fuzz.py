"""Broken and hostile files of every format: a few of each; ``python -m tests.fuzz 10000`` tries more."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNTS = {
    "onnx": 120,
    "tinyseq": 120,
    "nodes": 400,
    "headers": 200,
    "safetensors": 120,
    "npz": 120,
    "pt": 60,
    "pth": 60,
    "keras": 8,
    "h5": 8,
}
"""Files of each format; HDF5 is read by another process, which takes its time."""


@pytest.mark.parametrize("format", COUNTS)
def test_broken_files_end_in_a_result_or_an_error(format):
    command = [sys.executable, "-m", "tests.fuzz", str(COUNTS[format]), "--only", format]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith(f"{format}: ")
