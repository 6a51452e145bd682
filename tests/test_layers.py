"""The architecture: which file may import which."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinyseq

PACKAGE = Path(tinyseq.__file__).parent
ROOT = PACKAGE.parent

LAYERS = {
    "text": "",
    "errors": "text",
    "kernels.activations": "",
    "kernels.cells": "",
    "shapes": "kernels.activations kernels.cells",
    "ops": "shapes",
    "model": "text errors shapes ops",
    "types": "errors ops model",
    "given": "text errors",
    "gates": "text errors kernels.cells given",
    "graph": "text errors ops model types given gates",
    "feeds": "text errors model given",
    "precision": "errors",
    "memory": "",
    "files": "errors memory",
    "format": "errors shapes ops model types given files",
    "state": "text errors given format",
    "effort": "errors shapes model gates",
    "kernels.instructions": "",
    "reference": "errors kernels.activations ops model memory effort kernels.instructions",
    "streaming": "errors model",
    "passes": "errors kernels.activations shapes ops model precision effort reference streaming",
    "kernels.isa": "",
    "kernels.layout": "",
    "kernels.library": "errors kernels.isa",
    "kernels.program": "kernels.instructions kernels.library",
    "kernels": "errors kernels.activations kernels.cells kernels.instructions kernels.isa "
    "kernels.layout kernels.library",
    "kernels.cuda": "errors kernels.cells kernels.instructions kernels",
    "kernels.cuda.compiler": "errors files kernels.library kernels.cuda",
    "kernels.cuda.driver": "errors kernels.cuda kernels.cuda.compiler",
    "plan": "errors kernels.activations kernels.cells shapes ops model memory effort "
    "kernels.instructions reference kernels.program",
    "backends": "text errors model feeds kernels.instructions reference kernels.library "
    "kernels.cuda kernels.cuda.driver plan",
    "converters": "text errors kernels.activations ops model types given gates graph "
    "precision memory files format",
    "claim": "errors",
    "row_by_row": "errors model plan backends",
    "pool": "text errors model given state plan backends claim row_by_row",
    "console": "text errors given memory files",
    "decode.option_checks": "text errors given",
    "decode": "text errors given files state kernels.instructions kernels.layout "
    "kernels.program claim decode.option_checks",
    "session": "text errors model given graph format state passes backends converters claim pool",
    "inference_session": "text errors model given session",
    "together": "errors model feeds pool session",
    "check": "errors model memory reference session",
    "stream_check": "text errors model given feeds state streaming session check",
    "cost": "errors model feeds effort reference passes plan",
    "inspection": "errors model session cost",
    "": "errors state session",
    "export": "text errors model given feeds kernels kernels.instructions kernels.isa kernels.library plan "
    "backends pool console session streaming .",
    "onnx_backend": "text errors given session",
    "packages": "errors",
    "speech": "text errors given state claim decode session together packages",
    "demo": "errors files console packages speech",
    "decode.command": "text errors console decode",
    "decode.frames_command": "errors console decode",
    "rows": "model kernels.program plan",
    "decode.generation.steps": "errors model kernels.program rows",
    "decode.generation.decoder": "text errors model given feeds kernels.instructions passes decode session "
    "rows decode.generation.steps",
    "decode.generation.generate": "text errors given claim decode.option_checks decode session "
    "decode.generation.decoder",
    "decode.transducer.predictor": "ops model session",
    "decode.transducer.models": "text errors model given session rows decode.generation.steps "
    "decode.generation.decoder decode.transducer.predictor",
    "cli": "text errors model feeds files reference backends converters console "
    "decode session check stream_check inspection export . demo decode.command "
    "decode.frames_command decode.generation.decoder "
    "decode.generation.generate decode.transducer.models",
}
"""What each module or package may import of tinyseq beside itself, lowest first; "." is the face."""

AT_IMPORT = {
    "kernels": {"numba", "llvmlite", "setuptools"},
    "kernels.cuda": {"numba", "llvmlite"},
    "kernels.cuda.driver": {"cuda"},
    "onnx_backend": {"onnx"},
}
"""Packages that a layer may import at once, beside NumPy, which all may."""

WHEN_NEEDED = {
    "kernels": {"numba", "llvmlite"},
    "kernels.cuda.compiler": {"numba", "cuda"},
    "kernels.cuda.driver": {"cuda"},
    "converters": {"onnx", "safetensors", "h5py"},
    "decode": {"kenlm"},
    "export": {"llvmlite"},
    "format": {"safetensors"},
    "check": {"onnxruntime"},
    "cli": {"tqdm"},
    "demo": {"soundfile", "soxr", "matplotlib", "tqdm"},
}
"""Packages that a layer may import inside a function."""


def layer_of(module: str) -> str:
    """The row of ``LAYERS`` that a module of tinyseq belongs to: the longest that fits."""
    fitting = [row for row in LAYERS if row and (module == row or module.startswith(f"{row}."))]
    return max(fitting, key=len, default="")


def modules_of(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Every module that a file imports and whether it does so at once; imports for typing do not count."""

    def walk(node: ast.AST, at_once: bool):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, at_once) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from (
                    (
                        f"{child.module}.{alias.name}"
                        if is_module(f"{child.module}.{alias.name}")
                        else child.module,
                        at_once,
                    )
                    for alias in child.names
                )
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from walk(child, at_once and not inside)

    return walk(tree, True)


