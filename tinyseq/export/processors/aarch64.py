"""64-bit ARM with NEON: all of ARMv8."""

from __future__ import annotations

from tinyseq.export.processors import Processor
from tinyseq.kernels.llvm.aarch64 import CONTROL, ISAS

AARCH64 = Processor("aarch64", ISAS["neon"], 64, CONTROL, True, "avx2")
