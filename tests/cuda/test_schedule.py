"""What programs become on a device."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from tinyseq import plan
from tinyseq.kernels.cuda.schedule import ADVICE, JUMPS, TWINS, missing
from tinyseq.kernels.cuda.weighted import LINEARS
from tinyseq.kernels.formats import BYTE_BLOCK, FLOAT32, FORMATS
from tinyseq.kernels.instructions import INSTRUCTIONS, OPCODES, OPERANDS


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
    assert emitted - {*TWINS, *JUMPS, *ADVICE} == set()


@pytest.mark.parametrize("name", ["linear", "recurrent"])
def test_formats_that_a_device_does_not_multiply_with_are_named(monkeypatch, name):
    for of in FORMATS:
        row = [OPCODES[name], 2 + len(OPERANDS[name]), *[0] * (len(OPERANDS[name]) - 1), of.code]
        assert (missing(np.array(row)) == []) == (of in (FLOAT32, BYTE_BLOCK))
        monkeypatch.delitem(LINEARS, of.code, raising=False)
        assert missing(np.array(row)) == [f"{name} with weights of {of.name}"]
