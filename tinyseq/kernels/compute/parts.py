"""What members of a team run: a part of a task, by its kind; see ``sharing.py``."""

from __future__ import annotations

from tinyseq.kernels.compute.recurrent import part_of_layer
from tinyseq.kernels.compute.shared import part_of_product
from tinyseq.kernels.compute.sharing import PART
from tinyseq.kernels.formats import ELEMENTS
from tinyseq.kernels.llvm.intrinsics import compiled, denormals_off, denormals_restore, integers
from tinyseq.kernels.llvm.switch import switch

_kinds = [part_of_layer, *map(part_of_product, ELEMENTS)]
_run = switch("run", _kinds, ("task", "part", "parts"), "kind")


@compiled(PART)
def run_part(task, part, parts):
    """Runs a part of a task; denormal numbers count as zero meanwhile, as in the call that shares it."""
    former = denormals_off()
    _run(integers(task)[0], task, part, parts)
    denormals_restore(former)
    return 0
