"""The second wall: no instruction is written whose kernel would take its operands' elements for others.

What models may hold is checked when they are loaded; this looks at what lowerings make of them.
"""

from __future__ import annotations

from tinyseq.errors import PlanError
from tinyseq.kernels.instructions import FUNCTIONS

REPORT = "this is a fault in tinyseq: please report it with the model"

RESULTS = [row.result for row in FUNCTIONS]
"""The kind of what a function of the elementwise kernel gives, by code."""

KINDS = {
    "gather": (("i", 1), ("", 0, 2)),
    "gather_elements": (("i", 1), ("", 0, 2)),
    "within": (("i", 0),),
    "extreme": (("f", 0), ("i", 1)),
    "extreme_integer": (("i", 0, 1),),
    "top_k": (("f", 0, 1), ("i", 2)),
    "top_k_integer": (("i", 0, 1, 2),),
    "shift": (("f", 0),),
    "pack": (("f", 0),),
    "linear": (("f", 0, 9), ("i", 12)),
    "products": (("f", 0, 1, 2),),
    "softmax": (("f", 0, 4),),
    "normalise": (("f", 0, 4, 5, 6, 7, 8),),
    "depthwise": (("f", 0, 1, 2, 3),),
    "quantize_dynamic": (("f", 0, 3), ("b", 2, 4)),
    "linear_bytes": (("b", 0, 8), ("w", 9)),
    "jump_unless": (("i", 0),),
    "turn": (("i", 0),),
    "spend": (("i", 0),),
}
"""Of instructions whose operands may come from anywhere: a kind, none where any will do, and the positions of
the operands that are all of that kind."""


def check_kinds(name: str, operands: tuple) -> None:
    """Refuses operands whose elements are not of the size and kind that the instruction's kernel takes."""
    for kind, *positions in KINDS[name]:
        for position in positions:
            view = operands[position]
            if view is None:
                continue
            kind = kind or view.kind
            if view.kind != kind:
                raise PlanError(f"{name} would take {view.dtype} ({view.kind}) for {kind}; {REPORT}")
