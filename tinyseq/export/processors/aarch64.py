"""64-bit ARM with NEON: all of ARMv8."""

from __future__ import annotations

from tinyseq.export.processors import Processor
from tinyseq.kernels.llvm.isa import Isa

# FPCR: flush-to-zero.
DENORMALS = """
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
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
"""

# 32 registers of four numbers hold what AVX2's 16 of eight do.
TILES = ((6, 1), (5, 1), (4, 1), (3, 1), (2, 2), (1, 4))

NEON = Isa("neon", 0, "generic", "+neon", True, "", TILES)

AARCH64 = Processor("aarch64", NEON, 64, DENORMALS, True, "avx2")
