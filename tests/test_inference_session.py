"""InferenceSession in onnxruntime's place: what code written for onnxruntime passes, asks and gets."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime
import pytest

import tinyseq
from tests.models import lstm_with_state, recogniser, recurrent
from tinyseq import backends
from tinyseq.dropin.onnxruntime.options import REFUSED_SESSION_OPTIONS
from tinyseq.kernels.cuda import driver


def chunk() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, 1, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "model",
    [recogniser(), lstm_with_state(), recurrent("GRU", lengths=[5], static=True).model],
    ids=["two layers", "state", "static"],
)
def test_inference_session_stands_in_for_onnxruntime(model):
    ours = tinyseq.InferenceSession(model, providers=["CPUExecutionProvider"])
    theirs = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert ours.get_providers() == theirs.get_providers()
    for own, other in ((ours.get_inputs(), theirs.get_inputs()), (ours.get_outputs(), theirs.get_outputs())):
        assert [(v.name, v.type) for v in own] == [(v.name, v.type) for v in other]
        assert [v.shape for v in own] == [t.shape for t in other]
    rng = np.random.default_rng(0)
    sizes = {"frames": 7, "rows": 2}
    feeds = {
        v.name: rng.standard_normal([sizes.get(size, size) for size in v.shape]).astype(np.float32)
        for v in ours.get_inputs()
        if v.type == "tensor(float)"
    }
    feeds |= {v.name: np.array([5], np.int32) for v in ours.get_inputs() if v.type == "tensor(int32)"}
    names = [v.name for v in theirs.get_outputs()][::-1]
    for asked in (None, names, names[:1]):
        results, expected = ours.run(asked, feeds), theirs.run(asked, feeds)
        assert len(results) == len(expected)
        for own, other in zip(results, expected):
            np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-5)


def test_inference_session_refuses_an_unknown_output():
    with pytest.raises(tinyseq.FeedError, match=r"'z'.*y"):
        tinyseq.InferenceSession(recogniser()).run(["z"], {"x": chunk()})


OPTIONS = {
    "intra_op_num_threads": 4,
    "inter_op_num_threads": 2,
    "execution_mode": onnxruntime.ExecutionMode.ORT_PARALLEL,
    "execution_order": onnxruntime.ExecutionOrder.PRIORITY_BASED,
    "graph_optimization_level": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "enable_cpu_mem_arena": False,
    "enable_mem_pattern": False,
    "enable_mem_reuse": False,
    "use_deterministic_compute": True,
    "use_per_session_threads": False,
    "log_severity_level": 3,
    "log_verbosity_level": 1,
    "logid": "mine",
    "profile_file_prefix": "mine",
}


@pytest.fixture
def options() -> onnxruntime.SessionOptions:
    return onnxruntime.SessionOptions()


def test_options_that_change_no_result_are_taken(options):
    for name, value in OPTIONS.items():
        setattr(options, name, value)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = tinyseq.InferenceSession(
        recogniser(), options, ["CPUExecutionProvider"], [{"arena_extend_strategy": "kSameAsRequested"}],
        disabled_optimizers=["ConstantFolding"],
    )  # fmt: skip
    run_options = onnxruntime.RunOptions()
    run_options.log_severity_level, run_options.only_execute_path_to_fetches = 4, True
    run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    (found,) = session.run(None, {"x": chunk()}, run_options)
    np.testing.assert_array_equal(found, tinyseq.load(recogniser()).run({"x": chunk()})["y"])
    assert session.get_session_options() is options
    assert session._session.threads == min(4, backends.most_threads())
    assert session.get_provider_options() == {"CPUExecutionProvider": {}}
    assert session.get_overridable_initializers() == []


def test_every_session_option_was_thought_of():
    """Attributes of onnxruntime's options that appear with a new version must be looked at."""
    attributes = {
        name
        for name in dir(onnxruntime.SessionOptions)
        if not name.startswith("_") and not callable(getattr(onnxruntime.SessionOptions(), name))
    }
    known = OPTIONS.keys() | REFUSED_SESSION_OPTIONS.keys()
    assert attributes <= known


def refused_options(**attributes) -> onnxruntime.SessionOptions:
    made = onnxruntime.SessionOptions()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def ended() -> onnxruntime.RunOptions:
    made = onnxruntime.RunOptions()
    made.terminate = True
    return made


