"""Products of bytes by a matrix unit: on a model of one, as few machines have it."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llvmlite import ir

from tinyseq.kernels import library
from tinyseq.kernels.build import native
from tinyseq.kernels.formats import BYTE_BLOCK, BYTE_ELEMENT, QuantizedMatrix
from tinyseq.kernels.instructions import PANEL
from tinyseq.kernels.llvm import amx, architecture, matrix_unit, tiles, x86_64
from tinyseq.kernels.llvm.values import INT32, INT64
from tinyseq.plan.packing import panels

ISA = architecture.HERE.ISAS[native()]
LESS = BYTE_ELEMENT.arithmetic(ISA).less

MODEL = """
@"model.on" = global i64 1
@"model.begun" = global i64 0
@"model.wrong" = global i64 0
@"model.registers" = global [8 x [1024 x i8]] zeroinitializer
@"model.fault" = global i64 0
@"model.squares" = global i64 0
define void @"model.check"(i64 %wanted) {{
  %begun = load i64, ptr @"model.begun"
  %same = icmp eq i64 %begun, %wanted
  br i1 %same, label %right, label %wrong
wrong:
  store i64 1, ptr @"model.wrong"
  ret void
right:
  ret void
}}
define void @"model.move"(i32 %register, i64 %address, i64 %stride, i32 %out) {{
  call void @"model.check"(i64 1)
  %outwards = icmp ne i32 %out, 0
  br label %row
row:
  %r = phi i64 [ 0, %0 ], [ %r1, %next ]
  %offset = mul i64 %r, %stride
  %there = add i64 %address, %offset
  %memory = inttoptr i64 %there to ptr
  %inside = mul i64 %r, 64
  %own = getelementptr [8 x [1024 x i8]], ptr @"model.registers", i64 0, i32 %register, i64 %inside
  %from = select i1 %outwards, ptr %own, ptr %memory
  %to = select i1 %outwards, ptr %memory, ptr %own
  br label %byte
byte:
  %c = phi i64 [ 0, %row ], [ %c1, %byte ]
  %s = getelementptr i8, ptr %from, i64 %c
  %t = getelementptr i8, ptr %to, i64 %c
  %value = load i8, ptr %s
  store i8 %value, ptr %t
  %c1 = add i64 %c, 1
  %whole = icmp eq i64 %c1, 64
  br i1 %whole, label %next, label %byte
next:
  %r1 = add i64 %r, 1
  %all = icmp eq i64 %r1, 16
  br i1 %all, label %done, label %row
done:
  ret void
}}
define void @"model.multiply"(i32 %total, i32 %x, i32 %w) {{
  call void @"model.check"(i64 1)
  %done_so_far = load i64, ptr @"model.squares"
  %one_more = add i64 %done_so_far, 1
  store i64 %one_more, ptr @"model.squares"
  br label %step
step:
  %i = phi i64 [ 0, %0 ], [ %i1, %step ]
  ; i = row * 1024 + column * 64 + k
  %row = lshr i64 %i, 10
  %rest = and i64 %i, 1023
  %column = lshr i64 %rest, 6
  %k = and i64 %i, 63
  %k4 = lshr i64 %k, 2
  %k0 = and i64 %k, 3
  %xa = mul i64 %row, 64
  %xb = add i64 %xa, %k
  %wa = mul i64 %k4, 64
  %wb = mul i64 %column, 4
  %wc = add i64 %wa, %wb
  %wd = add i64 %wc, %k0
  %ta = add i64 %xa, %wb
  %xp = getelementptr [8 x [1024 x i8]], ptr @"model.registers", i64 0, i32 %x, i64 %xb
  %wp = getelementptr [8 x [1024 x i8]], ptr @"model.registers", i64 0, i32 %w, i64 %wd
  %tp = getelementptr [8 x [1024 x i8]], ptr @"model.registers", i64 0, i32 %total, i64 %ta
  %xv = load i8, ptr %xp
  %wv = load i8, ptr %wp
  %unsigned = zext i8 %xv to i32
  %signed = sext i8 %xv to i32
  %fault = load i64, ptr @"model.fault"
  %faulty = icmp ne i64 %fault, 0
  %xe = select i1 %faulty, i32 %signed, i32 %unsigned
  %xs = sub i32 %xe, {less}
  %ws = sext i8 %wv to i32
  %product = mul i32 %xs, %ws
  %before = load i32, ptr %tp
  %after = add i32 %before, %product
  store i32 %after, ptr %tp
  %i1 = add i64 %i, 1
  %all = icmp eq i64 %i1, 16384
  br i1 %all, label %done, label %step
done:
  ret void
}}
"""
"""A unit in memory that counts what it multiplies and takes note if it is used without having been readied;
one with a fault takes unsigned bytes for signed ones."""


class Model:
    """A ``matrix_unit.Unit`` of calls to ``MODEL``."""

    attributes = ()

    def on(self, module, builder):
        return builder.load(self._global(module, "model.on"))

    def begin(self, module, builder) -> None:
        self._call(builder, "model.check", INT64(0))
        builder.store(INT64(1), self._global(module, "model.begun"))

    def end(self, module, builder) -> None:
        self._call(builder, "model.check", INT64(1))
        builder.store(INT64(0), self._global(module, "model.begun"))

    def load(self, builder, register, address, stride) -> None:
        self._call(builder, "model.move", INT32(register), address, stride, INT32(0))

    def store(self, builder, register, address, stride) -> None:
        self._call(builder, "model.move", INT32(register), address, stride, INT32(1))

    def multiply(self, builder, total, x, w) -> None:
        self._call(builder, "model.multiply", INT32(total), INT32(x), INT32(w))

    def _global(self, module, name):
        return module.globals.get(name) or ir.GlobalVariable(module, INT64, name)

    def _call(self, builder, name, *arguments) -> None:
        kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        builder.call(function, arguments)


class Compiled(NamedTuple):
    """The product of bytes for this process, what says whether squares agree, and words of the model."""

    product: Callable[..., None]
    agree: Callable[[], int]
    word: Callable[[str], ctypes.c_int64]
    kept: object


def compiled_with() -> Compiled:
    """The product with squares that a model computes, and tiles of this processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(architecture, "matrix_unit", lambda isa: Model())
        text = tiles.definitions(ISA)
    target = llvm.Target.from_default_triple().create_target_machine(cpu=ISA.cpu, features=ISA.features)
    module = llvm.parse_assembly(MODEL.format(less=LESS))
    module.link_in(llvm.parse_assembly(text))
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    for name in tiles.names():
        llvm.add_symbol(name, engine.get_function_address(name))
    # Imported here: Numba finds by name what these call, when it compiles them.
    from numba import cfunc, types

    from tinyseq.kernels.compute.matrix_unit import fastest_product_of, unit_agrees
    from tinyseq.kernels.llvm.intrinsics import compiled

    product, agree = fastest_product_of(BYTE_ELEMENT), compiled()(unit_agrees)

    @cfunc(types.void(*[types.int64] * 10))
    def run(x, x_stride, rows, k, w, n, start, start_stride, y, turn):
        product(x, (1, 0, rows, x_stride), k, w, n, start, start_stride, y, n, turn)

    @cfunc(types.int64())
    def ask():
        return agree()

    def word(name: str) -> ctypes.c_int64:
        return ctypes.c_int64.from_address(engine.get_global_value_address(name))

    return Compiled(run.ctypes, ask.ctypes, word, (engine, run, ask))


