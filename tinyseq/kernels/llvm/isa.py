"""One build of the kernels: an instruction set of a processor, and what is made use of in it."""

from __future__ import annotations


class Isa:
    """One build of the kernels.

    ``level`` counts what a processor must offer, as the C function ``tinyseq_cpu_level`` does. ``tiles``
    lists the register tiles, largest first, as (rows of x, widest run of panels): their accumulators, a
    broadcast and the weights must fit the vector registers. ``dot`` is the LLVM intrinsic that adds up
    products of bytes, which the processor's file knows how to use; empty where there is none. ``apart``:
    there are no vectors, and all tiles call one function. ``madd`` is the LLVM intrinsic that multiplies and
    adds vectors of 128 bits in one instruction; empty where LLVM's own ``fma`` becomes one. ``masked`` is how
    many float32 are read or written at once of which a mask chooses some: 1 where no instruction does that.
    ``matrix_unit``: some of the processors that have it have registers of two dimensions, see
    ``matrix_unit.py``.
    """

    __slots__ = (
        "apart",
        "cpu",
        "dot",
        "features",
        "fma",
        "halves",
        "level",
        "madd",
        "masked",
        "matrix_unit",
        "name",
        "tiles",
    )

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
        madd: str = "",
        halves: bool = False,
        matrix_unit: bool = False,
        masked: int = 1,
    ) -> None:
        self.name = name
        self.level = level
        self.cpu = cpu
        self.features = features
        self.fma = fma
        self.dot = dot
        self.tiles = tiles
        self.apart = apart
        self.madd = madd
        self.halves = halves
        self.matrix_unit = matrix_unit
        self.masked = masked
