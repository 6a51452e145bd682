"""32-bit ARM with NEON and VFPv4: Cortex-A7 and what came after it."""

from __future__ import annotations

from tinyseq.export.processors import FLUSHED, Processor
from tinyseq.kernels.llvm.isa import Isa

# FPSCR: flush-to-zero.
DENORMALS = """
declare i32 @llvm.arm.get.fpscr()
declare void @llvm.arm.set.fpscr(i32)
define internal i64 @"tinyseq.denormals.off"() alwaysinline {
  %former = call i32 @llvm.arm.get.fpscr()
  %flushing = or i32 %former, 16777216
  call void @llvm.arm.set.fpscr(i32 %flushing)
  %word = zext i32 %former to i64
  ret i64 %word
}
define internal void @"tinyseq.denormals.restore"(i64 %former) alwaysinline {
  %word = trunc i64 %former to i32
  call void @llvm.arm.set.fpscr(i32 %word)
  ret void
}
"""

# Vectors have no instruction for it.
FLUSHING = f"""
define internal float @"tinyseq.denormals.flushed"(float %number) alwaysinline {{
  %x = bitcast float %number to i32
{FLUSHED}
  %flushed = bitcast i32 %y to float
  ret float %flushed
}}
"""

NEON32 = Isa("neon32", 0, "cortex-a7", "+neon,+vfp4", True, "", ((2, 1), (1, 2)))

ARMV7 = Processor("armv7", NEON32, 32, DENORMALS + FLUSHING, True, "avx2")
