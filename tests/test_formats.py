"""Weight formats and processors: what a row, and a file, of each has is all that there is to add."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

import tinyseq
from tests.models import recurrent
from tinyseq.ir.model import constants_of
from tinyseq.ir.narrow import PRECISIONS
from tinyseq.kernels import formats
from tinyseq.kernels.build import native
from tinyseq.kernels.formats import (
    AS_THEY_ARE,
    BYTE_BLOCK,
    FLOAT32,
    FORMATS,
    FOURIER,
    ROUNDED_BY_ROW,
    Element,
    QuantizedMatrix,
    ScaledMatrix,
    WeightFormat,
)
from tinyseq.kernels.instructions import INSTRUCTIONS, OPERANDS, PANEL
from tinyseq.kernels.llvm import architecture, tiles, values
from tinyseq.kernels.llvm.isa import Isa
from tinyseq.plan.packing import PackedWeights, panels
from tinyseq.plan.planner import Planner
from tinyseq.plan.plans import Plans

ROWS, PANELS, K = 4, 2, 37
COLUMNS = PANELS * PANEL


NARROW = [of for of in FORMATS if of.name in PRECISIONS and of is not FLOAT32]

ROWS_OF_THE_TABLE = {row.name: row for row in FORMATS if row is not FOURIER}
"""The formats of panels."""

ZERO_POINT = 3


def drawn(of: WeightFormat, rng: np.random.Generator) -> tuple[np.ndarray | QuantizedMatrix, np.ndarray]:
    """A matrix that a format holds without rounding, as it packs it, and its numbers as tiles see them."""
    if of.activations is AS_THEY_ARE:
        w = rng.integers(-99, 99, (K, COLUMNS)).astype(np.float32) / 8
        return w, w
    if of.activations is ROUNDED_BY_ROW:
        most = 127 if of.planes == 1 else 30_000
        w = rng.integers(-most, most, (K, COLUMNS)).astype(np.float32)
        return ScaledMatrix(w / 8, np.full(COLUMNS, 1 / 8)), w
    w = rng.integers(-128, 128, (K, COLUMNS)).astype(np.int8)
    return QuantizedMatrix(w, np.array(ZERO_POINT, np.int8), np.array(0.5, np.float32)), w


def tile_of(monkeypatch, of: Element, isa: Isa):
    """A tile of ``ROWS`` rows and ``PANELS`` panels, compiled for this process, and what keeps it alive."""
    monkeypatch.setattr(tiles, "ELEMENTS", (of,))
    monkeypatch.setattr(tiles, "TILE_ROWS", (ROWS,))
    monkeypatch.setattr(tiles, "TILE_PANELS", (PANELS,))
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine(cpu=isa.cpu, features=isa.features)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(tiles.definitions(isa)), target)
    engine.finalize_object()
    address = engine.get_function_address(tiles.tile_name(of.name, ROWS, PANELS))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 11)(address), engine


BASELINE = next(iter(architecture.HERE.ISAS.values()))
BUILDS = {
    **architecture.HERE.ISAS,
    "apart": Isa("apart", 0, BASELINE.cpu, "", False, "", ((1, 1),), apart=True),
}
"""Those of this processor, and one whose tiles call a function."""


@pytest.mark.parametrize("isa", BUILDS)
@pytest.mark.parametrize("name", ROWS_OF_THE_TABLE)
def test_what_a_format_packs_its_tile_multiplies(monkeypatch, name, isa):
    if BUILDS[isa].level > BUILDS[native()].level:
        pytest.skip(f"this machine has no {isa}")
    row, rng = ROWS_OF_THE_TABLE[name], np.random.default_rng(0)
    floats, element = row.activations is AS_THEY_ARE, row.element
    matrix, w = drawn(row, rng)
    depth = -(-K // element.per)
    x = np.zeros((ROWS, depth * element.per), np.float32 if floats else np.uint8)
    x[:, :K] = rng.integers(0, 9, (ROWS, K))
    packed, offsets = panels(matrix, row), np.arange(ROWS, dtype=np.int64) * x.shape[1]
    tile, engine = tile_of(monkeypatch, element, BUILDS[isa])
    total = np.zeros((ROWS, COLUMNS))
    for plane in range(row.planes):
        y = np.zeros((ROWS, COLUMNS), np.float32 if floats else np.int32)
        start, first = (y.ctypes.data, COLUMNS), packed.ctypes.data + plane * depth * COLUMNS * element.size
        tile(x.ctypes.data, offsets.ctypes.data, depth, first, COLUMNS, *start, *start, 0, 64)
        total = 256 * total + y
    assert engine
    taken = x[:, :K].astype(np.float64) - element.arithmetic(BUILDS[isa]).less
    np.testing.assert_array_equal(total, taken @ w.astype(np.float64))


def loop_over_k(monkeypatch, of: Element, isa: Isa, rows: int, panels: int) -> list[str]:
    """The instructions of a tile's loop."""
    monkeypatch.setattr(tiles, "ELEMENTS", (of,))
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
    body = text[re.search(rf'^"?{re.escape(tiles.tile_name(of.name, rows, panels))}"?:', text, re.M).end() :]
    loop = re.search(r"^(\.LBB\w+):((?:(?!^\.LBB).)*?b\.\w+\s+\1)$", body, re.M | re.S)[2]
    return [line.strip() for line in loop.splitlines() if re.match(r"\s+[a-z]", line)]


