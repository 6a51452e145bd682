"""Cells that exporters take apart: told from graphs, run as layers, and meaning what they meant."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

import tinyseq
from tests.models import model, value
from tests.strategies.cells import FORMS_BY_EXPRESSION, decomposed_cells
from tinyseq import passes, reference
from tinyseq.ir.model import Model
from tinyseq.ir.ops import OPS
from tinyseq.runtime import loading

DATA = Path(__file__).parent / "data" / "cells"
LAYERS = {name for name, row in OPS.items() if row.state}


def layers_of(model: Model) -> list[str]:
    """The recurrent layers of a simplified model, and what is left of cells in it."""
    return [node.op for node in model.graph.nodes if node.op in {*LAYERS, "Sigmoid", "Tanh"}]


def check(source: bytes | Path, feeds: dict[str, np.ndarray], *expected: str) -> None:
    """A model becomes these layers, and its results stay what they were."""
    given = loading.read(source)
    assert layers_of(passes.simplify(given)) == list(expected)
    exact = reference.run(given, feeds)
    results = tinyseq.load(source).run(feeds)
    also = tinyseq.load(source, device="reference").run(feeds)
    for name, array in exact.items():
        np.testing.assert_allclose(also[name], array, rtol=1e-6, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(results[name], array, rtol=1e-5, atol=1e-5, err_msg=name)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


EXPORTED = {
    "lstm": ["LSTM"],
    "lstm_chunked": ["LSTM"],
    "lstm_frames": ["LSTM"],
    "lstm_gate_by_gate": ["LSTM"],
    "gru": ["GRU"],
    "gru_backward": ["GRU"],
    "gru_decoder": ["GRU"] * 4,
    "gru_reset_before": ["GRU"],
    "rnn": ["RNN"],
    "rnn_relu": ["RNN"],
}
"""By file of ``data/make_cells.py``: the layers that it becomes."""


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("exporter", ["script", "dynamo"])
@pytest.mark.parametrize("name", EXPORTED)
def test_exported_cells(name, exporter, rows):
    path = DATA / f"{name}_{exporter}.onnx"
    inputs = loading.read(path).graph.inputs
    feeds = {v.name: normal(*(rows if isinstance(size, str) else size for size in v.shape)) for v in inputs}
    check(path, feeds, *EXPORTED[name])
    theirs = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    results = tinyseq.load(path).run(feeds)
    for output, array in zip(theirs.get_outputs(), theirs.run(None, feeds)):
        np.testing.assert_allclose(results[output.name], array, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("expression", FORMS_BY_EXPRESSION)
@given(data=st.data())
def test_every_form_is_recognised_however_it_is_written(expression, data):
    form = FORMS_BY_EXPRESSION[expression]
    case = data.draw(decomposed_cells(form))
    given = loading.read(case.model)
    assert Counter(layers_of(passes.simplify(given))) == Counter([form.op])
    exact, results = reference.run(given, case.feeds), tinyseq.load(case.model).run(case.feeds)
    for name, array in exact.items():
        np.testing.assert_allclose(results[name], array, rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_chain_over_frames_is_one_layer_over_the_sequence():
    graph = passes.simplify(loading.read(DATA / "lstm_frames_script.onnx")).graph
    (layer,) = (node for node in graph.nodes if node.op == "LSTM")
    assert layer.inputs[0] == "x"
    graph = passes.simplify(loading.read(DATA / "gru_backward_dynamo.onnx")).graph
    (layer,) = (node for node in graph.nodes if node.op == "GRU")
    assert layer.attributes["direction"] == "reverse"


def test_unrolled_cells_share_their_weights():
    graph = passes.simplify(loading.read(DATA / "gru_decoder_script.onnx")).graph
    assert len({node.inputs[1:4] for node in graph.nodes if node.op == "GRU"}) == 1


# Near misses: each stays as it is.

SIZE = 4
ROWS = ("rows", SIZE)
CONSTANTS = {name: normal(SIZE, SIZE) + place for place, name in enumerate("ABCDEFGH")} | {
    "one": np.float32(1),
    "steps": np.array([0]),
}


def n(op: str, inputs: str, outputs: str, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def gate(name: str, function: str = "Sigmoid", x: str = "x", h: str = "h", w: str = "AB"):
    """``function(x @ w + h @ u)`` under a name."""
    return [
        n("MatMul", f"{x} {w[0]}", f"{name}.x"),
        n("MatMul", f"{h} {w[1]}", f"{name}.h"),
        n("Add", f"{name}.x {name}.h", f"{name}.sum"),
        n(function, f"{name}.sum", name),
    ]


def lstm_nodes(output: list | None = None, **gates: list):
    made = {name: gate(name) for name in "ifo"} | {"g": gate("g", "Tanh")} | gates
    return [
        *made["i"], *made["f"], *made["g"],
        n("Mul", "f c0", "kept"), n("Mul", "i g", "taken"), n("Add", "kept taken", "c"),
        *made["o"], n("Tanh", "c", "shown"), *(output or [n("Mul", "o shown", "y")]),
    ]  # fmt: skip


def gru_nodes(n_sum: list, keep: str = "z"):
    return [
        *gate("z"), *gate("r", w="CD"), *n_sum, n("Tanh", "n.sum", "n"), n("Sub", f"one {keep}", "rest"),
        n("Mul", "rest n", "new"), n("Mul", "z h", "old"), n("Add", "new old", "y"),
    ]  # fmt: skip


RESET = [
    n("MatMul", "x E", "n.x"),
    n("MatMul", "h F", "n.h"),
    n("Mul", "r n.h", "n.r"),
    n("Add", "n.x n.r", "n.sum"),
]

MISSES = {
    "gates of different activations": (lstm_nodes(f=gate("f", "HardSigmoid")), {}),
    "a gate of another input": (lstm_nodes(o=gate("o", x="wide")), {"wide": ("wide rows", SIZE)}),
    "one state for many rows": (lstm_nodes(), {"h": (1, SIZE)}),
    "one cell state for many rows": (lstm_nodes(), {"c0": (1, SIZE)}),
    "an output gate that sees the new cell": (lstm_nodes(o=gate("o", x="c")), {}),
    "a product that is read elsewhere": (lstm_nodes([n("Mul", "o shown", "y1"),
                                                     n("Add", "y1 i.x", "y")]), {}),
    "an output that is no tanh of the cell": (lstm_nodes([n("Sigmoid", "c", "s"), n("Add", "o s", "y")]), {}),
    "weights that are an input": (lstm_nodes(i=gate("i", w=("given", "B"))), {"given": (SIZE, SIZE)}),
    "a candidate without reset": (gru_nodes([n("MatMul", "x E", "n.x"), n("MatMul", "h F", "n.h"),
                                             n("Add", "n.x n.h", "n.sum")]), {}),
    "a reset of the input": (gru_nodes([n("Mul", "r x", "rx"), n("MatMul", "rx E", "n.x"),
                                        n("MatMul", "h F", "n.h"), n("Add", "n.x n.h", "n.sum")]), {}),
    "shares that are not of one gate": (gru_nodes(RESET, keep="r"), {}),
    "a layer of two inputs, neither a state": ([n("Relu", "x", "x1"), n("Relu", "h", "h1"),
                                                *gate("y", "Tanh", x="x1", h="h1")], {}),
}  # fmt: skip


def small_model(nodes: list, shapes: dict) -> tuple[bytes, dict[str, np.ndarray]]:
    sizes = {"x": ROWS, "h": ROWS, "c0": ROWS} | shapes
    read = {name for node in nodes for name in node.input}
    sizes = {name: shape for name, shape in sizes.items() if name in read}
    constants = {name: array for name, array in CONSTANTS.items() if name in read}
    made = {name for node in nodes for name in node.output}
    outputs = [value(name, shape=None) for name in ("y", "c") if name in made]
    feeds = {name: normal(*(3 if isinstance(s, str) else s for s in shape)) for name, shape in sizes.items()}
    inputs = [value(name, shape=shape) for name, shape in sizes.items()]
    return model(nodes, inputs, outputs, constants), feeds


@pytest.mark.parametrize("miss", MISSES)
def test_what_is_no_cell_stays_as_it_is(miss):
    nodes, shapes = MISSES[miss]
    data, feeds = small_model(nodes, shapes)
    given = loading.read(data)
    simple = passes.simplify(given)
    assert not {node.op for node in simple.graph.nodes} & LAYERS
    exact, results = reference.run(given, feeds), tinyseq.load(data).run(feeds)
    for name, array in exact.items():
        np.testing.assert_allclose(results[name], array, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "nodes, op", [(lstm_nodes(), "LSTM"), (gru_nodes(RESET), "GRU")], ids=["LSTM", "GRU"]
)
def test_the_near_misses_miss_by_little(nodes, op):
    data, feeds = small_model(nodes, {})
    check(data, feeds, op)


def test_a_gate_that_is_an_output_too_is_still_served():
    nodes = lstm_nodes()
    data, feeds = small_model(nodes, {})
    given = loading.read(data)
    graph = given.graph
    outputs = (*graph.outputs, graph.outputs[0].__class__("kept", np.dtype(np.float32), None))
    shown = Model(graph.__class__(graph.inputs, outputs, graph.nodes, graph.constants))
    simple = passes.simplify(shown)
    exact, found = reference.run(shown, feeds), reference.run(simple, feeds)
    np.testing.assert_allclose(found["kept"], exact["kept"], atol=1e-6)


def test_a_frame_that_a_sequence_does_not_have_is_refused_as_ever():
    """Frames 0 and 3 of two: no chain of cells may read another frame instead."""
    nodes = [n("Gather", "s first", "x", axis=0), *gru_nodes(RESET)]
    again = [copy_of(node, {"x": "x2", "h": "y", "y": "last"}) for node in gru_nodes(RESET)]
    nodes += [n("Gather", "s second", "x2", axis=0), *again]
    constants = CONSTANTS | {"first": np.array(0), "second": np.array(3)}
    inputs = [value("s", shape=(2, "rows", SIZE)), value("h", shape=ROWS)]
    data = model(nodes, inputs, [value("last", shape=ROWS)], constants)
    with pytest.raises(tinyseq.TinyseqError, match="Gather"):
        tinyseq.load(data).run({"s": normal(2, 1, SIZE), "h": normal(1, SIZE)})


def copy_of(node, renamed: dict[str, str]):
    """A node of the next frame: what it reads and makes has names of its own."""
    fixed = {*CONSTANTS, "one"}
    names = [[name if name in fixed else renamed.get(name, f"{name}.next") for name in side]
             for side in (node.input, node.output)]  # fmt: skip
    return helper.make_node(node.op_type, *names)


def test_layers_that_wait_for_each_other_stay_as_they_are():
    """Two cells, the output gate of each reading the other's new cell state: neither can come first."""
    one = lstm_nodes(o=gate("o", x="d"))
    other = [copy_of(node, {"c": "d", "x": "x", "h": "h", "c0": "c0", "d": "c", "y": "y2"}) for node in one]
    # The gates that read both states stand last.
    late = [node for node in (*one, *other) if {"d", "c"} & set(node.input) or node.output[0][:1] in "oy"]
    nodes = [node for node in (*one, *other) if node not in late] + late
    inputs = [value(name, shape=ROWS) for name in ("x", "h", "c0")]
    data = model(nodes, inputs, [value("y", shape=ROWS), value("y2", shape=ROWS)], CONSTANTS)
    feeds = {name: normal(2, SIZE) for name in ("x", "h", "c0")}
    exact, results = reference.run(loading.read(data), feeds), tinyseq.load(data).run(feeds)
    for name, array in exact.items():
        np.testing.assert_allclose(results[name], array, rtol=1e-5, atol=1e-5)


