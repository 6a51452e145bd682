"""The lowerings: from one node to views and instructions, by family.

``lowering(builder, node, inputs, shapes)`` takes Views and known arrays (None where absent) and the
output shapes by the op's rule; it gives one View or known array, or a list of them. Nodes whose inputs
are all known are computed by the reference while planning and need none. Ops that run graphs have
lowerings of their own kind, see ``control.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from tinyseq.ir.ops import FAMILY


def lowering(op: str) -> Callable | None:
    """The lowering of an op; None if its inputs are always known."""
    return import_module(f"{__name__}.{FAMILY[op]}").LOWERINGS.get(op)
