"""Passes and planning, from a file to a program. Neither they nor the reference need built kernels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from tinyseq.converters import onnx

from tests.models import lstm_with_state, recogniser
from tinyseq import passes, reference
from tinyseq.passes.pairs import find_state
from tinyseq.passes.streaming import streaming
from tinyseq.plan.packing import PackedWeights
from tinyseq.plan.planner import Planner

ROOT = Path(__file__).parent.parent
X = {"x": np.ones((4, 1, 3), np.float32)}


def test_state_is_paired_by_dataflow():
    file = onnx.load(lstm_with_state())
    model = find_state(passes.simplify(file), file.graph)
    assert [(pair.input, pair.output) for pair in model.state] == [("h", "hn"), ("c", "cn")]


def test_hidden_state_becomes_state():
    model = passes.simplify(onnx.load(recogniser()))
    assert model.state == ()
    streamed = streaming(model)
    assert [pair.input for pair in streamed.model.state] == ["gru0.h", "gru1.h"]
    assert (streamed.inputs, streamed.outputs) == ({"x": 0}, {"y": 0})


def test_a_plan_is_a_program():
    planner = Planner(passes.simplify(onnx.load(recogniser())), PackedWeights(()))
    plan = planner.draft({"x": (4, 1, 3)}, {}).plan()
    assert plan.program.dtype == np.int64 and len(plan.program)
    assert plan.outputs["y"].shape == (4, 1, 5)
    longer = planner.draft({"x": (9, 1, 3)}, {}).plan()
    assert longer.outputs["y"].shape == (9, 1, 5) and longer.arena_bytes > plan.arena_bytes


def test_the_reference_interprets_the_simplified_model_alike():
    model = onnx.load(recogniser())
    wanted, found = (reference.run(each, X)["y"] for each in (model, passes.simplify(model)))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_all_this_needs_no_built_kernels(tmp_path):
    """The others of this file, where none are."""
    program = (
        "import pytest, sys; from tinyseq.kernels import library\n"
        "library.FOLDER = sys.argv[1]\n"
        "sys.exit(pytest.main([sys.argv[2], '-q', '-p', 'no:cacheprovider', '-k', 'not built_kernels']))"
    )
    command = [sys.executable, "-c", program, str(tmp_path), __file__]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
