"""The architecture: which file may import which."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

import tinyseq

PACKAGE = Path(tinyseq.__file__).parent
ROOT = PACKAGE.parent
BESIDE = {"converters": ROOT / "converters", "demo": ROOT / "examples"}
"""Packages of tinyseq whose folders lie beside its own."""

LAYERS = {
    "common.text": "",
    "errors": "common.text",
    "common": "common.text errors",
    "kernels.activations": "",
    "kernels.cells": "",
    "shapes": "kernels.activations kernels.cells",
    "ir": "common.text errors common kernels.cells shapes",
    "kernels.instructions": "",
    "reference": "errors common kernels.activations ir kernels.instructions",
    "passes": "errors kernels.activations shapes ir reference",
    "kernels.llvm.isa": "",
    "kernels.llvm.values": "kernels.instructions kernels.llvm.isa",
    "kernels.llvm.matrix_unit": "kernels.instructions kernels.llvm.values",
    "kernels.llvm.amx": "kernels.llvm.values",
    "kernels.llvm.x86_64": "kernels.llvm.isa kernels.llvm.values kernels.llvm.matrix_unit kernels.llvm.amx",
    "kernels.llvm.aarch64": "kernels.llvm.isa kernels.llvm.values kernels.llvm.matrix_unit",
    "kernels.llvm.architecture": "kernels.llvm.isa kernels.llvm.matrix_unit kernels.llvm.x86_64 "
    "kernels.llvm.aarch64",
    "kernels.fourier": "kernels.instructions",
    "kernels.formats": "kernels.instructions kernels.fourier kernels.llvm.isa kernels.llvm.values "
    "kernels.llvm.architecture",
    "kernels.search.layout": "",
    "kernels.library": "errors kernels.llvm.architecture",
    "kernels.program": "kernels.instructions kernels.library",
    "kernels.call": "kernels.library kernels.program",
    "kernels.team": "errors kernels.library",
    "export.processors": "kernels.llvm.isa kernels.llvm.x86_64 kernels.llvm.aarch64",
    "export.targets": "common.text errors kernels.llvm.isa kernels.llvm.architecture kernels.library "
    "export.processors",
    "export.linker": "errors export.targets",
    "kernels": "errors kernels.activations kernels.cells kernels.instructions "
    "kernels.llvm.isa kernels.llvm.values kernels.llvm.matrix_unit kernels.llvm.architecture "
    "kernels.fourier kernels.formats kernels.search.layout kernels.library kernels.call kernels.team "
    "export.targets export.linker",
    "kernels.cuda": "errors kernels.cells kernels.instructions kernels.llvm.values kernels.formats kernels",
    "kernels.cuda.compiler": "errors common kernels.library kernels.cuda",
    "kernels.cuda.driver": "errors kernels.cuda kernels.cuda.compiler",
    "plan": "errors common kernels.activations kernels.cells shapes ir "
    "kernels.instructions reference kernels.fourier kernels.formats kernels.program",
    "backends": "common.text common errors ir kernels.instructions reference kernels.formats kernels.library "
    "kernels.program kernels.call kernels.team kernels.cuda kernels.cuda.driver plan",
    "converters": "common.text errors common kernels.activations kernels.cells ir",
    "runtime.claim": "errors",
    "runtime.state": "common.text errors common ir",
    "tools.console": "common.text errors common",
    "decode.option_checks": "common.text errors common",
    "decode": "common.text errors common kernels.instructions kernels.search.layout "
    "kernels.program runtime.claim runtime.state decode.option_checks",
    "runtime": "common.text errors common ir passes kernels.program kernels.call plan backends "
    "converters runtime.claim runtime.state",
    "dropin.onnx_backend": "common.text errors common runtime",
    "dropin": "common.text errors common ir backends runtime",
    "speech": "common.text errors common runtime.claim runtime.state decode runtime",
    "decode.generation.steps": "errors ir kernels.program runtime",
    "decode.generation.decoder": "common.text errors common ir kernels.instructions passes decode runtime "
    "decode.generation.steps",
    "decode.generation.generate": "common.text errors common runtime.claim decode.option_checks decode "
    "runtime decode.generation.decoder",
    "decode.transducer.predictor": "ir runtime",
    "decode.transducer.joint": "common.text errors common ir runtime",
    "decode.transducer.models": "common.text errors common ir runtime decode.generation.steps "
    "decode.generation.decoder decode.transducer.predictor decode.transducer.joint",
    "": "errors runtime.state runtime",
    "onnx_backend": "dropin.onnx_backend",
    "onnxruntime": "errors dropin",
    "export": "common.text errors common ir kernels kernels.instructions kernels.llvm.isa "
    "kernels.library export.processors export.targets export.linker plan backends runtime tools.console .",
    "serve": "common.text errors common ir runtime.state runtime decode decode.transducer.models speech "
    "tools.console .",
    "demo": "common.text errors common tools.console speech .",
    "tools": "common.text errors common ir reference passes plan backends converters "
    "runtime.state tools.console decode runtime demo serve export export.targets decode.generation.decoder "
    "decode.generation.generate decode.transducer.models .",
    "__main__": "tools",
}
"""What each module or package may import of tinyseq beside itself, lowest first; "." is the face."""

AT_IMPORT = {
    "kernels": {"numba", "llvmlite", "setuptools"},
    "kernels.llvm.values": {"llvmlite"},
    "kernels.llvm.matrix_unit": {"llvmlite"},
    "kernels.llvm.amx": {"llvmlite"},
    "kernels.cuda": {"numba", "llvmlite"},
    "kernels.cuda.driver": {"cuda"},
    "dropin.onnx_backend": {"onnx"},
}
"""Packages that a layer may import at once, beside NumPy, which all may."""

WHEN_NEEDED = {
    "kernels": {"numba", "llvmlite", "wheel"},
    "kernels.cuda.compiler": {"numba", "cuda"},
    "kernels.cuda.driver": {"cuda"},
    "converters": {"onnx", "safetensors", "h5py"},
    "decode": {"kenlm"},
    "export": {"llvmlite"},
    "ir": {"safetensors"},
    "tools": {"onnxruntime", "tqdm"},
    "serve": {"uvicorn", "prometheus_client", "websockets", "ray"},
    "demo": {"soundfile", "soxr", "matplotlib", "tqdm", "sounddevice", "sacrebleu"},
}
"""Packages that a layer may import inside a function."""

TRAINING = {"train", "network", "export", "archive", "voices", "gru", "augment", "muon"}
"""Modules of a demonstration that only run where its model is made: they import what they like."""


def layer_of(module: str) -> str:
    """The row of ``LAYERS`` that a module of tinyseq belongs to: the longest that fits."""
    fitting = [row for row in LAYERS if row and (module == row or module.startswith(f"{row}."))]
    return max(fitting, key=len, default="")


def modules_of(tree: ast.Module, package: str) -> Iterator[tuple[str, bool]]:
    """Every module that a file of a package imports and whether it does so at once; imports for typing do not
    count."""

    def walk(node: ast.AST, at_once: bool):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, at_once) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                module = resolve_name("." * child.level + (child.module or ""), package)
                yield from (
                    (f"{module}.{alias.name}" if is_module(f"{module}.{alias.name}") else module, at_once)
                    for alias in child.names
                )
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from walk(child, at_once and not inside)

    return walk(tree, True)


def is_module(name: str) -> bool:
    """Whether a dotted name of tinyseq is a module or package."""
    if name.partition(".")[0] != "tinyseq":
        return False
    beside = [package for package in BESIDE if name.startswith(f"tinyseq.{package}.")]
    parts = name.split(".")
    path = BESIDE[beside[0]].joinpath(*parts[2:]) if beside else ROOT.joinpath(*parts)
    return path.is_dir() or path.with_suffix(".py").is_file()


def offences(source: str, module: str, package: str = "tinyseq") -> list[str]:
    """The imports of a module's source, in a package, that the tables do not allow."""
    layer = layer_of(module)
    free = layer == "demo" and module.rpartition(".")[2] in TRAINING
    below = {"" if name == "." else name for name in LAYERS[layer].split()}
    at_once = AT_IMPORT.get(layer, set()) | {"numpy"}
    wrong = []
    for name, now in modules_of(ast.parse(source), package):
        top, _, rest = name.partition(".")
        if top == "tinyseq":
            target = layer_of(rest)
            allowed = target == layer or target in below
        else:
            allowed = free or top in sys.stdlib_module_names or top in at_once
            allowed |= not now and top in WHEN_NEEDED.get(layer, ())
        if not allowed:
            wrong.append(name)
    return wrong