def test_sums_of_any_depth_are_loaded():
    nodes = [n("MatMul", "x A", "s0"), n("MatMul", "h B", "t0")]
    nodes += [n("Add", f"s{i} t0", f"s{i + 1}") for i in range(3000)]
    nodes += [n("Tanh", "s3000", "y"), n("Sigmoid", "s3000", "f"), n("Mul", "f y", "z")]
    inputs = [value("x", shape=ROWS), value("h", shape=ROWS)]
    data = model(nodes, inputs, [value("z", shape=ROWS)], {name: CONSTANTS[name] for name in "AB"})
    assert layers_of(passes.simplify(loading.read(data))) == ["Tanh", "Sigmoid"]


def test_the_state_of_a_recognised_cell_is_found():
    """Zeros that the graph makes from the number of rows are where a stream starts."""
    start = [n("Shape", "x", "size", start=0, end=1), n("Concat", "size hidden", "shape", axis=0),
             n("ConstantOfShape", "shape", "h")]  # fmt: skip
    nodes = [*start, *gru_nodes(RESET)]
    constants = CONSTANTS | {"hidden": np.array([SIZE])}
    data = model(nodes, [value("x", shape=ROWS)], [value("y", shape=ROWS)], constants)
    stream = tinyseq.load(data).stream()
    x, h = normal(3, 1, SIZE), np.zeros((1, SIZE), np.float32)
    one, _ = small_model(gru_nodes(RESET), {})
    cell = tinyseq.load(one)
    for frame in x:
        h = cell.run({"x": frame, "h": h})["y"]
        np.testing.assert_allclose(stream.step({"x": frame})["y"], h, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name, layers", [("dtln-2", ["LSTM"] * 2), ("romanizer-decoder", ["GRU"] * 2)])
def test_cells_of_real_models(asset, name, layers):
    found = layers_of(passes.simplify(loading.read(asset(name))))
    assert [op for op in found if op in LAYERS] == layers


def test_models_without_cells_do_not_load_the_recogniser(asset):
    code = "import sys, tinyseq; tinyseq.load(sys.argv[1]); print('tinyseq.passes.recognise' in sys.modules)"
    command = [sys.executable, "-c", code, str(asset("silero-sequence"))]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == ["False"]
