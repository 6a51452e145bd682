"""The instruction-set architectures that the kernels are built for."""

from __future__ import annotations


class Isa:
    """One build of the kernels.

    ``tiles`` lists the register tiles, largest first, as (rows of x, widest run of panels): their
    accumulators, a broadcast and the weights must fit the vector registers. ``dot`` is the LLVM intrinsic
    that adds up products of bytes: of signed 16-bit pairs (``pmadd``), or of groups of four (``vpdpbusd``);
    empty where there is none. ``apart``: there are no vectors, and all tiles call one function.
    """

    __slots__ = ("apart", "cpu", "dot", "features", "fma", "level", "name", "tiles")

    def __init__(
        self,
        name: str,
        level: int,
        cpu: str,
        features: str,
        fma: bool,
        dot: str,
        tiles: tuple[tuple[int, int], ...],
        apart: bool = False,
    ) -> None:
        self.name = name
        self.level = level
        self.cpu = cpu
        self.features = features
        self.fma = fma
        self.dot = dot
        self.tiles = tiles
        self.apart = apart


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
"""By name. ``level`` counts what the CPU must offer; see ``cpu_level`` in ``build.py``."""

DENORMALS = """
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
"""LLVM IR of what ``tiles.py`` names: the bits flush-to-zero and denormals-are-zero of MXCSR."""