ELEMENTS = {element.name: element for element in formats.ELEMENTS}

ARM_TILES = [
    (name, format_, rows, panels)
    for name, format_ in (("neon", "float32"), ("dotprod", "float32"), ("dotprod", "bytes"))
    for rows, panels in architecture.ISAS[name].tiles
]


@pytest.mark.parametrize("name, format_, rows, panels", ARM_TILES)
def test_tiles_of_64_bit_arm_stay_in_registers(monkeypatch, name, format_, rows, panels):
    loop = loop_over_k(monkeypatch, ELEMENTS[format_], architecture.ISAS[name], rows, panels)
    product = "fmla" if format_ == "float32" else "sdot"
    assert sum(line.startswith(product) for line in loop) == 4 * rows * panels
    assert not [line for line in loop if "sp" in re.split(r"\W+", line) or line.startswith("mov")]
    # Loads of x and, by twos, of w; what readies a byte of x; what counts and fetches.
    beside = (1 if format_ == "float32" else 4) * rows + 2 * panels + 6
    assert len(loop) <= 4 * rows * panels + beside


def test_what_columns_need_lies_behind_the_panels():
    matrix, w = drawn(BYTE_BLOCK, np.random.default_rng(1))
    columns = panels(matrix, BYTE_BLOCK)[-(-K // 4) * COLUMNS * 4 :].view(np.int32).reshape(3, COLUMNS)
    np.testing.assert_array_equal(columns[0], w.sum(0, dtype=int) - K * ZERO_POINT)
    assert (columns[1] == ZERO_POINT).all()
    assert (columns[2].view(np.float32) == 0.5).all()


def formats_used(session: tinyseq.Session, feeds: dict[str, np.ndarray]) -> tuple[list, int]:
    """The formats of a plan's products and layers, by their codes, and the bytes of its weights."""
    simple = session.computed
    weights = PackedWeights(constants_of(simple.graph))
    plan = Plans(Planner(simple, weights)).plan(feeds)[1]
    found, words = [], plan.program.tolist()
    while words:
        name = INSTRUCTIONS[words[0]].name
        if "format" in OPERANDS[name]:
            found.append((name, words[2 + OPERANDS[name].index("format")]))
        words = words[words[1] :]
    return found, sum(array.nbytes for array in plan.weights)


def every_product() -> tinyseq.Graph:
    """A graph with all that multiplies by weights: layers, one projected, a convolution and a head."""
    rng, g = np.random.default_rng(0), tinyseq.Graph()

    def w(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    x = g.input("x", [1, 16, 9])
    y = g.apply("Conv", x, w(32, 16, 3), kernel_shape=(3,))
    y = g.apply("Transpose", y, perm=(2, 0, 1))
    for op, gates, options in (("RNN", 1, {}), ("GRU", 3, {}), ("GRU", 3, {"linear_before_reset": 1})):
        y = g.apply(op, y, w(1, gates * 32, 32), w(1, gates * 32, 32), hidden_size=32, **options)
        y = g.apply("Squeeze", y, np.array([1]))
    inputs = (w(1, 128, 32), w(1, 128, 16), *[None] * 5, w(1, 16, 32))
    y = g.apply("Squeeze", g.apply("LSTM", y, *inputs, hidden_size=32), np.array([1]))
    g.output("y", g.apply("Gemm", g.apply("Reshape", y, np.array([-1, 16])), w(16, 48)))
    return g


@pytest.mark.parametrize("of", NARROW, ids=[of.name for of in NARROW])
def test_known_weights_are_packed_in_the_format_that_is_asked_for(of):
    feeds = {"x": np.zeros((1, 16, 9), np.float32)}
    found, size = formats_used(tinyseq.load(every_product()), feeds)
    narrow, less = formats_used(tinyseq.load(every_product(), precision=of.name), feeds)
    assert found == [("linear", 0), *[("linear", 0), ("recurrent", 0)] * 4, ("linear", 0)]
    assert narrow == [(name, of.code) for name, _ in found]
    assert less < 0.65 * size


def test_weights_that_come_at_run_time_are_float32():
    case = recurrent("GRU", fed=(0, 1, 2, 4, 5))
    found, _ = formats_used(tinyseq.load(case.model, precision="bfloat16"), case.feeds)
    assert found == [("linear", FLOAT32.code), ("recurrent", FLOAT32.code)]


@pytest.mark.parametrize("name", architecture.ARCHITECTURES)
def test_a_processor_has_what_the_rest_calls(name):
    own = architecture.ARCHITECTURES[name]
    isas = list(own.ISAS.values())
    for wanted in re.findall(r"``([A-Z_]+)``", architecture.__doc__):
        needed = wanted != "MATRIX_UNIT" or any(isa.matrix_unit for isa in isas)
        assert hasattr(own, wanted) == needed
    assert [isa.level for isa in isas] == list(range(len(isas)))
    for isa in isas:
        assert isinstance(own.byte_arithmetic(isa), values.Arithmetic)


def test_no_other_file_knows_a_processor():
    folder = Path(tinyseq.__file__).parent
    own = {f"{name}.py" for name in architecture.ARCHITECTURES} | {"amx.py"}
    for path in folder.rglob("*.py"):
        found = re.search(
            r"mxcsr|cpuid|pmadd|vpdp|llvm\.x86|fpcr|sdot|hwcap|llvm\.aarch64", path.read_text(), re.IGNORECASE
        )
        assert not found or path.name in own, f"{path} has {found[0]}"
