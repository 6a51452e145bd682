"""Weights that lie in a file beside the model: read with a path, and never for bytes."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tinyseq
from tests.models import graph, value
from tinyseq import onnx_backend

W = np.arange(6, dtype=np.float32)


def elsewhere(location: str) -> TensorProto:
    """A tensor whose elements lie in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[6], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def weight(location: str) -> onnx.GraphProto:
    made = graph([helper.make_node("Identity", ["w"], ["y"])], [], [value("y", shape=[6])])
    made.initializer.append(elsewhere(location))
    return made


def constant(location: str) -> onnx.GraphProto:
    nodes = [helper.make_node("Constant", [], ["y"], value=elsewhere(location))]
    return graph(nodes, [], [value("y", shape=[6])])


def branch(location: str) -> onnx.GraphProto:
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=weight(location), else_branch=constant(location))
    ]
    return graph(nodes, [], [value("y", shape=[6])], {"c": np.array(True)})


def proto(form, location: str) -> onnx.ModelProto:
    return helper.make_model(form(location), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


TAKERS = {
    "load": lambda model: tinyseq.load(model.SerializeToString()),
    "load of a bytearray": lambda model: tinyseq.load(bytearray(model.SerializeToString())),
    "InferenceSession": lambda model: tinyseq.InferenceSession(model.SerializeToString()),
    "onnx_backend": onnx_backend.prepare,
}


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    (tmp_path / "secret.key").write_bytes(W.tobytes())
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("form", [weight, constant, branch])
@pytest.mark.parametrize("taker", TAKERS)
def test_bytes_read_no_file(tmp_path, form, taker):
    for location in ("secret.key", "./secret.key", str(tmp_path / "secret.key"), "missing", ""):
        with pytest.raises(
            tinyseq.ModelError, match=r"'w' of the given (bytes|model) lies in another .*give the path"
        ):
            TAKERS[taker](proto(form, location))


@pytest.mark.parametrize("form", [weight, constant, branch])
@pytest.mark.parametrize("load", [tinyseq.load, lambda path: tinyseq.InferenceSession(path)._session])
def test_a_path_reads_what_lies_beside_it(tmp_path, monkeypatch, form, load):
    path = tmp_path / "m.onnx"
    path.write_bytes(proto(form, "secret.key").SerializeToString())
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(load(path).run({})["y"], W)


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("missing", lambda path: None),
        ("a device or a pipe", os.mkfifo),
        ("a folder", lambda path: path.mkdir()),
        ("damaged", lambda path: path.symlink_to(path.with_name("secret.key"))),
    ],
)
def test_what_lies_there_is_a_file(tmp_path, what, make):
    make(tmp_path / "beside")
    path = tmp_path / "m.onnx"
    path.write_bytes(proto(weight, "beside").SerializeToString())
    with pytest.raises(tinyseq.ModelError, match=rf"'w' of .* lies in the file 'beside' .*{what}"):
        tinyseq.load(path)
