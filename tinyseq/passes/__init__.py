"""Passes: from a Model to an equal Model that is quicker to run, or that carries more state."""

from tinyseq.passes.simplify import simplify
from tinyseq.passes.state import expose_state

__all__ = ["expose_state", "simplify"]
