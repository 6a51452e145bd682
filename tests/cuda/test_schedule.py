"""What programs become on a device."""

from __future__ import annotations

import ast
from pathlib import Path

from tinyseq import plan
from tinyseq.kernels.cuda.schedule import JUMPS, TWINS
from tinyseq.kernels.instructions import INSTRUCTIONS


def test_all_that_models_become_runs_on_a_device():
    """Every instruction that the planner's sources name has a twin."""
    sources = list(Path(plan.__file__).parent.rglob("*.py"))
    words = {
        node.value
        for source in sources
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    emitted = {row.name for row in INSTRUCTIONS} & words
    assert {"elementwise", "linear", "recurrent", "gather", "turn"} <= emitted
    assert emitted - {*TWINS, *JUMPS} == set()
