"""What importing tinyseq brings along."""

from __future__ import annotations

import subprocess
import sys

LATER = (
    "numba",
    "llvmlite",
    "onnx",
    "onnxruntime",
    "h5py",
    "safetensors",
    "soundfile",
    "soxr",
    "matplotlib",
    "tqdm",
)
"""Packages that only some calls need, or only the build."""


def test_import_is_light():
    command = [sys.executable, "-c", "import sys, tinyseq; print(*sys.modules)"]
    modules = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert "tinyseq.runtime.session" in modules
    assert not set(LATER) & set(modules)
