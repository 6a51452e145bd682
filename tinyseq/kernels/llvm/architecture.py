"""The processor at hand, behind names that all else calls; each has a file of its own.

Such a file has:

* ``ISAS``: its instruction sets by name, slowest first; the kernels are built for each;
* ``CPU_LEVEL``: LLVM IR of the C function ``tinyseq_cpu_level``, which says up to which of them it has;
* ``CONTROL``: LLVM IR of the functions of ``tiles.py`` which make denormal numbers zero and what they were
  before;
* ``byte_arithmetic(isa)``: how a tile multiplies bytes, see ``values.Arithmetic``;
* ``TRIPLE``, ``PLATFORM`` and ``SUFFIX``: what LLVM and wheels call it, and how names of libraries end.
"""

from __future__ import annotations

import platform

from tinyseq.kernels.llvm import x86_64

ARCHITECTURES = {"x86_64": x86_64}
"""By what the system calls the machine."""

_own = ARCHITECTURES.get(platform.machine(), x86_64)

CONTROL = _own.CONTROL
CPU_LEVEL = _own.CPU_LEVEL
ISAS = _own.ISAS
PLATFORM = _own.PLATFORM
SUFFIX = _own.SUFFIX
TRIPLE = _own.TRIPLE
byte_arithmetic = _own.byte_arithmetic
