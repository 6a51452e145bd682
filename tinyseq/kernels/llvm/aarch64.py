"""All that the kernels know of 64-bit ARM; ``architecture.py`` says what the names are to others."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from tinyseq.kernels.llvm.isa import Isa

if TYPE_CHECKING:
    from tinyseq.kernels.llvm.values import Arithmetic

MACHINES = ("aarch64", "arm64")

# 32 registers of four numbers: 24 of sums, four of weights, one of x.
_TILES = ((6, 1), (5, 1), (4, 1), (3, 1), (2, 2), (1, 4))
# 16 of sums, eight of the even and the odd bytes of weights, two of x, and what is multiplied.
_TILES_OF_PAIRS = ((4, 1), (3, 1), (2, 1), (1, 2))

ISAS = {
    isa.name: isa
    for isa in (
        Isa("neon", 0, "generic", "+neon", True, "saddlp.v4i32.v8i16", _TILES, halves=True),
        Isa("dotprod", 1, "generic", "+neon,+dotprod", True, "sdot.v4i32.v16i8", _TILES, halves=True),
    )
}
"""All of ARMv8, and those with the extension FEAT_DotProd: nearly all from 2018 on, all of Apple's Macs."""

CPU_LEVEL = ""
"""No instruction tells: the system does."""

AT_HWCAP, HWCAP_ASIMDDP = 16, 1 << 20


def cpu_level(function: Callable[[str], Callable[[], int]]) -> int:
    """0 NEON, 1 with dot products of bytes."""
    system = ctypes.CDLL(None)
    if sys.platform == "darwin":
        has, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
        name = b"hw.optional.arm.FEAT_DotProd"
        system.sysctlbyname(name, ctypes.byref(has), ctypes.byref(size), None, ctypes.c_size_t(0))
        return int(has.value != 0)
    system.getauxval.argtypes, system.getauxval.restype = (ctypes.c_ulong,), ctypes.c_ulong
    return int(system.getauxval(AT_HWCAP) & HWCAP_ASIMDDP != 0)


CONTROL = """
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
declare float @llvm.canonicalize.f32(float)
define internal i64 @"tinyseq.denormals.off"() alwaysinline {
  %former = call i64 @llvm.aarch64.get.fpcr()
  %flushing = or i64 %former, 16777216
  call void @llvm.aarch64.set.fpcr(i64 %flushing)
  ret i64 %former
}
define internal void @"tinyseq.denormals.restore"(i64 %former) alwaysinline {
  call void @llvm.aarch64.set.fpcr(i64 %former)
  ret void
}
define internal float @"tinyseq.denormals.flushed"(float %x) alwaysinline {
  %y = call float @llvm.canonicalize.f32(float %x)
  ret float %y
}
"""
"""Flush-to-zero (bit 24 of FPCR), of operands and of results; selecting one of two numbers is no operation
that it touches."""


def byte_arithmetic(isa: Isa) -> Arithmetic:
    """With ``sdot``, which adds up the products of four signed bytes and four others, x is taken as signed;
    without it, the even and the odd bytes are multiplied as 16-bit numbers, which hold any product, and
    ``saddlp`` adds up neighbours."""
    # Imported here: who only runs kernels need not have llvmlite.
    from tinyseq.kernels.llvm import values
    from tinyseq.kernels.llvm.values import BYTES, INT32, INTEGERS, called, parts, repeated, whole

    dot = f"llvm.aarch64.neon.{isa.dot}"
    sums = values.vector(INT32, 4)

    def signed(builder, spread):
        return builder.bitcast(builder.xor(spread, repeated(INTEGERS, 0x80808080)), BYTES)

    def fours(builder, weights):
        return builder.bitcast(weights, BYTES)

    def step_of_fours(builder, x, w, total):
        quarters = zip(*(parts(builder, vector, 4) for vector in (total, x, w)))
        return whole(builder, [called(builder, dot, sums, *quarter) for quarter in quarters])

    def products(builder, a, b):
        quarters = parts(builder, builder.mul(a, b), 4)
        return whole(builder, [called(builder, dot, sums, quarter) for quarter in quarters])

    if isa.dot.startswith("sdot"):
        return values.byte_arithmetic(signed, fours, step_of_fours)._replace(less=128)
    return values.pairs_of_bytes(products)._replace(tiles=_TILES_OF_PAIRS)
