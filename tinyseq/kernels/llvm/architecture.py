"""The processors that kernels are built for, behind names that all else calls; each has a file of its own.

Such a file has:

* ``MACHINES``: what systems call it;
* ``ISAS``: its instruction sets by name, slowest first; the kernels are built for each;
* ``CPU_LEVEL``: LLVM IR of a C function that tells which of them the CPU has, where an instruction does;
* ``cpu_level(function)``: up to which of them this machine's CPU has; ``function(name)`` is a C function of
  ``CPU_LEVEL``;
* ``CONTROL``: LLVM IR of the functions of ``tiles.py`` which make denormal numbers zero and what they were
  before;
* ``byte_arithmetic(isa)``: how a tile multiplies bytes, see ``values.Arithmetic``;
* of one with an instruction set of which some processors have a matrix unit: ``matrix_unit()``, see
  ``matrix_unit.Unit``; ``MATRIX_UNIT``, LLVM IR of ``tinyseq_matrix_unit``, a C function that switches it on
  and says whether it is; and ``ask_for_matrix_unit()``, which asks the system for what it needs, and says
  whether it lets this process have it.

What compiling for a system on one of them needs stands in ``tinyseq/export/targets.py``.
"""

from __future__ import annotations

import platform
from types import ModuleType
from typing import TYPE_CHECKING

from tinyseq.kernels.llvm import aarch64, x86_64
from tinyseq.kernels.llvm.isa import Isa

if TYPE_CHECKING:
    from tinyseq.kernels.llvm.matrix_unit import Unit
    from tinyseq.kernels.llvm.values import Arithmetic

ARCHITECTURES = {"x86_64": x86_64, "aarch64": aarch64}

ISAS = {name: isa for own in ARCHITECTURES.values() for name, isa in own.ISAS.items()}
"""The instruction sets of all processors by name."""

HERE = next((own for own in ARCHITECTURES.values() if platform.machine() in own.MACHINES), x86_64)
"""The processor at hand."""


def of(isa: Isa) -> ModuleType:
    """The processor that an instruction set is one of."""
    return next(own for own in ARCHITECTURES.values() if isa.name in own.ISAS)


def byte_arithmetic(isa: Isa) -> Arithmetic:
    """How a tile of an instruction set with ``dot`` multiplies bytes."""
    return of(isa).byte_arithmetic(isa)


def matrix_unit(isa: Isa) -> Unit | None:
    """The matrix unit that some processors with an instruction set have; None where none has."""
    return of(isa).matrix_unit() if isa.matrix_unit else None