def is_module(name: str) -> bool:
    """Whether a dotted name of tinyseq is a module or package."""
    if name.startswith("tinyseq.converters."):
        name = name.removeprefix("tinyseq.")
    path = ROOT.joinpath(*name.split("."))
    return name.partition(".")[0] in ("tinyseq", "converters") and (
        path.is_dir() or path.with_suffix(".py").is_file()
    )


def offences(source: str, module: str) -> list[str]:
    """The imports of a module's source that the tables do not allow."""
    layer = layer_of(module)
    below = {"" if name == "." else name for name in LAYERS[layer].split()}
    at_once = AT_IMPORT.get(layer, set()) | {"numpy"}
    wrong = []
    for name, now in modules_of(ast.parse(source)):
        top, _, rest = name.partition(".")
        if top == "tinyseq":
            target = layer_of(rest)
            allowed = target == layer or target in below
        else:
            allowed = top in sys.stdlib_module_names or top in at_once
            allowed |= not now and top in WHEN_NEEDED.get(layer, ())
        if not allowed:
            wrong.append(name)
    return wrong


def files() -> dict[str, Path]:
    """Every module of the package, without the leading ``tinyseq``."""
    found = {}
    for folder, prefix in ((PACKAGE, ()), (ROOT / "converters", ("converters",))):
        for path in sorted(folder.rglob("*.py")):
            parts = (*prefix, *path.relative_to(folder).with_suffix("").parts)
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


def test_each_layer_names_only_lower_ones():
    rows = list(LAYERS)
    for row, below in LAYERS.items():
        for name in below.split():
            assert rows.index("" if name == "." else name) < rows.index(row)


@pytest.mark.parametrize("module", files())
def test_imports_go_down(module):
    assert offences(files()[module].read_text(), module) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("shapes", "from tinyseq import ops"),
        ("model", "def late():\n    from tinyseq.session import load"),
        ("plan.view", "from tinyseq.passes import simplify"),
        ("plan.planner", "from tinyseq.kernels import library"),
        ("session", "import onnx"),
        ("session", "def late():\n    import onnx"),
        ("converters.onnx", "import onnx"),
        ("converters.onnx", "from tinyseq.session import load"),
        ("kernels.library", "import numba"),
        ("format", "import safetensors"),
        ("decode.generation.search", "from tinyseq.model import Model"),
        ("decode.generation.steps", "from tinyseq.plan.rows import SOURCES"),
        ("decode.generation.steps", "from tinyseq.backends import RowRunner"),
        ("decode.transducer.search", "from tinyseq.decode.transducer.models import Transducer"),
        ("newcomer", "import tinyseq.plan.planner"),
    ],
)
def test_a_forbidden_import_is_caught(module, source):
    assert len(offences(source, module)) == 1
