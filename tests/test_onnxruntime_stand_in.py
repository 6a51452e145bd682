"""tinyseq.onnxruntime in onnxruntime's place: what packages that import it call beside sessions."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

import tinyseq
import tinyseq.onnxruntime as ours
from tests.field.written_out import file, node
from tests.models import recogniser

X = np.random.default_rng(0).standard_normal((4, 1, 3)).astype(np.float32)
HAVE = [
    name
    for name in ours.__all__
    if name not in ("get_all_providers", "get_build_info", "SessionIOBinding", "IOBinding")
]


@pytest.mark.parametrize("name", HAVE)
def test_a_name_is_one_of_onnxruntime(name):
    assert hasattr(onnxruntime, name)


@pytest.mark.parametrize("kind", ["GraphOptimizationLevel", "ExecutionMode", "ExecutionOrder"])
def test_levels_and_modes_are_those_of_onnxruntime(kind):
    assert {level.name: int(level) for level in getattr(ours, kind)} == {
        name: int(level) for name, level in getattr(onnxruntime, kind).__members__.items()
    }


@pytest.mark.parametrize("kind", ["SessionOptions", "RunOptions"])
def test_options_begin_as_those_of_onnxruntime(kind):
    own, theirs = getattr(ours, kind)(), getattr(onnxruntime, kind)()
    names = [n for n in dir(theirs) if not n.startswith("_") and not callable(getattr(theirs, n))]
    for name in names:
        value = getattr(theirs, name)
        assert getattr(own, name) == (int(value) if hasattr(value, "name") else value), name
    with pytest.raises(AttributeError, match="no attribute 'threads'"):
        own.threads = 3


def test_options_are_taken_or_refused():
    options = ours.SessionOptions()
    options.intra_op_num_threads = 2
    options.graph_optimization_level = ours.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    session = ours.InferenceSession(recogniser(), options)
    assert session.get_session_options() is options
    assert isinstance(ours.InferenceSession(recogniser()).get_session_options(), ours.SessionOptions)
    for act, words in (
        (lambda: options.register_custom_ops_library("a.so"), "a.so"),
        (lambda: options.add_initializer("w", None), "'w'"),
        (lambda: options.add_provider("CUDAExecutionProvider"), "providers="),
    ):
        with pytest.raises(tinyseq.UnsupportedError, match=words):
            act()
    options.enable_profiling = True
    with pytest.raises(tinyseq.UnsupportedError, match="enable_profiling"):
        ours.InferenceSession(recogniser(), options)


def values(module):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    value = module.OrtValue.ortvalue_from_numpy(array)
    zeros = module.OrtValue.ortvalue_from_shape_and_type([2, 3], np.int64, "cpu", 0)
    zeros.update_inplace(np.ones((2, 3), np.int64))
    return [
        (v.shape(), v.data_type(), v.element_type(), v.device_name(), v.is_tensor(), v.numpy().tolist())
        for v in (value, zeros)
    ]


def test_values_are_those_of_onnxruntime():
    assert values(ours) == values(onnxruntime)
    value = ours.OrtValue.ortvalue_from_shape_and_type([2], np.float32)
    with pytest.raises(tinyseq.FeedError, match="does not fit"):
        value.update_inplace(np.ones(3, np.float32))
    with pytest.raises(tinyseq.UnsupportedError, match="'cuda'"):
        ours.OrtValue.ortvalue_from_numpy(X, "cuda", 0)


def bound(module) -> list[np.ndarray]:
    session = module.InferenceSession(recogniser())
    found = []
    binding = session.io_binding()
    binding.bind_cpu_input("x", X)
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    found += binding.copy_outputs_to_cpu() + [value.numpy() for value in binding.get_outputs()]
    target = module.OrtValue.ortvalue_from_numpy(np.zeros_like(found[0]))
    binding.clear_binding_inputs()
    binding.clear_binding_outputs()
    binding.bind_ortvalue_input("x", module.OrtValue.ortvalue_from_numpy(2 * X))
    binding.bind_ortvalue_output("y", target)
    session.run_with_iobinding(binding)
    buffer, given = np.zeros_like(found[0]), 3 * X
    again = session.io_binding()
    again.bind_input("x", "cpu", 0, np.float32, given.shape, given.ctypes.data)
    again.bind_output("y", "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
    session.run_with_iobinding(again)
    fed = {"x": module.OrtValue.ortvalue_from_numpy(4 * X)}
    return [*found, target.numpy(), buffer, session.run_with_ort_values(["y"], fed)[0].numpy()]


def test_bindings_give_what_onnxruntime_gives():
    for own, other in zip(bound(ours), bound(onnxruntime), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)
        assert own.any()


def test_a_binding_that_does_not_fit_is_refused():
    session = ours.InferenceSession(recogniser())
    binding = session.io_binding()
    binding.bind_cpu_input("x", X)
    with pytest.raises(tinyseq.FeedError, match="no output 'z'"):
        binding.bind_output("z")
    with pytest.raises(tinyseq.FeedError, match="an address"):
        binding.bind_output("y", "cpu", 0, np.float32, [1], 0)
    binding.bind_ortvalue_output("y", ours.OrtValue.ortvalue_from_numpy(np.zeros(1, np.float32)))
    with pytest.raises(tinyseq.FeedError, match=r"float32\[1\]"):
        session.run_with_iobinding(binding)
    with pytest.raises(tinyseq.FeedError, match="io_binding"):
        session.run_with_iobinding(None)


def test_devices_and_providers():
    assert ours.get_available_providers()[-1] == "CPUExecutionProvider"
    assert ours.get_device() in ("CPU", "GPU")
    assert ours.set_default_logger_severity(3) is ours.preload_dlls() is ours.set_seed(0) is None
    assert ours.get_version_string() == ours.__version__
    with pytest.raises(AttributeError, match="no 'SparseTensor'"):
        _ = ours.SparseTensor


@pytest.mark.parametrize(
    ("nodes", "declared"),
    [
        ([node("Flatten", "x", "y")], ["anything", "else"]),
        ([node("Transpose", "x", "y", perm=[2, 0, 1])], [None, None, None]),
        ([node("Transpose", "x", "y", perm=[2, 0, 1])], ["a", "b", "c"]),
        ([node("Transpose", "x", "y", perm=[2, 0, 1])], None),
    ],
)
@pytest.mark.parametrize("given", [["n", 4, 5], [None, 4, 5]])
def test_outputs_are_as_specific(nodes, declared, given):
    model = file(nodes, {"x": given}, {"y": declared}, {})
    own, theirs = (module.InferenceSession(model).get_outputs()[0] for module in (ours, onnxruntime))
    assert (own.name, own.type, own.shape) == (theirs.name, theirs.type, theirs.shape)


STANDS_IN = """
import sys
import tinyseq.onnxruntime
sys.modules["onnxruntime"] = tinyseq.onnxruntime
import onnxruntime as ort
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, NoSuchFile
assert issubclass(NoSuchFile, Fail) and InferenceSession is tinyseq.InferenceSession
try:
    InferenceSession("missing.onnx", SessionOptions())
except Fail as error:
    print(ort.__version__, error)
"""


def test_it_stands_in_sys_modules():
    done = subprocess.run([sys.executable, "-c", STANDS_IN], capture_output=True, text=True, check=True)
    assert "missing.onnx" in done.stdout


def test_the_public_module_has_all_names():
    inner = importlib.import_module("tinyseq.dropin.onnxruntime")
    assert all(getattr(ours, name) is getattr(inner, name) for name in inner.__all__)
