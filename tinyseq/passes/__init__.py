"""Passes: from a Model to an equal Model that is quicker to run, or that carries more state."""

from tinyseq.passes.simplify import simplify

__all__ = ["simplify"]