def files() -> dict[str, Path]:
    """Every module of the package, without the leading ``tinyseq``."""
    found = {}
    for prefix, folder in {"": PACKAGE, **BESIDE}.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (prefix, *path.relative_to(folder).with_suffix("").parts)
            found[".".join(part for part in parts if part not in ("", "__init__"))] = path
    return found


def test_each_layer_names_only_lower_ones():
    rows = list(LAYERS)
    for row, below in LAYERS.items():
        for name in below.split():
            assert rows.index("" if name == "." else name) < rows.index(row)


@pytest.mark.parametrize("module", files())
def test_imports_go_down(module):
    path = files()[module]
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    assert offences(path.read_text(), module, f"tinyseq.{package}".rstrip(".")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("shapes", "from tinyseq.ir import ops"),
        ("ir.model", "def late():\n    from tinyseq.runtime.session import load"),
        ("plan.view", "from tinyseq.passes import simplify"),
        ("plan.planner", "from tinyseq.kernels import library"),
        ("runtime.session", "import onnx"),
        ("runtime.session", "def late():\n    import onnx"),
        ("converters.onnx.importer", "import onnx"),
        ("converters.onnx.importer", "from tinyseq.runtime.session import load"),
        ("kernels.library", "import numba"),
        ("ir.format", "import safetensors"),
        ("decode.generation.search", "from tinyseq.ir.model import Model"),
        ("decode.generation.steps", "from tinyseq.plan.rows import SOURCES"),
        ("decode.generation.steps", "from tinyseq.backends import RowRunner"),
        ("decode.transducer.search", "from tinyseq.decode.transducer.models import Transducer"),
        ("demo.vad.run", "from tinyseq.runtime.session import Session"),
        ("demo.vad.run", "import torch"),
        ("newcomer", "import tinyseq.plan.planner"),
    ],
)
def test_a_forbidden_import_is_caught(module, source):
    assert len(offences(source, module)) == 1
