"""x86-64 with AVX2 and FMA: Intel's from 2013 on, AMD's from 2015 on."""

from __future__ import annotations

from tinyseq.export.processors import Processor
from tinyseq.kernels.llvm.x86_64 import CONTROL, ISAS

X86_64 = Processor("x86_64", ISAS["avx2"], 64, CONTROL, True, "avx2")
