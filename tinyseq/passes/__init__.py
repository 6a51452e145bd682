"""Passes: from a Model to an equal Model that is quicker to run, or that carries more state."""

from tinyseq.passes.narrow import check_kept, with_precision
from tinyseq.passes.simplify import simplify

__all__ = ["check_kept", "simplify", "with_precision"]
