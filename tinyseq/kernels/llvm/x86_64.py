"""All that the kernels know of x86-64; ``architecture.py`` says what the names are to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyseq.kernels.llvm.isa import Isa

if TYPE_CHECKING:
    from tinyseq.kernels.llvm.values import Arithmetic

TRIPLE = "x86_64-unknown-linux-gnu"
PLATFORM = "linux_x86_64"
SUFFIX = ".so"

_NARROW = ((6, 1), (5, 1), (4, 1), (3, 1), (2, 2), (1, 4))
_WIDE = ((6, 4), (5, 4), (4, 4), (3, 4), (2, 4), (1, 4))

ISAS = {
    isa.name: isa
    for isa in (
        Isa("baseline", 0, "x86-64", "", False, "sse2.pmadd.wd", ((2, 1), (1, 2))),
        Isa("avx2", 1, "haswell", "", True, "avx2.pmadd.wd", _NARROW),
        Isa("avx512", 2, "skylake-avx512", "-prefer-256-bit", True, "avx512.pmaddw.d.512", _WIDE),
        Isa("avx512vnni", 3, "cascadelake", "-prefer-256-bit", True, "avx512.vpdpbusd.512", _WIDE),
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
"""0 baseline, 1 AVX2 + FMA, 2 AVX-512, 3 with VNNI."""

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
"""
"""Flush-to-zero (bit 15 of MXCSR) and denormals-are-zero (6)."""


def byte_arithmetic(isa: Isa) -> Arithmetic:
    """Without an instruction for groups of four (``vpdpbusd``), the even and the odd bytes are multiplied as
    signed 16-bit pairs (``pmadd``)."""
    # Imported here: who only runs kernels need not have llvmlite.
    from tinyseq.kernels.llvm import values
    from tinyseq.kernels.llvm.values import BYTES, INTEGERS, PAIRS, called, joined, lanes, repeated

    dot = f"llvm.x86.{isa.dot}"

    def fours(builder, vector):
        return builder.bitcast(vector, BYTES)

    def step_of_fours(builder, x, w, total):
        return called(builder, dot, INTEGERS, total, x, w)

    def pairs_of_x(builder, spread):
        pairs = builder.bitcast(spread, PAIRS)
        even = builder.and_(pairs, repeated(PAIRS, 255))
        return even, builder.lshr(pairs, repeated(PAIRS, 8))

    def pairs_of_w(builder, weights):
        pairs = builder.bitcast(weights, PAIRS)
        byte = repeated(PAIRS, 8)
        return builder.ashr(builder.shl(pairs, byte), byte), builder.ashr(pairs, byte)

    def step_of_pairs(builder, x, w, total):
        for a, b in zip(x, w, strict=True):
            total = builder.add(total, products(builder, a, b))
        return total

    def products(builder, a, b):
        """The products of 16-bit pairs, in as many parts as the registers ask for."""
        count = {"sse2": 8, "avx2": 16, "avx512": 32}[isa.dot.split(".")[0]]
        part, result = values.vector(values.INT16, count), values.vector(values.INT32, count // 2)
        sums = [
            called(builder, dot, result, *(lanes(builder, vector, start, part) for vector in (a, b)))
            for start in range(0, PAIRS.count, count)
        ]
        while len(sums) > 1:
            sums = [joined(builder, *pair) for pair in zip(sums[::2], sums[1::2])]
        return sums[0]

    if "vpdpbusd" in isa.dot:
        return values.byte_arithmetic(fours, fours, step_of_fours)
    return values.byte_arithmetic(pairs_of_x, pairs_of_w, step_of_pairs)
