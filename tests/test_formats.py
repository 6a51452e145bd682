"""Weight formats and processors: what a row, and a file, of each has is all that there is to add."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

import tinyseq
from tinyseq.kernels.build import native
from tinyseq.kernels.formats import FORMATS, WeightFormat
from tinyseq.kernels.instructions import PANEL
from tinyseq.kernels.llvm import architecture, tiles, values
from tinyseq.kernels.llvm.isa import Isa
from tinyseq.plan.packing import panels

ROWS, K = 3, 37


def halves(matrix: np.ndarray) -> np.ndarray:
    """bfloat16: the upper halves of float32."""
    return (matrix.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def half_arithmetic(isa: Isa) -> values.Arithmetic:
    def w(builder, weights):
        wide = builder.zext(weights, values.INTEGERS)
        return builder.bitcast(builder.shl(wide, values.repeated(values.INTEGERS, 16)), values.VECTOR)

    return values.float_arithmetic(isa)._replace(weight=values.INT16, w=w)


ROWS_OF_THE_TABLE = {**FORMATS, "bfloat16": WeightFormat("bfloat16", 1, 2, halves, half_arithmetic)}
"""The formats that there are, and one that is not."""

DRAWN = {
    "float32": lambda rng, *shape: rng.integers(-99, 99, shape).astype(np.float32) / 8,
    "bytes": lambda rng, *shape: rng.integers(-128, 128, shape).astype(np.int8),
    "bfloat16": lambda rng, *shape: rng.integers(-99, 99, shape).astype(np.float32) / 8,
}
"""Weights that each format holds without rounding, and whose sums of products float32 holds."""


def tile_of(monkeypatch, row: WeightFormat, isa: Isa):
    """A tile of ``ROWS`` rows and one panel, compiled for this process, and what keeps it alive."""
    monkeypatch.setattr(tiles, "FORMATS", {row.name: row})
    monkeypatch.setattr(tiles, "TILE_ROWS", (ROWS,))
    monkeypatch.setattr(tiles, "TILE_PANELS", (1,))
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(cpu=isa.cpu, features=isa.features)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(tiles.definitions(isa)), target)
    engine.finalize_object()
    address = engine.get_function_address(tiles.tile_name(row.name, ROWS, 1))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 9)(address), engine


@pytest.mark.parametrize("isa", architecture.HERE.ISAS)
@pytest.mark.parametrize("name", ROWS_OF_THE_TABLE)
def test_what_a_format_packs_its_tile_multiplies(monkeypatch, name, isa):
    if architecture.ISAS[isa].level > architecture.ISAS[native()].level:
        pytest.skip(f"this machine has no {isa}")
    row, rng = ROWS_OF_THE_TABLE[name], np.random.default_rng(0)
    w = DRAWN[name](rng, K, PANEL)
    depth = -(-K // row.per)
    x = np.zeros((ROWS, depth * row.per), np.uint8 if name == "bytes" else np.float32)
    x[:, :K] = rng.integers(0, 9, (ROWS, K))
    packed, offsets = panels(w, row), np.arange(ROWS, dtype=np.int64) * x.shape[1]
    assert packed.nbytes == depth * PANEL * row.size
    y = np.zeros((ROWS, PANEL), np.int32 if name == "bytes" else np.float32)
    tile, engine = tile_of(monkeypatch, row, architecture.ISAS[isa])
    start = y.ctypes.data, PANEL
    tile(x.ctypes.data, offsets.ctypes.data, depth, packed.ctypes.data, PANEL, *start, *start)
    assert engine
    taken = x[:, :K].astype(np.float64) - row.arithmetic(architecture.ISAS[isa]).less
    np.testing.assert_array_equal(y, taken @ w.astype(np.float64))


@pytest.mark.parametrize("name", architecture.ARCHITECTURES)
def test_a_processor_has_what_the_rest_calls(name):
    own = architecture.ARCHITECTURES[name]
    for wanted in re.findall(r"``([A-Z_]+)``", architecture.__doc__):
        assert hasattr(own, wanted)
    isas = list(own.ISAS.values())
    assert [isa.level for isa in isas] == list(range(len(isas)))
    for isa in isas:
        assert isinstance(own.byte_arithmetic(isa), values.Arithmetic)


def test_no_other_file_knows_a_processor():
    folder = Path(tinyseq.__file__).parent
    own = {f"{name}.py" for name in architecture.ARCHITECTURES}
    for path in folder.rglob("*.py"):
        found = re.search(
            r"mxcsr|cpuid|pmadd|vpdp|llvm\.x86|fpcr|sdot|hwcap|llvm\.aarch64", path.read_text(), re.IGNORECASE
        )
        assert not found or path.name in own, f"{path} has {found[0]}"
