"""tinyseq.onnx_backend: ONNX's own tests of nodes, and the interface."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import tinyseq
from tests import onnx_nodes
from tests.models import recogniser
from tests.onnx_nodes import BACKENDS, DIFFERENT, OTHERS, REFUSED
from tinyseq import onnx_backend
from tinyseq.ir.ops import OPS


@pytest.mark.parametrize("op", [*(op for op, row in OPS.items() if not row.domain), *OTHERS, ""])
@pytest.mark.parametrize("device", BACKENDS)
def test_onnx_tests_pass_or_are_refused_for_a_reason(device, op):
    outcomes = onnx_nodes.outcomes(device)
    names = [case.name for case in onnx_nodes.cases() if case.op == op]
    assert names or op in OTHERS
    failed = {name: outcomes[name].why for name in names if outcomes[name].verdict == "failed"}
    assert failed == {}


def test_no_reason_is_without_a_case():
    found = {outcome.why for device in BACKENDS for outcome in onnx_nodes.outcomes(device).values()}
    assert found == {"", *REFUSED, *DIFFERENT.values()}


X = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(np.float32)


def test_inputs_in_order_by_name_or_alone():
    prepared = onnx_backend.prepare(onnx.load_from_string(recogniser()))
    expected = tinyseq.load(recogniser()).run({"x": X})["y"]
    for given in ([X], (X,), {"x": X}, X):
        (y,) = prepared.run(given)
        np.testing.assert_array_equal(y, expected)


def test_the_reference_gives_the_types_that_the_graph_declares():
    (y,) = onnx_backend.ReferenceBackend.run_model(onnx.load_from_string(recogniser()), [X])
    assert y.dtype == np.float32


@pytest.mark.parametrize("backend", BACKENDS.values())
def test_a_node_alone(backend):
    (y,) = backend.run_node(helper.make_node("Gather", ["x", "i"], ["y"], axis=1), [X, np.array([1, 0])])
    np.testing.assert_array_equal(y, X[:, [1, 0]])
    info = [(np.dtype(np.float32), X.shape)]
    (y,) = backend.run_node(helper.make_node("Add", ["x", "x"], ["y"]), [X], outputs_info=info)
    np.testing.assert_array_equal(y, X + X)


def test_devices():
    assert onnx_backend.supports_device("CPU")
    assert not onnx_backend.supports_device("CUDA")
    assert onnx_backend.is_compatible(onnx.load_from_string(recogniser()))


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda model: onnx_backend.prepare(model, "CUDA"), "'CUDA'"),
        (lambda model: onnx_backend.prepare(model, threads=2), "threads"),
        (lambda model: onnx_backend.prepare(model).run([X, X]), "2 inputs given; the model takes 1: x"),
        (lambda model: onnx_backend.run_node(helper.make_node("Unique", ["x"], ["y"]), [X]), "Unique"),
    ],
)
def test_what_is_wrong_is_said(act, words):
    with pytest.raises(tinyseq.TinyseqError, match=words):
        act(onnx.load_from_string(recogniser()))
