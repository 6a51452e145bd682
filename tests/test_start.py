"""What a process that only runs models has to load."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from onnx import TensorProto, helper

import tinyseq
from tinyseq.ir.ops import FAMILIES
from tinyseq.speech.voice_detector import MODEL

UNWANTED = ("numba", "llvmlite", "onnx")
CHECK = f"loaded = [name for name in {UNWANTED} if name in sys.modules]; assert not loaded, loaded"


@pytest.fixture
def saved(tmp_path):
    """A small model in tinyseq's own format."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 3)) for name in "xy")
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "small", [x], [y])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    model = tinyseq.load(proto.SerializeToString())
    model.save(tmp_path / "small.tinyseq")
    return tmp_path / "small.tinyseq"


def run(program: str, *arguments: object) -> None:
    """Runs a program in a fresh process and then looks at its modules."""
    # Without site, whose own imports would hide those of tinyseq.
    command = [sys.executable, "-S", "-c", f"import sys, tinyseq\n{program}\n{CHECK}", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def test_import_leaves_the_compilers_alone():
    run("")


def test_own_format_needs_no_compiler_and_no_converter(saved):
    run("import numpy as np; tinyseq.load(sys.argv[1]).run({'x': np.ones((2, 3), np.float32)})", saved)


def test_only_the_families_of_a_model_are_imported(saved):
    others = [
        *(f"tinyseq.plan.lower.{family}" for family in FAMILIES if family != "elementwise"),
        *(f"tinyseq.reference.{family}" for family in FAMILIES),
        "safetensors",
    ]
    run(
        "import numpy as np; tinyseq.load(sys.argv[1]).run({'x': np.ones((2, 3), np.float32)})\n"
        "assert not set(sys.argv[2:]) & set(sys.modules), set(sys.argv[2:]) & set(sys.modules)",
        saved,
        *others,
    )


def test_a_model_that_tells_its_state_is_streamed_without_a_search_for_it():
    """The voice detector: state pairs, branches, convolutions and an LSTM."""
    later = [
        *(f"tinyseq.passes.{name}" for name in ("axes", "follow", "pairs", "probe", "recognise", "time")),
        *(f"tinyseq.{name}" for name in ("ir.clock", "kernels.machine", "plan.rows", "runtime.pool")),
        *(f"tinyseq.{name}" for name in ("backends.overlap", "kernels.activations")),
        *("array", "dataclasses", "pathlib", "threading", "safetensors"),
    ]
    run(
        "import numpy as np\n"
        "feeds = {'input': np.zeros((1, 576), np.float32), 'sr': np.array(16000)}\n"
        "tinyseq.load(sys.argv[1]).stream().step(feeds)\n"
        "assert not set(sys.argv[2:]) & set(sys.modules), set(sys.argv[2:]) & set(sys.modules)",
        MODEL,
        *later,
    )


def test_fields_of_named_tuples_are_types_not_text():
    """Types that are text, as all behind ``from __future__`` are, are compiled one by one: half the time that
    such a class takes to make."""
    run(
        "import numpy as np, typing\n"
        "feeds = {'input': np.zeros((1, 576), np.float32), 'sr': np.array(16000)}\n"
        "tinyseq.load(sys.argv[1]).stream().step(feeds)\n"
        "own = [vars(m) for name, m in list(sys.modules.items()) if name.startswith('tinyseq')]\n"
        "classes = {v for names in own for v in names.values() if isinstance(v, type)}\n"
        "tuples = {v for v in classes if hasattr(v, '_fields')}\n"
        "types = {v: {type(t) for t in v.__annotations__.values()} for v in tuples}\n"
        "text = [v for v, kinds in types.items() if kinds == {typing.ForwardRef}]\n"
        "assert tuples and not text, text",
        MODEL,
    )


def test_recurrent_tables_wait_for_a_recurrent_layer(saved):
    run(
        "import numpy as np; tinyseq.load(sys.argv[1]).run({'x': np.ones((2, 3), np.float32)})\n"
        "assert not {'tinyseq.kernels.cells', 'tinyseq.kernels.activations'} & set(sys.modules)",
        saved,
    )
