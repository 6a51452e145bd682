"""Passes: from a Model to an equal Model that is quicker to run, or that carries more state."""

from tinyseq.passes.simplify import simplify
from tinyseq.passes.state import INPUT_WORDS, OUTPUT_WORDS, expose_state, find_state, name_state, stem

__all__ = [
    "INPUT_WORDS",
    "OUTPUT_WORDS",
    "expose_state",
    "find_state",
    "name_state",
    "simplify",
    "stem",
]