REFUSED = {
    "profile": (
        lambda: made(refused_options(enable_profiling=True)),
        "enable_profiling=True",
    ),
    "optimised model": (lambda: made(refused_options(optimized_model_filepath="x.onnx")), "save"),
    "providers": (lambda: made(None, [3]), "names or"),
    "provider options": (lambda: made(None, ["CPUExecutionProvider"], [{}, {}]), "2 provider_options for 1"),
    "ended run": (lambda: made().run(None, {"x": chunk()}, ended()), "terminate=True"),
    "vectors of values": (lambda: made().run_with_ortvaluevector(None), "run_with_ort_values"),
    "run later": (lambda: made().run_async(None, {}, print, None), "threads"),
    "profile's end": (lambda: made().end_profiling(), "profiles"),
}


def made(*arguments) -> tinyseq.InferenceSession:
    return tinyseq.InferenceSession(recogniser(), *arguments)


@pytest.mark.parametrize(("act", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_tinyseq_does_not_do_is_refused(act, words):
    with pytest.raises(tinyseq.UnsupportedError, match=words):
        act()


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: made(None, True), "providers are names or"),
        (lambda: made(None, None, 3), "provider_options are dicts"),
        (lambda: made().run(3, {"x": chunk()}), "words in a list, not 3"),
        (lambda: made().run([chunk()], {"x": chunk()}), "no output"),
        (lambda: made().run(["y", None], {"x": chunk()}), "no output None"),
    ],
    ids=["providers", "provider options", "names", "arrays for names", "None for a name"],
)
def test_arguments_that_are_none_are_refused(act, words):
    with pytest.raises(tinyseq.FeedError, match=words):
        act()


@pytest.mark.parametrize("providers", [[()], [[]], [("a", {}), ()]])
def test_a_provider_without_a_name_is_refused(providers):
    with pytest.raises(tinyseq.UnsupportedError, match="names or"):
        made(None, providers)


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="'threads'"):
        tinyseq.InferenceSession(recogniser(), threads=3)


def no_device(number: int) -> None:
    raise tinyseq.DeviceError("there is none")


def test_providers_that_are_not_there_draw_a_warning(monkeypatch):
    monkeypatch.setattr(driver, "open_device", no_device)
    with pytest.warns(UserWarning, match="no CUDAExecutionProvider"):
        session = made(None, [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"]
    with pytest.warns(UserWarning, match="no TensorrtExecutionProvider"):
        session.set_providers(["TensorrtExecutionProvider"])


def described() -> bytes:
    """A model with everything said about it that a file can say, and a size without a name."""
    model = onnx.load_from_string(recogniser())
    model.producer_name, model.domain, model.doc_string, model.model_version = "me", "org.me", "A test.", 7
    model.graph.name, model.graph.doc_string = "letters", "A graph."
    onnx.helper.set_model_props(model, {"blank": "0", "labels": "abc"})
    model.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    return model.SerializeToString()


@pytest.mark.parametrize("model", [described(), recogniser()], ids=["described", "bare"])
def test_metadata_is_what_onnxruntime_says(model, tmp_path):
    theirs = onnxruntime.InferenceSession(model).get_modelmeta()
    path = tmp_path / "model.tinyseq"
    tinyseq.load(model).save(path)
    for session in (tinyseq.InferenceSession(model), tinyseq.InferenceSession(path)):
        ours = session.get_modelmeta()
        assert {name: getattr(theirs, name) for name in ours._fields} == ours._asdict()


def test_a_size_without_a_name_is_none():
    ours, theirs = (
        kind(described()).get_inputs()[0] for kind in (tinyseq.InferenceSession, onnxruntime.InferenceSession)
    )
    assert ours.shape == theirs.shape == [None, "rows", 3]


def test_an_empty_list_of_outputs_is_all_of_them():
    feeds = {"x": chunk()}
    assert len(made().run([], feeds)) == len(onnxruntime.InferenceSession(recogniser()).run([], feeds)) == 1


def test_without_the_onnx_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for providers in (None, ["CUDAExecutionProvider", "CPUExecutionProvider"]):
        with pytest.raises(tinyseq.MissingPackageError, match=r"pip install 'tinyseq\[onnx\]'"):
            tinyseq.InferenceSession(recogniser(), providers=providers)
