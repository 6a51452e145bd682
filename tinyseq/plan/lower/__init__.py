"""The lowerings: from one node to views and instructions, by family.

``lowering(builder, node, inputs, shapes)`` takes Views and known arrays (None where absent) and the
output shapes by the op's rule; it gives one View or known array, or a list of them. Nodes whose inputs
are all known are computed by the reference while planning and need none. Ops that run graphs have
lowerings of their own kind.
"""

from tinyseq.plan.lower import (
    elementwise,
    indexing,
    linear,
    movement,
    normalisation,
    quantized,
    recurrent,
    reduction,
    windows,
)
from tinyseq.plan.lower.control import CONTROL

FAMILIES = (
    movement, indexing, elementwise, reduction, linear, windows, normalisation, recurrent, quantized,
)  # fmt: skip

LOWERINGS = {name: lowering for family in FAMILIES for name, lowering in family.LOWERINGS.items()}
"""By op."""

TAKE_NARROW = quantized.LOWERINGS.keys() | {
    "Add", "Identity", "Cast", "Gather", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice",
    "Split",
}  # fmt: skip
"""The ops whose lowerings take narrow tensors; see ``plan/view.py``."""

__all__ = ["CONTROL", "LOWERINGS", "TAKE_NARROW"]
