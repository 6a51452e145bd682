"""Sequences of scripted loops: as onnxruntime runs them, or refused by name."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import GraphProto, TensorProto, helper

import tinyseq
from tests.field.written_out import drawn, node
from tests.models import graph, value

pytestmark = pytest.mark.filterwarnings("ignore::tinyseq.ConversionWarning")

X = np.random.default_rng(1).standard_normal((5, 2, 3)).astype(np.float32)
WEIGHTS = drawn(w=(3, 4), r=(4, 4))
NUMBERS = {
    "zero": np.array(0), "one": np.array(1), "last": np.array(-1), "true": np.array(True),
    "sizes": np.array([2, 3]), "axis": np.array([0]), "h0": np.zeros((2, 4), np.float32),
}  # fmt: skip


def file(nodes: list, outputs: list[str], given: dict | None = None) -> bytes:
    given = given or {"x": ["t", 2, 3]}
    made = graph(
        nodes,
        [value(name, shape=shape) for name, shape in given.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        WEIGHTS | NUMBERS,
    )
    return helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def same(model: bytes, x: np.ndarray = X) -> None:
    feeds = {"x": x}
    for own, other in zip(
        tinyseq.InferenceSession(model).run(None, feeds), onnxruntime.InferenceSession(model).run(None, feeds)
    ):
        assert own.dtype == other.dtype
        np.testing.assert_allclose(own, other, atol=1e-5)


LISTS = {
    "at": [node("SequenceConstruct", "x n", "s"), node("SequenceAt", "s last", "y")],
    "at a computed place": [
        node("SequenceConstruct", "x n", "s"),
        node("ReduceMax", "x", "m", keepdims=0),
        node("Sign", "m", "i"),
        node("Cast", "i", "place", to=TensorProto.INT64),
        node("SequenceAt", "s place", "y"),
    ],
    "joined": [node("SequenceConstruct", "x n x", "s"), node("ConcatFromSequence", "s", "y", axis=1)],
    "stacked": [
        node("SequenceConstruct", "x n", "s"), node("ConcatFromSequence", "s", "y", axis=-1, new_axis=1),
    ],
    "inserted": [
        node("SequenceEmpty", "", "e"), node("SequenceInsert", "e x", "a"),
        node("SequenceInsert", "a n zero", "b"), node("Identity", "b", "s"),
        node("ConcatFromSequence", "s", "y", axis=0),
    ],
    "erased": [
        node("SequenceConstruct", "x n x", "s"), node("SequenceErase", "s zero", "rest"),
        node("SequenceAt", "rest zero", "y"),
    ],
    "length": [node("SequenceConstruct", "x n x", "s"), node("SequenceLength", "s", "y")],
    "split by sizes": [
        node("SplitToSequence", "x sizes", "s", axis=0), node("SequenceAt", "s one", "y"),
    ],
    "split, with axis": [node("SplitToSequence", "x one", "s", axis=2), node("SequenceAt", "s last", "y")],
    "split, without": [
        node("SplitToSequence", "x", "s", axis=1, keepdims=0), node("SequenceAt", "s one", "y"),
    ],
    "split, length": [
        node("SplitToSequence", "x", "s", axis=0, keepdims=0), node("SequenceLength", "s", "y"),
    ],
    "split and joined": [
        node("SplitToSequence", "x one", "s", axis=1), node("ConcatFromSequence", "s", "y", axis=1),
    ],
}  # fmt: skip


@pytest.mark.parametrize("nodes", LISTS.values(), ids=LISTS)
def test_sequences_that_are_known(nodes):
    same(file([node("Neg", "x", "n"), *nodes], ["y"]))


def cell(more: list | None = None) -> GraphProto:
    """A turn of a scripted loop: a cell on one frame of the sequence, whose state is appended to another."""
    nodes = [
        node("SequenceAt", "frames i", "f"),
        node("MatMul", "f w", "a"),
        node("MatMul", "h r", "b"),
        node("Add", "a b", "c"),
        node("Tanh", "c", "hn"),
        node("SequenceInsert", "q hn", "qn"),
        node("Identity", "go", "on"),
        *(more or []),
    ]
    sequence = helper.make_value_info(
        "q", helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    result = helper.make_value_info(
        "qn", helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    inputs = [value("i", np.int64, []), value("go", np.bool_, []), value("h"), sequence]
    return graph(nodes, inputs, [value("on", np.bool_, []), value("hn"), result])


def scripted(axis: int, new: int, body=None) -> bytes:
    nodes = [
        node("SplitToSequence", "x", "frames", axis=0, keepdims=0),
        node("SequenceLength", "frames", "n"),
        node("SequenceEmpty", "", "empty"),
        node("Loop", "n true h0 empty", "h all", body=body or cell()),
        node("ConcatFromSequence", "all", "y", axis=axis, new_axis=new),
    ]
    return file(nodes, ["y", "h"])


@pytest.mark.parametrize(
    ("axis", "new"), [(0, 1), (1, 1), (-1, 1), (2, 1), (0, 0), (1, 0), (-1, 0), (-2, 0), (-2, 1)]
)
def test_a_scripted_loop(axis, new):
    model = scripted(axis, new)
    same(model)
    same(model, X[:3])


def test_what_a_loop_does_else_with_a_sequence_is_refused():
    more = [node("SequenceLength", "q", "count")]
    with pytest.raises(tinyseq.UnsupportedError, match=r"Loop_all.*'empty' is another"):
        tinyseq.load(scripted(0, 1, cell(more=more)))


def test_ops_of_tensors_refuse_sequences():
    nodes = [node("SequenceConstruct", "x x", "s"), node("Neg", "s", "y")]
    with pytest.raises(tinyseq.UnsupportedError, match=r"Neg_y.*'s'"):
        tinyseq.load(file(nodes, ["y"]))
