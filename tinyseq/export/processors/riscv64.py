"""64-bit RISC-V with the extensions IMAFDC, without vectors."""

from __future__ import annotations

from tinyseq.export.processors import NO_CONTROL, Processor
from tinyseq.kernels.llvm.isa import Isa

SCALAR = Isa("rv64gc", 0, "generic-rv64", "+m,+a,+f,+d,+c", True, "", ((1, 1),), apart=True)

RISCV64 = Processor("riscv64", SCALAR, 64, NO_CONTROL, False, "avx2", "lp64d")
