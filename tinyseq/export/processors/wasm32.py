"""WebAssembly with 128-bit vectors: every browser since 2023, and node."""

from __future__ import annotations

from tinyseq.export.processors import NO_CONTROL, Processor
from tinyseq.kernels.llvm.isa import Isa

SIMD128 = Isa(
    "simd128",
    0,
    "generic",
    "+simd128,+nontrapping-fptoint,+sign-ext,+bulk-memory",
    False,
    "",
    ((2, 1), (1, 2)),
)

WASM32 = Processor("wasm32", SIMD128, 32, NO_CONTROL, False, "baseline")
