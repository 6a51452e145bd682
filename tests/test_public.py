"""The face shows itself: names, types, and what objects say of themselves."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
from onnx import parser

import tinyseq
from tests.arguments import things
from tests.models import lstm_with_state, recogniser

SOURCE = ast.parse(Path(tinyseq.__file__).read_text())


def test_dir_has_all_public_names():
    assert set(tinyseq.__all__) <= set(dir(tinyseq))
    assert tinyseq.__all__ == sorted(tinyseq.__all__)
    for name in tinyseq.__all__:
        assert getattr(tinyseq, name) is not None


def test_type_checkers_see_what_is_imported_later():
    (checked,) = [node for node in SOURCE.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module.removeprefix("tinyseq.") for node in checked.body for alias in node.names}
    assert seen == tinyseq._LATER
    assert Path(tinyseq.__file__).with_name("py.typed").exists()


@pytest.mark.parametrize("name", tinyseq.__all__)
def test_public_objects_are_explained(name):
    assert inspect.getdoc(getattr(tinyseq, name))


def stream() -> tinyseq.Stream:
    return tinyseq.load(lstm_with_state()).stream()


def graph() -> tinyseq.Graph:
    g = tinyseq.Graph()
    g.output("y", g.relu(g.input("x", ["rows", 3])))
    return g


OBJECTS = {
    "stream": (stream, "Stream(h float32[1, 1, 4], c float32[1, 1, 4])"),
    "state": (lambda: stream().snapshot(), "State(h float32[1, 1, 4], c float32[1, 1, 4])"),
    "pool": (things.pool, "Pool(1 of 2 rows open, each h float32[1, 1, 4], c float32[1, 1, 4])"),
    "graph": (graph, "Graph(1 nodes, inputs x float32[rows, 3], outputs y)"),
    "model": (
        lambda: graph().model(),
        "Model(ModelGraph(1 nodes, inputs x float32[rows, 3], outputs y), 0 states)",
    ),
    "decoder": (things.writer, "Decoder(tokens token, scores scores, state h)"),
    "transducer": (
        things.transducing,
        "Transducer(6 symbols, frames of 6 numbers, 2 start tokens, an encoder)",
    ),
    "chunks": (things.front_end, "Chunks(4 samples, 0 left over)"),
    "recognizer stream": (things.hearing, "RecognizerStream(16000 Hz, 0 steps ready)"),
    "inference session": (
        things.like_onnxruntime,
        "InferenceSession(inputs x float32[frames, rows, 3], h float32[1, rows, 4], c float32[1, rows, 4]; "
        "outputs y float32[frames, 1, rows, 4], hn float32[1, rows, 4], cn float32[1, rows, 4])",
    ),
}


@pytest.mark.parametrize("made", OBJECTS)
def test_objects_say_what_they_are(made):
    make, wanted = OBJECTS[made]
    assert repr(make()) == wanted


@pytest.mark.parametrize(
    "name", [name for name in tinyseq.__all__ if inspect.isclass(getattr(tinyseq, name))]
)
def test_no_object_shows_its_address(name):
    kind = getattr(tinyseq, name)
    assert kind.__repr__ is not object.__repr__ or kind is tinyseq.FrontEnd


def test_decoders_show_their_options():
    decoder = tinyseq.CtcDecoder(tinyseq.CtcGreedy(blank=2))
    assert "CtcGreedy(blank=2" in repr(decoder) and "CtcGreedy(blank=2" in repr(decoder.stream())
    assert "every 0.1 s, CtcDecoder(CtcBeamSearch(" in repr(things.recognizer())


def test_outputs_of_a_graph_have_shapes(tmp_path):
    """What the shape rules know: sizes of inputs by their names, others by the tensor and the axis."""
    g = tinyseq.Graph()
    x = g.input("x", ["frames", "rows", 3])
    w = np.zeros((12, 3)), np.zeros((12, 4)), np.zeros(12)
    y, h = g.gru(x, [w[0], w[1], w[2], w[2]], layout="torch")
    g.output("y", y)
    g.output("h", h)
    g.output("flat", g.reshape(y, [-1, 4]))
    model = tinyseq.load(g)
    assert [str(value) for value in model.outputs] == [
        "y float32[frames, rows, 4]",
        "h float32[1, rows, 4]",
        "flat float32[flat.0, 4]",
    ]
    assert "output  y float32[frames, rows, 4]" in str(model)
    model.save(tmp_path / "model.tinyseq")
    assert tinyseq.load(tmp_path / "model.tinyseq").outputs == model.outputs


def test_shapes_that_a_file_says_stay():
    assert str(tinyseq.load(recogniser()).outputs[0]) == "y float32[frames, rows, 5]"


def test_a_number_that_only_an_example_had_gives_way():
    """PyTorch's exporter declares the example's number of frames behind a recurrent layer."""
    model = parser.parse_model("""
        <ir_version: 9, opset_import: ["": 17]>
        example (float[1, frames, 8] x) => (float[1, 10, 8] y) { y = Relu(x) }
    """)
    model = tinyseq.load(model)
    assert str(model.outputs[0]) == "y float32[1, frames, 8]"
    assert model.run({"x": np.ones((1, 7, 8), np.float32)})["y"].shape == (1, 7, 8)
