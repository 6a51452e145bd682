"""What a library must know of a processor; a file for each."""

from __future__ import annotations

from typing import NamedTuple

from tinyseq.kernels.llvm.isa import Isa

NO_CONTROL = """
define internal i64 @"tinyseq.denormals.off"() alwaysinline {
  ret i64 0
}
define internal void @"tinyseq.denormals.restore"(i64 %former) alwaysinline {
  ret void
}
define internal float @"tinyseq.denormals.flushed"(float %x) alwaysinline {
  ret float %x
}
"""
"""Of a processor that always computes with denormal numbers."""

FLUSHED = """
  %magnitude = and i32 %x, 2147483647
  %denormal = icmp ult i32 %magnitude, 8388608
  %sign = and i32 %x, -2147483648
  %y = select i1 %denormal, i32 %sign, i32 %x"""
"""IR that makes of the bits %x of a float32 %y, zero for a denormal number."""


class Processor(NamedTuple):
    """A processor, or the least of its kind that a library runs on.

    ``abi`` is LLVM's name of how functions are called, where there is a choice. ``denormals`` is IR of the
    functions that ``kernels/tiles.py`` names; ``flushes``: whether they make denormal numbers zeros.
    ``bits_of`` is the ISA of the kernels that computes with the same bits.
    """

    name: str
    isa: Isa
    pointer_bits: int
    denormals: str
    flushes: bool
    bits_of: str
    abi: str = ""
