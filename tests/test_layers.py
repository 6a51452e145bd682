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
    "errors": "",
    "shapes": "",
    "ops": "shapes",
    "model": "errors shapes ops",
    "types": "errors ops model",
    "gates": "errors",
    "graph": "errors gates ops model types",
    "feeds": "errors model",
    "precision": "errors",
    "state": "errors",
    "reference": "errors ops model",
    "format": "errors ops model types",
    "streaming": "errors model",
    "passes": "errors shapes ops model precision reference streaming",
    "kernels.instructions": "",
    "kernels.isa": "",
    "kernels.layout": "",
    "kernels.library": "errors kernels.isa",
    "kernels.program": "kernels.instructions kernels.library",
    "kernels": "errors kernels.instructions kernels.isa kernels.layout kernels.library",
    "kernels.cuda": "errors kernels kernels.instructions",
    "kernels.cuda.compiler": "errors kernels kernels.cuda kernels.library",
    "kernels.cuda.driver": "errors kernels.cuda kernels.cuda.compiler",
    "plan": "errors shapes ops model reference kernels.instructions kernels.program",
    "backends": "errors model streaming feeds reference kernels.instructions kernels.library kernels.cuda "
    "kernels.cuda.driver plan",
    "converters": "errors gates ops model types format precision graph",
    "pool": "errors model state streaming plan backends",
    "decode": "errors state kernels.instructions kernels.layout kernels.program",
    "decode.steps": "errors model plan backends kernels.program",
    "session": "errors model graph state format passes backends converters pool",
    "decode.decoder": "errors model feeds kernels.instructions passes plan decode decode.steps session",
    "decode.generate": "errors decode decode.decoder session",
    "decode.predictor": "errors ops model session",
    "decode.transducer_model": "errors model plan decode decode.steps decode.decoder decode.predictor "
    "session",
    "inference_session": "errors model session",
    "together": "errors model pool session",
    "packages": "errors",
    "speech": "errors state decode session together packages",
    "check": "errors model reference session",
    "stream_check": "errors model state streaming session check",
    "cost": "errors feeds gates model passes plan reference",
    "inspection": "cost errors model session",
    "": "errors graph state session inference_session decode decode.decoder decode.generate "
    "decode.transducer_model speech",
    "onnx_backend": "errors session",
    "demo": "errors packages speech .",
    "cli": "backends errors feeds model reference converters session check stream_check inspection decode "
    "decode.decoder decode.generate decode.transducer_model demo .",
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
    "format": {"safetensors"},
    "state": {"safetensors"},
    "check": {"onnxruntime"},
    "cli": {"tqdm"},
    "demo": {"soundfile", "matplotlib", "tqdm"},
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
        ("decode.search", "from tinyseq.model import Model"),
        ("newcomer", "import tinyseq.plan.planner"),
    ],
)
def test_a_forbidden_import_is_caught(module, source):
    assert len(offences(source, module)) == 1