@pytest.fixture(scope="module")
def unit() -> Compiled:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return compiled_with()


@given(
    rows=st.integers(1, 70),
    k=st.integers(1, 160),
    n=st.integers(1, 40) | st.integers(1, 12).map(lambda count: PANEL * count),
    gap=st.integers(0, 40),
    repeated=st.booleans(),
    turn=st.integers(0, 1),
    seed=st.integers(0, 2**16),
)
def test_in_squares_it_is_the_same_product(unit, rows, k, n, gap, repeated, turn, seed):
    rng, depth = np.random.default_rng(seed), -(-k // 4)
    x = rng.integers(0, 256, (rows, 4 * depth + gap), np.uint8)
    values = rng.integers(-128, 128, (k, n), np.int8)
    matrix = QuantizedMatrix(values, np.array(0, np.int8), np.array(1, np.float32))
    packed = panels(matrix, BYTE_BLOCK)
    start = rng.integers(-(2**31), 2**31, (1 if repeated else rows, n)).astype(np.int32)
    y = np.full((rows + 1, n), 77, np.int32)
    first = start.ctypes.data, 0 if repeated else n
    unit.product(x.ctypes.data, x.shape[1], rows, depth, packed.ctypes.data, n, *first, y.ctypes.data, turn)
    taken = x[:, :k].astype(np.int64) - LESS
    np.testing.assert_array_equal(y[:-1], (start + taken @ values.astype(np.int64)).astype(np.int32))
    assert (y[-1] == 77).all()
    assert unit.word("model.wrong").value == 0
    in_squares = rows >= 16 and depth >= 16 and (n >= 64 or n % PANEL == 0)
    assert (unit.word("model.squares").value > 0) == in_squares
    unit.word("model.squares").value = 0


def test_squares_agree_with_tiles(unit):
    assert unit.agree() == 1
    assert unit.word("model.squares").value > 0


def test_a_unit_at_fault_does_not_agree(unit):
    unit.word("model.fault").value = 1
    assert unit.agree() == 0
    unit.word("model.fault").value = 0


def assembly() -> str:
    """What the squares of x86-64 are compiled to."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    isa = x86_64.ISAS["avx512vnni"]
    module = llvm.parse_assembly(tiles.definitions(isa))
    target = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(
        cpu=isa.cpu, features=isa.features, opt=3
    )
    module.triple, module.data_layout = target.triple, str(target.target_data)
    builder = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    return target.emit_assembly(module)


def body(text: str, name: str) -> list[str]:
    """The instructions of a function."""
    own = text[re.search(rf'^"?{re.escape(name)}"?:', text, re.M).end() :]
    own = own[: own.index(".Lfunc_end")]
    return [line.split()[0] for line in own.splitlines() if re.match(r"\s+[a-z]", line)]


def test_squares_of_x86_64_are_instructions_of_amx():
    text = assembly()
    for rows in matrix_unit.SIDES:
        for across in matrix_unit.SIDES:
            found = body(text, matrix_unit.square_name(rows, across))
            sums = rows * across
            assert found.count("tdpbusd") == found.count("tilestored") == sums
            assert found.count("tileloadd") == sums + rows + across
            assert not any("mm" in each for each in found)
    assert "ldtilecfg" in body(text, matrix_unit.BEGIN)
    assert "tilerelease" in body(text, matrix_unit.END)


def test_registers_are_configured_whole():
    # Palette 1, eight registers of 16 rows of 64 bytes.
    told = amx.CONFIGURATION
    assert len(told) == 64
    assert told[0] == 1
    assert not any(told[1:16])
    assert np.frombuffer(told[16:32], np.uint16).tolist() == [64] * 8
    assert list(told[48:56]) == [16] * 8


@pytest.mark.parametrize("name", architecture.ISAS)
def test_without_a_unit_there_are_no_squares(name):
    isa = architecture.ISAS[name]
    assert (architecture.matrix_unit(isa) is not None) == isa.matrix_unit
    text = tiles.definitions(isa)
    assert ("llvm.x86.tdpbusd" in text) == isa.matrix_unit


@pytest.mark.skipif(not ISA.matrix_unit, reason="no processor with these instructions has a matrix unit")
def test_a_library_has_a_unit_where_the_processor_and_the_system_do():
    loaded = library.load(native())
    # Where the system has not permitted it, instructions of the unit would end the process.
    if architecture.HERE.ask_for_matrix_unit():
        assert loaded.tinyseq_matrix_unit() == ("amx_int8" in Path("/proc/cpuinfo").read_text())
