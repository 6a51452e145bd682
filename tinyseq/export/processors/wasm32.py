"""WebAssembly with 128-bit vectors: every browser since 2023, and node. Relaxed vectors, which multiply and
add in one instruction, not every browser has; node has them from version 21 on."""

from __future__ import annotations

from tinyseq.export.processors import NO_CONTROL, Processor
from tinyseq.kernels.llvm.isa import Isa

FEATURES = "+simd128,+nontrapping-fptoint,+sign-ext,+bulk-memory"
TILES = ((2, 1), (1, 2))

SIMD128 = Isa("simd128", 0, "generic", FEATURES, False, "", TILES)
RELAXED = Isa(
    "relaxed",
    0,
    "generic",
    f"{FEATURES},+relaxed-simd",
    True,
    "",
    TILES,
    madd="llvm.wasm.relaxed.madd",
)

WASM32 = Processor("wasm32", SIMD128, 32, NO_CONTROL, False, "baseline")
RELAXED_WASM32 = Processor("wasm32-relaxed", RELAXED, 32, NO_CONTROL, False, "avx2")
