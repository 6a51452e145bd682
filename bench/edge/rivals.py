"""Who makes code of a model: shared libraries that offer ``void bench_step(const float *x, float *y)``."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import tinyseq
from bench.edge.models import Case
from tinyseq.export import CLibrary, c_library

OWN = """#include "{name}.h"
static {name}_state state;
static {name}_scratch scratch;
static int begun;
void bench_step(const float *x, float *y) {{
    if (!begun) {name}_reset(&state), begun = 1;
    {name}_step(&state, &scratch, x, y);
}}
"""

ONCE = """
int main(void) {{
    static float x[{given}], y[{taken}];
    bench_step(x, y);
    return y[0] != y[0];
}}
"""

RTNEURAL = """#define EIGEN_STACK_ALLOCATION_LIMIT 0
#include <RTNeural/RTNeural.h>
using Rows = std::vector<std::vector<float>>;
static const float w[{units}][{width}] = {w}, r[{units}][{width}] = {r}, b[{both}][{width}] = {b};
static Rows rows(const float (*table)[{width}], int count) {{
    Rows found;
    for (int i = 0; i < count; i++) found.emplace_back(table[i], table[i] + {width});
    return found;
}}
struct Net {{
    RTNeural::ModelT<float, {units}, {units}, RTNeural::{layer}LayerT<float, {units}, {units}>> model;
    Net() {{
        auto &layer = model.get<0>();
        layer.setWVals(rows(w, {units}));
        layer.setUVals(rows(r, {units}));
        layer.setBVals({biases});
        model.reset();
    }}
}};
extern "C" void bench_step(const float *x, float *y) {{
    static Net net;
    net.model.forward(x);
    for (int i = 0; i < {units}; i++) y[i] = net.model.getOutputs()[i];
}}
"""

ONNX2C = """
void bench_step(const float *x, float *y) {{
    entry((const float (*)[1][{units}])x, (float (*)[1][1][{units}])y);
}}
"""

GATES = {"LSTM": (0, 2, 3, 1), "GRU": (0, 1, 2)}
"""Where ONNX has the gates that RTNeural takes: i, f, c and o; z, r and h."""

RTNEURAL_FLAGS = "-std=c++17 -O3 -fPIC -shared -DRTNEURAL_USE_EIGEN=1 -DRTNEURAL_DEFAULT_ALIGNMENT=32"
RTNEURAL_FLAGS += " -DRTNEURAL_NAMESPACE=RTNeural -DEIGEN_MAX_ALIGN_BYTES=64"


def run(*command: str | Path) -> None:
    """Runs a tool; what it says is seen where it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")


def own(case: Case, isas: Sequence[str], folder: Path) -> tuple[Path, CLibrary]:
    """tinyseq's library for some instruction sets; beside it lies ``once``, a program of one step."""
    folder.mkdir()
    source = case.model
    if isinstance(source, bytes):
        source = folder / "model.onnx"
        source.write_bytes(case.model)
    built = c_library(
        tinyseq.load(source), folder, name=case.name, sizes=case.sizes, inputs=case.inputs, isas=isas
    )
    text, path = OWN.format(name=case.name), folder / "bench.so"
    (folder / "bench.c").write_text(text)
    (folder / "once.c").write_text(text + ONCE.format(given=case.floats[0], taken=case.floats[1]))
    flags = "-O2", "-I", folder
    run("cc", *flags, "-shared", "-fPIC", "-o", path, folder / "bench.c", built.files["archive"])
    run("cc", *flags, "-static", "-o", folder / "once", folder / "once.c", built.files["archive"])
    return path, built


def rtneural(case: Case, sources: Path, processor: str, folder: Path) -> Path | None:
    """RTNeural's compile-time interface over Eigen, for a processor as the compiler calls it."""
    if not case.layer:
        return None
    folder.mkdir()
    w, r = (_table(array[0].T, case) for array in case.weights[:2])
    b = _table(case.weights[2].reshape(2, -1), case)
    both = case.layer == "GRU"
    text = RTNEURAL.format(
        units=case.units,
        width=w.shape[1],
        w=_braced(w),
        r=_braced(r),
        b=_braced(b if both else b.sum(0, keepdims=True)),
        both=2 if both else 1,
        layer=case.layer,
        biases="rows(b, 2)" if both else "rows(b, 1)[0]",
    )
    (folder / "net.cpp").write_text(text)
    eigen = next(p for p in (sources / "modules/Eigen", Path("/usr/include/eigen3")) if p.is_dir())
    flags = *RTNEURAL_FLAGS.split(), f"-march={processor}", "-I", sources, "-I", eigen
    run("g++", *flags, "-o", folder / "bench.so", folder / "net.cpp")
    return folder / "bench.so"


def onnx2c(case: Case, program: Path, flags: Sequence[str], folder: Path) -> Path | None:
    """The C that onnx2c writes, compiled with some flags; it knows one kind of layer."""
    if case.layer != "LSTM":
        return None
    folder.mkdir()
    (folder / "model.onnx").write_bytes(case.model)
    with (folder / "net.c").open("w") as file:
        subprocess.run([program, folder / "model.onnx"], stdout=file, stderr=subprocess.DEVNULL, check=True)
        file.write(ONNX2C.format(units=case.units))
    run("cc", "-w", "-shared", "-fPIC", *flags, "-o", folder / "bench.so", folder / "net.c", "-lm")
    return folder / "bench.so"


def _table(array: np.ndarray, case: Case) -> np.ndarray:
    """Rows of gates * units, the gates in RTNeural's order."""
    order = list(GATES[case.layer])
    return array.reshape(len(array), len(order), case.units)[:, order].reshape(len(array), -1)


def _braced(array: np.ndarray) -> str:
    return "{" + ",".join("{" + ",".join(f"{x!r}f" for x in row.tolist()) + "}" for row in array) + "}"
