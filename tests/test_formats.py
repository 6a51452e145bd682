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


def loop_over_k(monkeypatch, row: WeightFormat, isa: Isa, rows: int, panels: int) -> list[str]:
    """The instructions of a tile's loop."""
    monkeypatch.setattr(tiles, "FORMATS", {row.name: row})
    monkeypatch.setattr(tiles, "TILE_ROWS", (rows,))
    monkeypatch.setattr(tiles, "TILE_PANELS", (panels,))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(
        cpu=isa.cpu, features=isa.features, opt=3
    )
    module = llvm.parse_assembly(tiles.definitions(isa))
    module.triple, module.data_layout = target.triple, str(target.target_data)
    builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    text = target.emit_assembly(module)
    body = text[re.search(rf'^"?{re.escape(tiles.tile_name(row.name, rows, panels))}"?:', text, re.M).end() :]
    loop = re.search(r"^(\.LBB\w+):((?:(?!^\.LBB).)*?b\.\w+\s+\1)$", body, re.M | re.S)[2]
    return [line.strip() for line in loop.splitlines() if re.match(r"\s+[a-z]", line)]


ARM_TILES = [
    (name, format_, rows, panels)
    for name, format_ in (("neon", "float32"), ("dotprod", "float32"), ("dotprod", "bytes"))
    for rows, panels in architecture.ISAS[name].tiles
]


@pytest.mark.parametrize("name, format_, rows, panels", ARM_TILES)
def test_tiles_of_64_bit_arm_stay_in_registers(monkeypatch, name, format_, rows, panels):
    loop = loop_over_k(monkeypatch, FORMATS[format_], architecture.ISAS[name], rows, panels)
    product = "fmla" if format_ == "float32" else "sdot"
    assert sum(line.startswith(product) for line in loop) == 4 * rows * panels
    assert not [line for line in loop if "sp" in re.split(r"\W+", line) or line.startswith("mov")]
    # Loads of x and, by twos, of w; what readies a byte of x; what counts.
    beside = (1 if format_ == "float32" else 4) * rows + 2 * panels + 4
    assert len(loop) <= 4 * rows * panels + beside


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
