"""What importing tinyseq brings along."""

from __future__ import annotations

import os
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
    "array",
    "dataclasses",
    "pathlib",
    "threading",
)
"""Packages that only some calls need, or only the build."""

OWN = (
    "common",
    "common.files",
    "common.given",
    "common.memory",
    "common.text",
    "errors",
    "backends",
    "ir",
    "ir.effort",
    "ir.format",
    "ir.model",
    "ir.narrow",
    "ir.op",
    "ir.ops",
    "ir.types",
    "ir.weights",
    "passes",
    "passes.prune",
    "passes.simplify",
    "runtime",
    "runtime.claim",
    "runtime.form",
    "runtime.loading",
    "runtime.session",
    "runtime.state",
    "runtime.stream",
)
"""All of tinyseq that importing it brings along, beside its shape rules."""

SHAPES = (
    "common",
    "control",
    "effort",
    "einsum",
    "elementwise",
    "indexing",
    "linear",
    "looks",
    "movement",
    "quantized",
    "recurrent",
    "reduction",
    "signal",
    "windows",
)


def test_import_is_light():
    # Without site, whose own imports would hide those of tinyseq.
    command = [sys.executable, "-S", "-c", "import sys, tinyseq; print(*sys.modules)"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    modules = done.stdout.split()
    assert not set(LATER) & set(modules)
    allowed = {"tinyseq", *(f"tinyseq.{name}" for name in (*OWN, "shapes"))}
    allowed |= {f"tinyseq.shapes.{name}" for name in SHAPES}
    assert {name for name in modules if name.split(".")[0] == "tinyseq"} == allowed
