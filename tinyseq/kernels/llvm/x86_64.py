"""All that the kernels know of x86-64; ``architecture.py`` says what the names are to others."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from tinyseq.kernels.llvm.isa import Isa

if TYPE_CHECKING:
    from tinyseq.kernels.llvm.matrix_unit import Unit
    from tinyseq.kernels.llvm.values import Arithmetic

MACHINES = ("x86_64", "AMD64")

_NARROW = ((6, 1), (5, 1), (4, 1), (3, 1), (2, 2), (1, 4))
_WIDE = ((6, 4), (5, 4), (4, 4), (3, 4), (2, 4), (1, 4))

_WIDER = {"halves": True, "masked": 16}

ISAS = {
    isa.name: isa
    for isa in (
        Isa("baseline", 0, "x86-64", "", False, "sse2.pmadd.wd", ((2, 1), (1, 2))),
        Isa("avx2", 1, "haswell", "", True, "avx2.pmadd.wd", _NARROW, halves=True, masked=8),
        Isa("avx512", 2, "skylake-avx512", "-prefer-256-bit", True, "avx512.pmaddw.d.512", _WIDE, **_WIDER),
        Isa(
            *("avx512vnni", 3, "cascadelake", "-prefer-256-bit", True, "avx512.vpdpbusd.512", _WIDE),
            **_WIDER,
            matrix_unit=True,
        ),
    )
}

CPU_LEVEL = """
define i64 @tinyseq_cpu_level() {
  %most = call { i32, i32, i32, i32 } asm sideeffect "cpuid",
      "={ax},={bx},={cx},={dx},{ax},{cx}"(i32 0, i32 0)
  %leaves = extractvalue { i32, i32, i32, i32 } %most, 0
  %known = icmp uge i32 %leaves, 7
  br i1 %known, label %one, label %old
one:
  %leaf1 = call { i32, i32, i32, i32 } asm sideeffect "cpuid",
      "={ax},={bx},={cx},={dx},{ax},{cx}"(i32 1, i32 0)
  %ecx1 = extractvalue { i32, i32, i32, i32 } %leaf1, 2
  ; FMA (12), OSXSAVE (27), AVX (28), F16C (29)
  %bits1 = and i32 %ecx1, 939528192
  %has1 = icmp eq i32 %bits1, 939528192
  br i1 %has1, label %two, label %old
two:
  %xcr = call { i32, i32 } asm sideeffect "xgetbv", "={ax},={dx},{cx}"(i32 0)
  %saved = extractvalue { i32, i32 } %xcr, 0
  %leaf7 = call { i32, i32, i32, i32 } asm sideeffect "cpuid",
      "={ax},={bx},={cx},={dx},{ax},{cx}"(i32 7, i32 0)
  %ebx7 = extractvalue { i32, i32, i32, i32 } %leaf7, 1
  ; the system saves xmm and ymm; BMI1 (3), AVX2 (5), BMI2 (8)
  %saved2 = and i32 %saved, 6
  %ymm = icmp eq i32 %saved2, 6
  %bits2 = and i32 %ebx7, 296
  %has2 = icmp eq i32 %bits2, 296
  %avx2 = and i1 %ymm, %has2
  br i1 %avx2, label %three, label %old
three:
  ; the system saves k and zmm; AVX512 F (16), DQ (17), CD (28), BW (30), VL (31)
  %saved3 = and i32 %saved, 230
  %zmm = icmp eq i32 %saved3, 230
  %bits3 = and i32 %ebx7, 3489857536
  %has3 = icmp eq i32 %bits3, 3489857536
  %avx512 = and i1 %zmm, %has3
  %ecx7 = extractvalue { i32, i32, i32, i32 } %leaf7, 2
  ; AVX512 VNNI (11)
  %bits4 = and i32 %ecx7, 2048
  %vnni = icmp eq i32 %bits4, 2048
  %wide = select i1 %vnni, i64 3, i64 2
  %level = select i1 %avx512, i64 %wide, i64 1
  ret i64 %level
old:
  ret i64 0
}
"""


def cpu_level(function: Callable[[str], Callable[[], int]]) -> int:
    """0 baseline, 1 AVX2 + FMA, 2 AVX-512, 3 with VNNI."""
    return function("tinyseq_cpu_level")()


MATRIX_UNIT = """
@"tinyseq.amx.on" = external global i64
declare i64 @tinyseq_matrix_unit_agrees()
define i64 @tinyseq_matrix_unit() {
  %leaf7 = call { i32, i32, i32, i32 } asm sideeffect "cpuid",
      "={ax},={bx},={cx},={dx},{ax},{cx}"(i32 7, i32 0)
  %edx7 = extractvalue { i32, i32, i32, i32 } %leaf7, 3
  ; AMX-TILE (24), AMX-INT8 (25)
  %bits = and i32 %edx7, 50331648
  %has = icmp eq i32 %bits, 50331648
  br i1 %has, label %one, label %none
one:
  %xcr = call { i32, i32 } asm sideeffect "xgetbv", "={ax},={dx},{cx}"(i32 0)
  %saved = extractvalue { i32, i32 } %xcr, 0
  ; the system saves the tiles (18) and how they are configured (17)
  %tiles = and i32 %saved, 393216
  %both = icmp eq i32 %tiles, 393216
  br i1 %both, label %two, label %none
two:
  store i64 1, ptr @"tinyseq.amx.on"
  %agree = call i64 @tinyseq_matrix_unit_agrees()
  store i64 %agree, ptr @"tinyseq.amx.on"
  ret i64 %agree
none:
  ret i64 0
}
"""
"""Switches AMX on where the processor has it, and it agrees bit for bit with the tiles that it stands for.
The system must have been asked before: see ``ask_for_matrix_unit``."""

ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 158, 0x1023, 18


def ask_for_matrix_unit() -> bool:
    """Asks the system to let this process use AMX, as Linux wants it; elsewhere it stays off."""
    # ctypes finds the function of the C library that takes any system call.
    return sys.platform == "linux" and not ctypes.CDLL(None).syscall(
        ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    )


CONTROL = """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define internal i64 @"tinyseq.denormals.off"() alwaysinline {
  %slot = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %slot)
  %former = load i32, ptr %slot
  %flushing = or i32 %former, 32832
  store i32 %flushing, ptr %slot
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  %word = zext i32 %former to i64
  ret i64 %word
}
define internal void @"tinyseq.denormals.restore"(i64 %former) alwaysinline {
  %slot = alloca i32
  %word = trunc i64 %former to i32
  store i32 %word, ptr %slot
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  ret void
}
define internal float @"tinyseq.denormals.flushed"(float %x) alwaysinline {
  ret float %x
}
"""
"""Flush-to-zero (bit 15 of MXCSR) and denormals-are-zero (6). ``max`` and ``min``, which select one of two
numbers, heed them."""


def byte_arithmetic(isa: Isa) -> Arithmetic:
    """Without an instruction for groups of four (``vpdpbusd``), the even and the odd bytes are multiplied as
    signed 16-bit pairs (``pmadd``)."""
    # Imported here: who only runs kernels need not have llvmlite.
    from tinyseq.kernels.llvm import values
    from tinyseq.kernels.llvm.values import BYTES, INTEGERS, called, parts, whole

    dot = f"llvm.x86.{isa.dot}"

    def fours(builder, vector):
        return builder.bitcast(vector, BYTES)

    def step_of_fours(builder, x, w, total):
        return called(builder, dot, INTEGERS, total, x, w)

    def products(builder, a, b):
        """The products of 16-bit pairs, in as many parts as the registers ask for."""
        count = {"sse2": 4, "avx2": 2, "avx512": 1}[isa.dot.split(".")[0]]
        pairs = zip(parts(builder, a, count), parts(builder, b, count))
        result = values.vector(values.INT32, INTEGERS.count // count)
        return whole(builder, [called(builder, dot, result, *pair) for pair in pairs])

    if "vpdpbusd" in isa.dot:
        return values.byte_arithmetic(fours, fours, step_of_fours)
    return values.pairs_of_bytes(products)


def matrix_unit() -> Unit:
    """AMX."""
    # Imported here: who only runs kernels need not have llvmlite.
    from tinyseq.kernels.llvm.amx import Amx

    return Amx()
